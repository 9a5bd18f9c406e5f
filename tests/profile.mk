# Shared objects that the profiler's unit tests load: C++ at -O2 without frame pointers, and two modules of one size.
PROFILE_SO := $(patsubst tests/profile/so/%,$(BUILD)/tests/profile/so/%.so,$(wildcard tests/profile/so/*))
$(BUILD)/tests/profile/so/%.c.so: tests/profile/so/%.c
	@mkdir -p $(@D)
	$(CC) -std=gnu11 $(WARN) -O2 -g -fomit-frame-pointer -fPIC -shared -Wl,--build-id -o $@ $<
$(BUILD)/tests/profile/so/%.cc.so: tests/profile/so/%.cc
	@mkdir -p $(@D)
	$(CXX) -std=gnu++17 $(filter-out -Wstrict-prototypes,$(WARN)) -O2 -g -fomit-frame-pointer -fPIC -shared -Wl,--build-id -o $@ $<
$(patsubst tests/unit/%.c,$(BUILD)/tests/unit/%,$(wildcard tests/unit/profile_*.c)): | $(PROFILE_SO)
