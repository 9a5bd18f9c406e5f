/* SPDX-License-Identifier: Apache-2.0
 *
 * Modules: what is loaded, with path and build id; a closed one keeps both, and another one at its addresses does not
 * take over its stacks. */
#include <dlfcn.h>
#include <link.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <unistd.h>
#include <cmocka.h>

#include "agent/profile/internal.h"

static char folder[4096];
static uint32_t stack;

static void take(void)
{
    stack = prof_stack_here(0);
}

static void *load(const char *name, void (**call)(void (*)(void)))
{
    char path[4200], symbol[64];
    snprintf(path, sizeof path, "%s/%s.c.so", folder, name);
    void *lib = dlopen(path, RTLD_NOW | RTLD_LOCAL);
    assert_non_null(lib);
    snprintf(symbol, sizeof symbol, "%s_call", name);
    *(void **)call = dlsym(lib, symbol);
    assert_true(*call != NULL);
    return lib;
}

/* The module of the stack's frame that lies in a module whose path ends with name. */
static const struct prof_module *module_in(uint32_t id, const char *name)
{
    const uintptr_t *pcs;
    uint32_t generation;
    unsigned n = stack_get(id, &pcs, &generation);
    for (unsigned i = 0; i < n; i++) {
        const struct prof_module *m = modules_find(pcs[i] - 1, generation);
        size_t have = m ? strlen(m->path) : 0, want = strlen(name);
        if (have >= want && strcmp(m->path + have - want, name) == 0) return m;
    }
    return NULL;
}

static void loaded_ones(void **state)
{
    (void)state;
    modules_refresh();
    const struct prof_module *self = modules_find((uintptr_t)&take, modules_generation());
    assert_non_null(self);
    char exe[4096] = {0};
    assert_true(readlink("/proc/self/exe", exe, sizeof exe - 1) > 0);
    assert_string_equal(self->path, exe);
    assert_true(strlen(self->build_id) == 40);
    const struct prof_module *libc = modules_find((uintptr_t)&getpid, modules_generation());
    assert_non_null(libc);
    assert_non_null(strstr(libc->path, "libc.so.6"));
    bool vdso = false;
    for (uint32_t i = 0; i < modules_count(); i++) {
        const struct prof_module *m = modules_get(i);
        assert_true(m->text_lo < m->text_hi && m->loaded >= 1);
        if (strcmp(m->path, "[vdso]") == 0) vdso = m->bias == getauxval(AT_SYSINFO_EHDR);
    }
    assert_true(vdso || getauxval(AT_SYSINFO_EHDR) == 0);
    assert_null(modules_find(16, modules_generation()));
    assert_null(modules_get(modules_count()));
    uint32_t count = modules_count(), generation = modules_generation();
    modules_refresh();
    assert_int_equal(modules_count(), count);
    assert_int_equal(modules_generation(), generation);
}

static int covers(void *arg, uintptr_t lo, uintptr_t hi, const char *path)
{
    (void)path;
    return (uintptr_t)arg >= lo && (uintptr_t)arg < hi;
}

static void closed_ones(void **state)
{
    (void)state;
    void (*call)(void (*)(void));
    void *first = load("first", &call);
    /* Nobody was told of the load: the stack is taken in a module that is not in the list yet. */
    void *variable = dlsym(first, "first_calls");
    call(take);
    uint32_t in_first = stack;
    uintptr_t where = (uintptr_t)call;
    modules_refresh();
    assert_int_equal(modules_data(covers, variable), 1);
    char build_id[200];
    snprintf(build_id, sizeof build_id, "%s", module_in(in_first, "first.c.so")->build_id);
    assert_int_equal(strlen(build_id), 40);
    uint32_t generation = modules_generation();
    dlclose(first);
    assert_int_equal(modules_generation(), generation + 1);
    assert_int_equal(modules_data(covers, variable), 0);

    void *second = load("second", &call);
    assert_ptr_equal((void *)(uintptr_t)call, (void *)where); /* else this test shows nothing */
    call(take);
    uint32_t in_second = stack;
    assert_int_not_equal(in_second, in_first);
    for (int refreshed = 0; refreshed < 2; refreshed++, modules_refresh()) {
        const struct prof_module *m = module_in(in_first, "first.c.so");
        assert_non_null(m);
        assert_true(m->unloaded == generation + 1);
        assert_string_equal(m->build_id, build_id);
        assert_null(module_in(in_first, "second.c.so"));
        assert_null(module_in(in_second, "first.c.so"));
    }
    assert_non_null(module_in(in_second, "second.c.so"));
    assert_string_not_equal(module_in(in_second, "second.c.so")->build_id, build_id);
    dlclose(second);
    assert_non_null(module_in(in_second, "second.c.so"));
    assert_non_null(module_in(in_first, "first.c.so"));
}

/* Loaded, used and closed between two refreshes: the hook of dlclose still sees it. */
static void short_lived_one(void **state)
{
    (void)state;
    void (*call)(void (*)(void));
    void *first = load("first", &call);
    call(take);
    dlclose(first);
    const struct prof_module *m = module_in(stack, "first.c.so");
    assert_non_null(m);
    assert_int_not_equal(m->unloaded, 0);
    /* Counted twice, closed once: it stays. */
    first = load("first", &call);
    load("first", &call);
    uint32_t generation = modules_generation();
    dlclose(first);
    assert_int_equal(modules_generation(), generation);
    call(take);
    assert_int_equal(module_in(stack, "first.c.so")->unloaded, 0);
    dlclose(first);
}

int main(int argc, char **argv)
{
    (void)argc;
    snprintf(folder, sizeof folder - 32, "%s", argv[0]);
    char *slash = strrchr(folder, '/');
    snprintf(slash, 32, "/../profile/so");
    prof_init();
    prof_late_init();
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(loaded_ones),
        cmocka_unit_test(closed_ones),
        cmocka_unit_test(short_lived_one),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
