#!/bin/bash
# A C++ program with exceptions on eight threads.
# timeout: 120
. tests/real/real.inc
program=$PWD/$BUILD/tests/real/exceptions
workload() { real_agent "$program"; }
real_run exceptions workload
exit $failed
