# Benchmarks: make bench, or one suite: make bench-alloc bench-coro bench-snapshot. BENCH_ROUNDS=1 for a quick look.
# Each prints a table and writes bench/results/SUITE.json (format: docs/benchmarks.md).
BENCH_LOADS := $(patsubst bench/%.c,$(BUILD)/bench/%,$(wildcard bench/alloc/*.c bench/probe/*.c bench/replay/*.c) bench/snapshot/graph.c)
BENCH_CORO  := $(addprefix $(BUILD)/bench/coro/,seep pack switch go boost st loop httpd-go httpd-epoll httpd-net-http)
BENCH_RUN   := $(BUILD)/bench/run
BENCH_ENV   := SEEP_LIB=$(abspath $(BUILD)/libseep.so) BENCH_BIN=$(abspath $(BUILD)/bench) BUILD=$(BUILD)

$(BUILD)/bench/%: bench/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -fno-builtin-malloc -D_GNU_SOURCE -I. -Iagent/include -MMD -MP -MF $@.d -o $@ $< -lpthread -ldl
$(addprefix $(BUILD)/bench/,coro/seep coro/pack snapshot/tasks): $(BUILD)/bench/%: bench/%.c $(BUILD)/libseep.so
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -I. -Iagent/include -Icoro/include -MMD -MP -MF $@.d -o $@ $< -L$(BUILD) -lseep -Wl,-rpath,'$$ORIGIN/../..'
$(BUILD)/bench/coro/switch: bench/coro/switch.c coro/context.c coro/context_x86_64.S coro/context.h
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -I. -o $@ $(filter-out %.h,$^)
$(BUILD)/bench/coro/boost: bench/coro/boost.cc
	@mkdir -p $(@D)
	$(CXX) -std=gnu++17 -O2 -g -o $@ $< -lboost_fiber -lboost_context -lpthread
$(BUILD)/bench/coro/st: bench/coro/st.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -O2 -g -o $@ $< -lst
$(BUILD)/bench/coro/go: bench/coro/go.go
	@mkdir -p $(@D)
	GO111MODULE=off go build -o $@ $<
$(BUILD)/bench/coro/httpd-go: bench/coro/httpd/httpd.go
	@mkdir -p $(@D)
	GO111MODULE=off go build -o $@ $<
$(BUILD)/bench/coro/httpd-net-http: bench/coro/httpd/nethttp.go
	@mkdir -p $(@D)
	GO111MODULE=off go build -o $@ $<
$(BUILD)/bench/coro/httpd-epoll: bench/coro/httpd/epoll.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -o $@ $< -lpthread
$(BUILD)/bench/coro/loop: bench/coro/loop.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -o $@ $<
$(BENCH_RUN): $(wildcard bench/harness/*.c bench/harness/*.h)
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -D_GNU_SOURCE -I. -o $@ $(filter %.c,$^) -lm
# Of real programs, made here; the script keeps those that are up to date.
.PHONY: bench-traces
bench-traces: agent
	@bench/record_traces.sh $(BUILD)/libseep.so $(BUILD)/bench/traces

.PHONY: bench bench-alloc bench-coro bench-snapshot bench-programs setup-bench
setup-bench:
	@tools/setup.sh bench
bench-programs: $(BENCH_LOADS) $(BUILD)/bench/snapshot/tasks $(BENCH_RUN)
bench: bench-alloc bench-coro bench-snapshot
bench-coro: setup-bench
	@$(MAKE) --no-print-directory agent $(BENCH_CORO) $(BENCH_RUN) $(BUILD)/examples/httpd
	@mkdir -p bench/results
	@$(BENCH_ENV) $(BENCH_RUN) bench/coro.plan bench/results/coro.json
bench-alloc bench-snapshot: setup-bench
	@$(MAKE) --no-print-directory agent analyzer bench-programs
	@mkdir -p bench/results
	@$(if $(filter bench-alloc,$@),$(MAKE) --no-print-directory bench-traces)
	@$(BENCH_ENV) $(BENCH_RUN) bench/$(@:bench-%=%).plan bench/results/$(@:bench-%=%).json

-include $(addsuffix .d,$(BENCH_LOADS))
