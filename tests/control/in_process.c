/* SPDX-License-Identifier: Apache-2.0
 *
 * What a program asks about itself: seep_check(), seep_verify_none() and LeakSanitizer's functions. Says what is wrong. Linked
 * weakly: run under the agent. */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "seep.h"
#include "tests/control/plant.h"

#pragma weak seep_check
#pragma weak seep_verify_none
#pragma weak seep_ignore
int __lsan_do_recoverable_leak_check(void) __attribute__((weak));
void __lsan_do_leak_check(void) __attribute__((weak));

static const char *hidden = "";
const char *__lsan_default_suppressions(void);
const char *__lsan_default_suppressions(void)
{
    return hidden;
}

static int wrong;
#define EXPECT(what) ((what) ? (void)0 : (void)(wrong++, printf("line %d: %s\n", __LINE__, #what)))

__attribute__((noinline)) void lose_some(void);
__attribute__((noinline)) void lose_some(void)
{
    for (int i = 0; i < 3; i++) {
        void *volatile p = malloc(1000);
        p = NULL;
        (void)p;
    }
}

static void *waits(void *arg)
{
    pthread_mutex_t *m = malloc(sizeof *m);
    pthread_mutex_init(m, NULL);
    pthread_mutex_lock(m);
    pthread_mutex_lock(m);
    return arg;
}

int main(int argc, char **argv)
{
    static struct seep_check_report r;
    pthread_t t;
    int first = seep_check(&r);
    EXPECT(first == 0 && r.total == 0 && !r.doubtful);
    EXPECT(seep_verify_none("clean") == 0);
    EXPECT(__lsan_do_recoverable_leak_check() == 0);
    lose_some();
    scrub();
    EXPECT(seep_check(&r) == 1);
    EXPECT(r.unreachable_objects == 3 && r.unreachable_bytes >= 3000 && r.n == 1);
    EXPECT(strcmp(r.findings[0].rule, "unreachable-memory") == 0 && strcmp(r.findings[0].confidence, "proven") == 0);
    EXPECT(r.findings[0].objects == 3 && r.findings[0].nframes > 0);
    uintptr_t at = (uintptr_t)r.findings[0].frames[0], fn = (uintptr_t)lose_some;
    EXPECT(at > fn && at < fn + 200);
    EXPECT(seep_verify_none("three") == 1);
    EXPECT(__lsan_do_recoverable_leak_check() == 1);
    hidden = "race:x\nleak:^lose_s*me$\n";
    EXPECT(__lsan_do_recoverable_leak_check() == 0);
    hidden = "leak:lose_none\n";
    EXPECT(__lsan_do_recoverable_leak_check() == 1);
    pthread_create(&t, NULL, waits, NULL);
    nap(50);
    EXPECT(seep_check(&r) == 2 && r.leaked_tasks == 1);
    fflush(stdout);
    if (argc > 1 && strcmp(argv[1], "end") == 0) __lsan_do_leak_check();
    exit(wrong != 0);
}
