#!/bin/bash
# A list in a global grows: growing, and not proven. A cache with a bound does not.
. tests/control/control.inc
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=growing planted co_growing growing-site 120 add
exit $failed
