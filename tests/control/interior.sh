#!/bin/bash
# Blocks reached by interior pointers only are told apart, and are no leak by themselves.
. tests/control/control.inc
gate interior leak 0
check interior unreachable-interior 20 make_buffer "" info
clean interior
exit $failed
