#!/bin/bash
# A few elements of a table, a word of a text: all of it is kept.
. tests/control/control.inc
CONFIDENCE=likely planted co_slices subslice-retention 6 read_table
# Two words in memory may be anything, so a text is a note, and no gate fails by it.
gate co_strings leak 0
check co_strings substring-retention 5 read_text "" info
clean co_strings
exit $failed
