/* SPDX-License-Identifier: Apache-2.0
 *
 * Address space through its states, the table of regions, futexes. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <sys/wait.h>
#include <unistd.h>

#include "agent/os/os.h"
#include "agent/os/ranges.h"

static uintptr_t wanted;
static struct os_region found;

static void look(void *arg, const struct os_region *r)
{
    (void)arg;
    if (r->lo <= wanted && wanted < r->hi) found = *r;
}

static bool noted(uintptr_t p, enum os_kind kind)
{
    wanted = p;
    found = (struct os_region){0};
    os_regions(look, NULL);
    return found.lo != 0 && found.kind == kind;
}

/* By the kernel's word: a write() from there fails. */
static bool access_refused(const char *p)
{
    int fd[2];
    if (pipe(fd) != 0) return false;
    bool refused = write(fd[1], p, 1) < 0;
    close(fd[0]);
    close(fd[1]);
    return refused;
}

static void states(void **state)
{
    (void)state;
    const size_t size = 1 << 20;
    size_t before = os_kind_bytes(OS_OTHER);
    char *p = os_reserve(NULL, size, 1 << 21, OS_OTHER);
    assert_non_null(p);
    assert_int_equal((uintptr_t)p % (1 << 21), 0);
    assert_int_equal(os_kind_bytes(OS_OTHER), before);
    assert_true(noted((uintptr_t)p + size - 1, OS_OTHER));
    assert_false(noted((uintptr_t)p + size, OS_OTHER));
    assert_int_equal(os_map(p, size), 0);
    assert_int_equal(os_used(p, size), 0);
    assert_int_equal(os_kind_bytes(OS_OTHER), before + size);
    memset(p, 7, size);
    assert_int_equal(os_unused(p, size, false), 0);
    for (size_t i = 0; i < size; i++) assert_int_equal(p[i], 0);
    memset(p, 7, size);
    assert_int_equal(os_unused(p, size, true), 0);
    p[0] = 1; /* still usable */
    assert_int_equal(os_free(p, size), 0);
    assert_int_equal(os_kind_bytes(OS_OTHER), before);
    assert_false(noted((uintptr_t)p, OS_OTHER));
    assert_int_equal(os_free(p, size), -EINVAL);
}

static void returned_and_shared(void **state)
{
    (void)state;
    const size_t size = 4 << 20;
    char *p = os_reserve(NULL, size, size, OS_OTHER);
    size_t before = os_kind_bytes(OS_OTHER);
    assert_int_equal(os_map(p, size), 0);
    struct os_range middle = {(uintptr_t)p + 8192, 4096};
    assert_int_equal(os_release(&middle, 1), 0);
    p[5] = 5;
    assert_int_equal(os_return(p, size / 2), 0);
    assert_int_equal(os_kind_bytes(OS_OTHER), before + size / 2);
    p[size / 2] = 1;
    assert_true(access_refused(p) && !access_refused(p + size / 2));
    assert_int_equal(os_map(p, size / 2), 0);
    assert_int_equal(p[5], 0);
    assert_int_equal(os_free(p, size), 0);

    int *shared = os_share(100, OS_OTHER);
    assert_true(shared && noted((uintptr_t)shared, OS_OTHER));
    pid_t pid = fork();
    if (pid == 0) {
        *shared = 77;
        _exit(0);
    }
    assert_int_equal(waitpid(pid, NULL, 0), pid);
    assert_int_equal(*shared, 77);
    assert_int_equal(os_free(shared, os_page_size()), 0);
    int rc = os_barrier();
    assert_true(rc == 0 || rc == -ENOSYS || rc == -EPERM || rc == -EINVAL);
    assert_int_equal(os_barrier(), rc);
}

static void hint_and_pieces(void **state)
{
    (void)state;
    char *hint = (char *)0x7a0000000000;
    char *p = os_reserve(hint, 3 << 20, 0, OS_OTHER);
    assert_ptr_equal(p, hint);
    char *q = os_reserve(hint, 1 << 20, 1 << 20, OS_OTHER); /* taken: elsewhere */
    assert_ptr_not_equal(q, hint);
    assert_int_equal(os_free(p + (1 << 20), 1 << 20), 0); /* a hole */
    assert_true(noted((uintptr_t)p, OS_OTHER));
    assert_false(noted((uintptr_t)p + (1 << 20), OS_OTHER));
    assert_true(noted((uintptr_t)p + (2 << 20), OS_OTHER));
    os_free(p, 1 << 20);
    os_free(p + (2 << 20), 1 << 20);
    os_free(q, 1 << 20);
}

static void zeros_and_moves(void **state)
{
    (void)state;
    char *z = os_reserve_zero(1 << 20, OS_OTHER);
    assert_int_equal(z[12345], 0);
    assert_int_equal(os_map(z + 4096, 4096), 0);
    z[4096] = 5;
    assert_int_equal(z[4096] + z[0], 5);
    char *a = os_alloc(1 << 16, OS_OTHER), *b = os_alloc(1 << 16, OS_OTHER);
    memset(a, 9, 1 << 16);
    if (os_move(a, b, 1 << 16) == 0) {
        assert_int_equal(b[65535], 9);
        assert_int_equal(a[65535], 0);
    }
    a = os_remap(a, 1 << 16, 1 << 18);
    assert_non_null(a);
    assert_true(noted((uintptr_t)a + (1 << 18) - 1, OS_OTHER));
    os_free(a, 1 << 18);
    os_free(b, 1 << 16);
    os_free(z, 1 << 20);
}

static void many_regions(void **state)
{
    (void)state;
    enum { N = 1500 };
    static char *p[N];
    char *space = os_reserve(NULL, (size_t)N * 8192, 0, OS_OTHER);
    os_free(space, (size_t)N * 8192);
    for (size_t i = 0; i < N; i++) p[i] = os_reserve(space + i * 8192, 4096, 0, OS_OTHER);
    for (int i = 0; i < N; i++) assert_true(noted((uintptr_t)p[i], OS_OTHER));
    for (int i = 0; i < N; i++) os_free(p[i], 4096);
    for (int i = 0; i < N; i++) assert_false(noted((uintptr_t)p[i], OS_OTHER));
}

static void futex(void **state)
{
    (void)state;
    uint32_t word = 1;
    assert_int_equal(os_futex_wait(&word, 2, -1), -EAGAIN);
    assert_int_equal(os_futex_wait(&word, 1, 1000000), -ETIMEDOUT);
    assert_int_equal(os_futex_wake(&word, 1), 0);
    assert_true(os_mono_ns() > 0 && os_unix_ns() > 1500000000000000000ull);
    assert_true(os_random() != os_random());
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(states),          cmocka_unit_test(returned_and_shared),
                                       cmocka_unit_test(hint_and_pieces), cmocka_unit_test(zeros_and_moves),
                                       cmocka_unit_test(many_regions),    cmocka_unit_test(futex)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
