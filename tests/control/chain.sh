#!/bin/bash
# What can still be reached is not proven: a channel in a global, a chain of which main holds the first link. Let go of, all of it is.
. tests/control/control.inc
SEEP_EXIT=0
export SEEP_EXIT
planted co_chain stuck-recv 300 pass_on chain
exit $failed
