#!/bin/bash
# Tickers and timers that nobody can stop any more, and calls that are deferred and never made.
. tests/control/control.inc
planted co_ticker leaked-ticker 5 poll_for_a_while
planted co_after_loop leaked-timer 150 serve
SEEP_EXIT=0
export SEEP_EXIT
CONFIDENCE=growing planted co_defer_loop defer-pileup 120 serves main
exit $failed
