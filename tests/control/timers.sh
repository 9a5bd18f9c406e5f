#!/bin/bash
# Tickers that nobody can stop any more.
. tests/control/control.inc
planted co_ticker leaked-ticker 5 poll_for_a_while
exit $failed
