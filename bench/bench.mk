# Benchmarks: make bench, or one suite: make bench-alloc bench-snapshot. BENCH_ROUNDS=1 for a quick look.
# Each prints a table and writes bench/results/SUITE.json (format: docs/benchmarks.md).
BENCH_LOADS := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/alloc/*.c bench/probe/*.c bench/replay/*.c bench/snapshot/*.c))
BENCH_RUN   := $(BUILD)/bench/run
BENCH_ENV   := SEEP_LIB=$(abspath $(BUILD)/libseep.so) BENCH_BIN=$(abspath $(BUILD)/bench) BUILD=$(BUILD)

$(BUILD)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -fno-builtin-malloc -D_GNU_SOURCE -I. -Iagent/include -MMD -MP -MF $@.d -o $@ $< -lpthread -ldl
$(BENCH_RUN): $(wildcard bench/harness/*.c bench/harness/*.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -I. -o $@ $(filter %.c,$^) -lm
# Of real programs, made here; the script keeps those that are up to date.
.PHONY: bench-traces
bench-traces: agent
	@bench/record_traces.sh $(BUILD)/libseep.so $(BUILD)/bench/traces

.PHONY: bench bench-alloc bench-snapshot bench-programs setup-bench
setup-bench:
	@tools/setup.sh bench
bench-programs: $(BENCH_LOADS) $(BENCH_RUN)
bench: bench-alloc bench-snapshot
bench-alloc bench-snapshot: setup-bench
	@$(MAKE) --no-print-directory agent analyzer bench-programs
	@mkdir -p bench/results
	@$(if $(filter bench-alloc,$@),$(MAKE) --no-print-directory bench-traces)
	@$(BENCH_ENV) $(if $(filter bench-alloc,$@),$(BENCH_RUN) bench/alloc.plan bench/results/alloc.json,bench/snapshot.sh bench/results/snapshot.json)

-include $(addsuffix .d,$(BENCH_LOADS))
