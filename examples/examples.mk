# Examples: one program for each examples/*.c. Those that use the coroutine runtime include "coro.h" and are linked with
# libseep.so; the others are plain C programs, as any that `seep run` records.
EXAMPLES    := $(patsubst examples/%.c,$(BUILD)/examples/%,$(wildcard examples/*.c))
EXAMPLES_CO := $(patsubst examples/%.c,$(BUILD)/examples/%,$(shell grep -lE 'include *[<"](coro|seep)\.h' examples/*.c 2>/dev/null))

examples: $(EXAMPLES)

$(EXAMPLES_CO): $(BUILD)/libseep.so
$(EXAMPLES_CO): EXAMPLE_LIBS := -L$(BUILD) -lseep -Wl,-rpath,'$$ORIGIN/..'
$(BUILD)/examples/%: examples/%.c
	@mkdir -p $(@D)
	$(call say,CC)
	$(Q)$(CC) -std=gnu11 $(WARN) -g -O2 -D_GNU_SOURCE -Iagent/include -Icoro/include -I. -MMD -MP -MF $@.d -o $@ $< \
	    $(EXAMPLE_LIBS) -lpthread

-include $(addsuffix .d,$(EXAMPLES))
