#!/bin/bash
# Stuck threads of plain pthreads programs: rings of locks, and waits for what nobody can reach; the repaired twins are clean.
. tests/control/control.inc
planted lock_order deadlock-cycle 2 ab main
planted self_lock deadlock-cycle 1 twice main
planted lost_cond stuck-cond 4 worker start
ALSO=stuck-wait planted lost_sem stuck-wait 1 inner outer
clean clean_threads
exit $failed
