# Fuzz targets: tests/fuzz/target_NAME.c.
#   make fuzz-replay     each with replay.c, which runs files of a corpus: $(BUILD)/tests/fuzz/NAME
#   make fuzz-targets    each with libFuzzer: CC=clang SAN=fuzzer-no-link,address,undefined (tests/fuzz/fuzz.sh)
FUZZ_NAMES := $(patsubst tests/fuzz/target_%.c,%,$(wildcard tests/fuzz/target_*.c))
FUZZ_REPLAY := $(addprefix $(BUILD)/tests/fuzz/,$(FUZZ_NAMES))

$(FUZZ_REPLAY): $(BUILD)/tests/fuzz/%: tests/fuzz/target_%.c tests/fuzz/common.c tests/fuzz/replay.c $(BUILD)/libanalyzer_test.a
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(BASE)) $(SANFLAGS) -o $@ $(filter %.c,$^) $(BUILD)/libanalyzer_test.a $(ANALYZER_LIBS)
$(FUZZ_REPLAY:=.fuzz): $(BUILD)/tests/fuzz/%.fuzz: tests/fuzz/target_%.c tests/fuzz/common.c $(BUILD)/libanalyzer_test.a
	@mkdir -p $(@D)
	$(CC) $(filter-out -MMD -MP,$(BASE)) $(SANFLAGS) -fsanitize=fuzzer -o $@ $(filter %.c,$^) $(BUILD)/libanalyzer_test.a $(ANALYZER_LIBS)
$(FUZZ_REPLAY) $(FUZZ_REPLAY:=.fuzz): tests/fuzz/fuzz.h | $(GEN)

.PHONY: fuzz-replay fuzz-targets
fuzz-replay: $(FUZZ_REPLAY)
fuzz-targets: $(FUZZ_REPLAY:=.fuzz)
