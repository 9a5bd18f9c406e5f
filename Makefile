# seep: leak and goroutine-leak detector for C programs.
#
#   make            libseep.so, seep, examples
#   make demo       set-up, a recorded redis-server and example server, reports
#   make test       set-up, every test, a closing count
#   make bench      side-by-side benchmarks, tables and bench/results/*.json
#   make install    PREFIX=/usr/local DESTDIR=
#
# Variables: BUILD (output folder), CC, CXX, CFLAGS, V=1 (whole commands), WERROR=1, SAN=address,undefined, CHECK=1 (lock
# ranks), FAULT=1 (system calls that can be made to fail).

BUILD   ?= build
PREFIX  ?= /usr/local
DESTDIR ?=
LIBDIR  ?= $(PREFIX)/lib
CC      ?= cc
CXX     ?= c++
OPT     ?= -O2
CFLAGS  ?= $(OPT) -g

# A line a step, unless V=1 asks for the commands or -s for silence.
ifneq ($(V),1)
Q := @
say = $(if $(findstring s,$(firstword -$(MAKEFLAGS))),,@printf '  %-5s %s\n' $(1) $@)
endif

WARN := -Wall -Wextra -Wpedantic -Wshadow -Wundef -Wstrict-prototypes -Wconversion
ifeq ($(WERROR),1)
WARN += -Werror
endif
ifneq ($(SAN),)
SANFLAGS := -fsanitize=$(SAN) -fno-omit-frame-pointer -fno-sanitize-recover=undefined
endif
ifeq ($(CHECK),1)
DEFS += -DSEEP_LOCK_CHECK
endif
ifeq ($(FAULT),1)
DEFS += -DSEEP_FAULT
endif

BASE := -std=gnu11 $(WARN) $(CFLAGS) $(DEFS) -D_GNU_SOURCE -I. -Iagent/include -Icoro/include -I$(BUILD)/gen -MMD -MP
# The agent: no TLS model but initial-exec, nothing exported that is not said, all calls bound at load.
AGENT_CFLAGS := $(BASE) -fPIC -fvisibility=hidden -ftls-model=initial-exec -fno-builtin-malloc -fno-math-errno -fno-stack-protector -fno-plt
AGENT_LDFLAGS := -shared -Wl,-soname,libseep.so -Wl,-z,now,-z,relro,-z,nodelete -Wl,--exclude-libs,ALL \
                 -Wl,-Bsymbolic -Wl,--no-undefined
SQLITE_STATIC ?= $(shell $(CC) -print-file-name=libsqlite3.a)
AGENT_LIBS := $(SQLITE_STATIC) -lm -ldl -lpthread
ANALYZER_LIBS := -lsqlite3 -ldw -lelf -lz -ljansson -lpthread -ldl -lm

AGENT_SRC := $(wildcard agent/*/*.c coro/*.c coro/*.S agent/*/*.S)
AGENT_OBJ := $(patsubst %,$(BUILD)/%.o,$(AGENT_SRC))
ANALYZER_SRC := $(wildcard analyzer/*.c analyzer/*/*.c)
ANALYZER_OBJ := $(patsubst %,$(BUILD)/%.o,$(ANALYZER_SRC))
GEN := $(BUILD)/gen/size_classes.inc $(BUILD)/gen/schema_sql.inc

.PHONY: all agent analyzer examples
all: agent analyzer examples
agent: $(BUILD)/libseep.so
analyzer: $(BUILD)/seep

# ---- generated: never by hand, never checked in
$(BUILD)/gen/gen_size_classes: agent/heap/gen/size_classes.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -std=gnu11 $(WARN) -O1 -o $@ $<
$(BUILD)/gen/size_classes.inc: $(BUILD)/gen/gen_size_classes
	$(call say,GEN)
	$(Q)$< > $@.tmp && mv $@.tmp $@
$(BUILD)/gen/schema_sql.inc: agent/contract/schema.sql tools/sql_to_c.sh
	@mkdir -p $(@D)
	$(call say,GEN)
	$(Q)sh tools/sql_to_c.sh $< > $@.tmp && mv $@.tmp $@

$(AGENT_OBJ) $(ANALYZER_OBJ): | $(GEN)

$(BUILD)/agent/%.o: agent/%
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(AGENT_CFLAGS) -c -o $@ $<
$(BUILD)/coro/%.o: coro/%
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(AGENT_CFLAGS) -c -o $@ $<
$(BUILD)/analyzer/%.o: analyzer/%
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) $(BASE) $(SANFLAGS) -c -o $@ $<

$(BUILD)/libseep.so: $(AGENT_OBJ)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(AGENT_LDFLAGS) -o $@ $(AGENT_OBJ) $(AGENT_LIBS)
# The same objects for unit tests, which look at what the library hides.
$(BUILD)/libseep_test.a: $(AGENT_OBJ)
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $(AGENT_OBJ)
$(BUILD)/libanalyzer_test.a: $(filter-out $(BUILD)/analyzer/main.c.o,$(ANALYZER_OBJ))
	@rm -f $@
	$(call say,AR)
	$(Q)$(AR) rcs $@ $^
$(BUILD)/seep: $(ANALYZER_OBJ)
	$(call say,LINK)
	$(Q)$(CC) $(CFLAGS) $(SANFLAGS) -o $@ $(ANALYZER_OBJ) $(ANALYZER_LIBS)

include $(wildcard examples/*.mk tests/*.mk bench/*.mk tools/*.mk)

.PHONY: clean
clean:
	rm -rf $(BUILD)

-include $(AGENT_OBJ:.o=.d) $(ANALYZER_OBJ:.o=.d)
