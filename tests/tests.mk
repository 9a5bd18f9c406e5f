# Tests.
#   make test              set-up, every test, one closing line with the count
#   make test T=pattern    those whose name matches (glob or part of the name), without the sanitizer build
#   make test-full         the long variants too (FULL=1 in the environment of each test)
#   make test-programs     builds what the tests need and runs nothing
#
# tests/unit/*.c           cmocka programs; analyzer_*.c test the analyzer, all others the agent (on our malloc)
# tests/SUITE/*.c *.cc     helper programs → $(BUILD)/tests/SUITE/NAME; co_*.c link with libseep.so. They are compiled at
#                          -O0, so that source lines and lifetimes are what the source says.
# tests/SUITE/*.sh         tests: run from the repository's root with BUILD set; 0 passed, 77 skipped, else failed
# A suite with needs of its own sets them in tests/SUITE.mk (SUITE_CFLAGS, SUITE_LDLIBS).

JOBS    ?= 2
TIMEOUT ?= 60

UNIT_SRC     := $(wildcard tests/unit/*.c)
UNIT_ANALYZER := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(filter tests/unit/analyzer_%.c,$(UNIT_SRC)))
UNIT_AGENT   := $(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(filter-out tests/unit/analyzer_%.c,$(UNIT_SRC)))
HELPER_SRC   := $(filter-out tests/unit/% tests/harness/% tests/fuzz/%,$(wildcard tests/*/*.c tests/*/*.cc))
HELPER_PROGS := $(patsubst tests/%,$(BUILD)/tests/%,$(basename $(HELPER_SRC)))
TEST_SCRIPTS := $(filter-out tests/harness/%,$(wildcard tests/*/*.sh))
RUNNER       := $(BUILD)/tests/runner
TEST_ENV     := LC_ALL=C BUILD=$(BUILD) CC="$(CC)" CXX="$(CXX)" MAKEFLAGS= MFLAGS=

# Programs of the tests: warnings on, debug information, no optimization.
HELPER_BASE := $(WARN) -g -O0 -D_GNU_SOURCE -I. -Iagent/include -Icoro/include -MMD -MP

$(UNIT_AGENT): $(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libseep_test.a
	@mkdir -p $(@D)
	$(CC) $(BASE) -ftls-model=initial-exec -MF $@.d -o $@ $< -Wl,-u,malloc $(BUILD)/libseep_test.a -lcmocka $(AGENT_LIBS)
$(UNIT_ANALYZER): $(BUILD)/tests/unit/%: tests/unit/%.c $(BUILD)/libanalyzer_test.a
	@mkdir -p $(@D)
	$(CC) $(BASE) $(SANFLAGS) -MF $@.d -o $@ $< $(BUILD)/libanalyzer_test.a -lcmocka $(ANALYZER_LIBS)
$(UNIT_AGENT) $(UNIT_ANALYZER): | $(GEN)

suite = $(firstword $(subst /, ,$*))
up    = -Wl,-rpath,'$$ORIGIN/../..'
$(BUILD)/tests/%: tests/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(HELPER_BASE) $($(suite)_CFLAGS) -MF $@.d -o $@ $< \
	    $(if $(filter co_%,$(*F)),-L$(BUILD) -lseep $(up)) $($(suite)_LDLIBS) -lpthread -ldl -lm
$(BUILD)/tests/%: tests/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=gnu++17 $(filter-out -Wstrict-prototypes,$(HELPER_BASE)) $($(suite)_CFLAGS) -MF $@.d -o $@ $< \
	    $($(suite)_LDLIBS) -lpthread -ldl
$(patsubst tests/%.c,$(BUILD)/tests/%,$(wildcard tests/*/co_*.c)): $(BUILD)/libseep.so

$(RUNNER): tests/harness/runner.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 -D_GNU_SOURCE $(WARN) -g -O1 -o $@ $<

.PHONY: test test-full test-programs unit-analyzer setup-test
setup-test:
	@tools/setup.sh $(if $(FULL),full,test)
	@for d in analyzer/report/html tests/browser; do BUILD=$(BUILD) tools/npm.sh $$d >/dev/null || true; done
unit-analyzer: $(UNIT_ANALYZER)
test-programs: all $(UNIT_AGENT) $(UNIT_ANALYZER) $(HELPER_PROGS) $(FUZZ_REPLAY) $(RUNNER)

# The analyzer reads files that nobody vouches for: its unit tests run once more with sanitizers.
SAN_BUILD := $(BUILD)-san
# And the agent is built once more with system calls that can be made to fail.
FAULT_BUILD := $(BUILD)-fault

# NAME=PATH for each test.
TESTS := $(foreach p,$(UNIT_AGENT) $(UNIT_ANALYZER),$(p:$(BUILD)/tests/%=%)=$(p)) \
         $(if $(T),,$(foreach p,$(notdir $(UNIT_ANALYZER)),sanitized/$(p)=$(SAN_BUILD)/tests/unit/$(p))) \
         $(foreach p,$(TEST_SCRIPTS),$(p:tests/%.sh=%)=$(p))

# With T the build goes on past what does not compile: a test without its program fails by itself.
test: setup-test
	$(if $(T),-)@$(MAKE) --no-print-directory -s $(if $(T),-k) test-programs
	@$(if $(T),,$(MAKE) --no-print-directory -s BUILD=$(SAN_BUILD) SAN=address,undefined analyzer unit-analyzer fuzz-replay)
	@$(TEST_ENV) SAN_BUILD=$(if $(T),,$(SAN_BUILD)) $(RUNNER) -j $(JOBS) -t $(TIMEOUT) $(if $(T),-T '$(T)') $(TESTS)
test-full: export FULL = 1
test-full: TIMEOUT := 900
test-full: test

-include $(addsuffix .d,$(UNIT_AGENT) $(UNIT_ANALYZER) $(HELPER_PROGS))
