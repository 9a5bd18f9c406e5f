/* SPDX-License-Identifier: Apache-2.0
 *
 * What seep_set_finalizer() promises, one function a promise. Says what is wrong. Linked weakly: run under the agent. */
#include <errno.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "seep.h"
#include "tests/control/plant.h"

#pragma weak seep_set_finalizer
#pragma weak seep_gc
#pragma weak seep_new
#pragma weak seep_free

static int wrong;
#define EXPECT(what) ((what) ? (void)0 : (void)(wrong++, printf("line %d: %s\n", __LINE__, #what)))

static char calls[64]; /* a letter a call */
static unsigned ncalls;

static void note(void *p, void *arg)
{
    calls[__atomic_fetch_add(&ncalls, 1, __ATOMIC_ACQ_REL)] = *(const char *)arg;
    seep_free(p);
}

/* Over the frames of who lost something. */
#define COLLECT(want) (scrub(), collect(want))

/* A cycle, and until `want` calls in all have been made. */
static int collect(unsigned want)
{
    int n = seep_gc();
    for (int i = 0; i < 2000 && __atomic_load_n(&ncalls, __ATOMIC_ACQUIRE) < want; i++) nap(1);
    nap(2);
    return n;
}

/* Addresses are told by their complement, so that nothing keeps the block. */
static uintptr_t hide(void *p)
{
    return ~(uintptr_t)p;
}

struct link {
    void *next;
};

static __attribute__((noinline)) void lose_chain(void)
{
    struct link *b = seep_new(64, SEEP_ZERO), *a = malloc(64);
    a->next = b;
    EXPECT(seep_set_finalizer(a, note, "a") == 0);
    EXPECT(seep_set_finalizer(b, note, "b") == 0);
}

static void in_order(void)
{
    lose_chain();
    EXPECT(COLLECT(1) == 1 && calls[0] == 'a');
    EXPECT(COLLECT(2) == 1 && calls[1] == 'b');
    EXPECT(COLLECT(2) == 0);
}

static void *kept;
static __attribute__((noinline)) void keep_one(void)
{
    kept = malloc(40);
    EXPECT(seep_set_finalizer(kept, note, "k") == 0);
    struct link *own = malloc(sizeof *own);
    EXPECT(seep_set_finalizer(own, note, own) == 0); /* its argument leads to it */
    own->next = NULL;
}

static void not_while_reachable(void)
{
    keep_one();
    EXPECT(COLLECT(2) == 0);
    EXPECT(seep_set_finalizer(kept, NULL, NULL) == 0);
    EXPECT(seep_set_finalizer(kept, NULL, NULL) == -ENOENT);
    free(kept);
    kept = NULL;
}

static uintptr_t hidden;
static __attribute__((noinline)) void replace_and_free(void)
{
    void *p = malloc(200), *q = malloc(200);
    EXPECT(seep_set_finalizer(p, note, "x") == 0);
    EXPECT(seep_set_finalizer(p, note, "r") == 0);
    EXPECT(seep_set_finalizer(q, note, "q") == 0);
    seep_free(q);
    EXPECT(seep_set_finalizer((char *)p + 8, note, "i") == -EINVAL);
    EXPECT(seep_set_finalizer(&wrong, note, "g") == -EINVAL);
    EXPECT(seep_set_finalizer(NULL, note, "n") == -EINVAL);
}

static void the_last_one_counts(void)
{
    replace_and_free();
    EXPECT(COLLECT(3) == 1 && calls[2] == 'r' && ncalls == 3);
}

static struct link *back;
static void revive(void *p, void *arg)
{
    ncalls++;
    __atomic_store_n(&back, p, __ATOMIC_RELEASE);
    if (arg) EXPECT(seep_set_finalizer(p, revive, NULL) == 0);
}

static __attribute__((noinline)) void lose_phoenix(void)
{
    void *p = malloc(80);
    hidden = hide(p);
    EXPECT(seep_set_finalizer(p, revive, "") == 0);
}

static void may_come_back(void)
{
    lose_phoenix();
    EXPECT(COLLECT(4) == 1 && hide(back) == hidden);
    EXPECT(COLLECT(4) == 0);
    back = NULL;
    EXPECT(COLLECT(5) == 1 && hide(back) == hidden);
    free(back);
    back = NULL;
    EXPECT(COLLECT(5) == 0);
}

static void after_fork(void)
{
    int pid = fork();
    if (pid == 0) {
        ncalls = 0;
        wrong = 0;
        lose_chain();
        EXPECT(COLLECT(1) == 1 && calls[0] == 'a');
        _exit(wrong);
    }
    int status = 1;
    EXPECT(waitpid(pid, &status, 0) == pid && status == 0);
}

enum { MANY = 3000 };
static __attribute__((noinline)) void lose_many(void)
{
    for (int i = 0; i < MANY; i++) EXPECT(seep_set_finalizer(malloc(32), revive, NULL) == 0);
}

static void many(void)
{
    ncalls = 0;
    lose_many();
    scrub();
    int n = collect(MANY - 5);
    EXPECT(n >= MANY - 5 && n <= MANY && ncalls >= MANY - 5); /* a stale word may keep a few */
    back = NULL;
}

int main(void)
{
    in_order();
    not_while_reachable();
    the_last_one_counts();
    may_come_back();
    after_fork();
    many();
    return wrong > 0;
}
