/* SPDX-License-Identifier: Apache-2.0
 *
 * What glibc promises of the malloc family: errno, alignment, usable size, limits. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <malloc.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#pragma GCC diagnostic ignored "-Walloc-size-larger-than="
#pragma GCC diagnostic ignored "-Wuse-after-free"

static volatile size_t huge = PTRDIFF_MAX;

static void refused(void **state)
{
    (void)state;
    size_t sizes[] = {huge + 1, SIZE_MAX, huge, SIZE_MAX - 4096};
    for (int i = 0; i < 4; i++) {
        errno = 0;
        assert_null(malloc(sizes[i]));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(realloc(NULL, sizes[i]));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(memalign(4096, sizes[i]));
        assert_int_equal(errno, ENOMEM);
        errno = 0;
        assert_null(pvalloc(sizes[i]));
        assert_int_equal(errno, ENOMEM);
    }
    errno = 0;
    assert_null(calloc(huge, 4));
    assert_int_equal(errno, ENOMEM);
    errno = 0;
    assert_null(reallocarray(NULL, huge, 4));
    assert_int_equal(errno, ENOMEM);
    char *p = malloc(10);
    strcpy(p, "kept");
    assert_null(realloc(p, huge + 1));
    assert_string_equal(p, "kept");
    free(p);
}

static void alignments(void **state)
{
    (void)state;
    for (size_t size = 0; size < 70000; size += size < 2000 ? 1 : 997) {
        void *p = malloc(size);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (size > 8 ? 16 : 8), 0);
        assert_true(malloc_usable_size(p) >= size);
        memset(p, 0xee, malloc_usable_size(p));
        free(p);
    }
    for (size_t align = 8; align <= 1 << 22; align *= 2) {
        for (size_t size = 1; size < 100000; size = size * 3 + 1) {
            void *p = NULL;
            assert_int_equal(posix_memalign(&p, align, size), 0);
            assert_int_equal((uintptr_t)p % align, 0);
            assert_true(malloc_usable_size(p) >= size);
            memset(p, 1, size);
            free(p);
        }
    }
    void *p = NULL;
    errno = 77;
    assert_int_equal(posix_memalign(&p, 3, 10), EINVAL);
    assert_int_equal(posix_memalign(&p, 4, 10), EINVAL);
    assert_int_equal(posix_memalign(&p, 0, 10), EINVAL);
    assert_int_equal(posix_memalign(&p, 64, huge + 1), ENOMEM);
    assert_int_equal(errno, 77);
    assert_null(p);
    assert_null(aligned_alloc(24, 48));
    assert_int_equal(errno, EINVAL);
    p = valloc(5);
    assert_int_equal((uintptr_t)p % 4096, 0);
    free(p);
    p = pvalloc(5);
    assert_true(malloc_usable_size(p) >= 4096);
    free(p);
}

static void zero_and_null(void **state)
{
    (void)state;
    void *a = malloc(0), *b = malloc(0);
    assert_non_null(a);
    assert_non_null(b);
    assert_ptr_not_equal(a, b);
    free(a);
    errno = 55;
    free(b);
    free(NULL);
    assert_int_equal(errno, 55);
    assert_int_equal(malloc_usable_size(NULL), 0);
    a = realloc(NULL, 30);
    assert_non_null(a);
    assert_null(realloc(a, 0));
    a = calloc(0, 10);
    assert_non_null(a);
    free(a);
}

static void realloc_keeps(void **state)
{
    (void)state;
    unsigned char *p = NULL;
    size_t have = 0;
    static const size_t sizes[] = {1, 100, 90, 5000, 40000, 33000, 300000, 9000000, 3000000, 40000, 20, 70000000, 1};
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        p = realloc(p, sizes[i]);
        assert_non_null(p);
        size_t keep = have < sizes[i] ? have : sizes[i];
        for (size_t k = 0; k < keep; k += k < 4096 ? 1 : 509) assert_int_equal(p[k], (unsigned char)(k * 7 + 3));
        have = sizes[i];
        for (size_t k = 0; k < have; k++) p[k] = (unsigned char)(k * 7 + 3);
    }
    free(p);
}

/* Memory that was used before and comes back through calloc, large and small, released or not. */
static void calloc_clears(void **state)
{
    (void)state;
    for (size_t size = 16; size < 8000000; size = size * 5 / 2) {
        void *p = malloc(size);
        memset(p, 0xff, size);
        free(p);
        if (size % 3 == 0) malloc_trim(0);
        unsigned char *c = calloc(1, size);
        for (size_t i = 0; i < size; i++) assert_int_equal(c[i], 0);
        free(c);
    }
}

/* Under RLIMIT_AS: NULL and ENOMEM, and the program goes on; what was freed can be had again. */
static void limited(void **state)
{
    (void)state;
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit r = {400u << 20, 400u << 20};
        setrlimit(RLIMIT_AS, &r);
        static void *p[4096];
        for (int round = 0; round < 3; round++) {
            size_t n = 0;
            errno = 0;
            while (n < 4096 && (p[n] = malloc(1 << 20)) != NULL) n++;
            if (n < 100 || n == 4096 || errno != ENOMEM) _exit(1);
            while (n > 0) free(p[--n]);
            while (n < 4096 && (p[n] = malloc(n % 4000)) != NULL) n++;
            if (n != 4096) _exit(2);
            while (n > 0) free(p[--n]);
        }
        _exit(0);
    }
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(refused),       cmocka_unit_test(alignments),
                                       cmocka_unit_test(zero_and_null), cmocka_unit_test(realloc_keeps),
                                       cmocka_unit_test(calloc_clears), cmocka_unit_test(limited)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
