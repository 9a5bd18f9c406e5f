/* SPDX-License-Identifier: Apache-2.0
 *
 * Symbols of this very program: function, line, inlined calls; and no name where the file is another build. */
#include "analyzer/model/model.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include <link.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static uintptr_t here;
static char exe[4096], build_id[64];

/* An address inside inner_call, which is inlined into outer_call. */
static inline __attribute__((always_inline)) void inner_call(void)
{
    __asm__ volatile("lea 0(%%rip), %0" : "=r"(here));
}
enum { INNER_LINE = __LINE__ - 2 };

static __attribute__((noinline)) void outer_call(void)
{
    inner_call();
}
enum { OUTER_LINE = __LINE__ - 2 };

static int first_module(struct dl_phdr_info *info, size_t size, void *arg)
{
    (void)size;
    *(uintptr_t *)arg = info->dlpi_addr;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const ElfW(Phdr) *p = &info->dlpi_phdr[i];
        const char *at = (const char *)info->dlpi_addr + p->p_vaddr, *end = at + p->p_memsz;
        while (p->p_type == PT_NOTE && at + sizeof(ElfW(Nhdr)) <= end) {
            const ElfW(Nhdr) *n = (const ElfW(Nhdr) *)at;
            const unsigned char *d = (const unsigned char *)(n + 1) + ((n->n_namesz + 3) & ~3u);
            if (n->n_type == NT_GNU_BUILD_ID && n->n_namesz == 4)
                for (unsigned k = 0; k < n->n_descsz && k < 31; k++) snprintf(build_id + 2 * k, 3, "%02x", d[k]);
            at = (const char *)d + ((n->n_descsz + 3) & ~3u);
        }
    }
    return 1;
}

static void inlined(void **state)
{
    (void)state;
    uintptr_t base = 0;
    struct sym_line lines[8];
    dl_iterate_phdr(first_module, &base);
    outer_call();
    struct symbolizer *s = symbolizer_new();
    struct sym_image *im = symbolizer_image(s, exe, build_id, INT64_MAX);
    unsigned n = symbol_lookup(im, here - base, lines, 8);
    assert_int_equal(n, 2);
    assert_string_equal(lines[0].function, "inner_call");
    assert_int_equal(lines[0].line, INNER_LINE);
    assert_string_equal(lines[1].function, "outer_call");
    assert_int_equal(lines[1].line, OUTER_LINE);
    assert_string_equal(path_base(lines[1].file), "analyzer_symbol.c");
    assert_int_equal(symbol_lookup(im, 1, lines, 8), 0);
    assert_null(symbol_image_problem(im));
    symbolizer_free(s);
}

static void another_build(void **state)
{
    (void)state;
    struct sym_line lines[8];
    struct symbolizer *s = symbolizer_new();
    struct sym_image *wrong = symbolizer_image(s, exe, "0123456789abcdef0123456789abcdef01234567", INT64_MAX);
    assert_int_equal(symbol_lookup(wrong, 0x1200, lines, 8), 0);
    assert_non_null(symbol_image_problem(wrong));
    assert_non_null(symbol_image_problem(symbolizer_image(s, "/dev/zero", "", INT64_MAX)));
    assert_non_null(symbol_image_problem(symbolizer_image(s, "[vdso]", "", INT64_MAX)));
    assert_non_null(symbol_image_problem(symbolizer_image(s, "/etc/passwd", "", INT64_MAX)));
    symbolizer_free(s);
}

static void demangling(void **state)
{
    (void)state;
    struct arena a = {0};
    assert_string_equal(symbol_demangle(&a, "plain_c"), "plain_c");
    const char *d = symbol_demangle(&a, "_ZN3foo3barEi");
    assert_true(strcmp(d, "foo::bar(int)") == 0 || strcmp(d, "_ZN3foo3barEi") == 0); /* without a C++ library */
    assert_string_equal(symbol_demangle(&a, "_Znot a name"), "_Znot a name");
    arena_free(&a);
}

int main(void)
{
    ssize_t n = readlink("/proc/self/exe", exe, sizeof exe - 1);
    exe[n > 0 ? n : 0] = 0;
    const struct CMUnitTest tests[] = {cmocka_unit_test(inlined), cmocka_unit_test(another_build),
                                       cmocka_unit_test(demangling)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
