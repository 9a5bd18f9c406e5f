# The analyzer on a large recording: make bench-analyzer
ANALYZER_BENCH := $(addprefix $(BUILD)/bench/recording/,generate measure)

$(ANALYZER_BENCH): $(BUILD)/bench/recording/%: bench/recording/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -o $@ $< -lsqlite3
.PHONY: bench-analyzer
bench: bench-analyzer
bench-analyzer: analyzer $(ANALYZER_BENCH)
	@BUILD=$(BUILD) bench/analyzer.sh
