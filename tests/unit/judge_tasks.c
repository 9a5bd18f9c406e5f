/* SPDX-License-Identifier: Apache-2.0
 *
 * The fixpoint on tasks of a provider of its own: who is live, who is leaked, and what leaked ones keep. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <cmocka.h>

#include "agent/snapshot/child.h"
#include "tests/unit/in_child.h"

enum { MAX = 2000 };
static struct seep_task task[MAX];
static struct seep_wait waits[MAX];
static uintptr_t stack[MAX][8]; /* images: the only thing on a stack is what a test puts there */
static unsigned n;
static void *objects[MAX];

static int iterate(void *ctx, seep_task_fn *fn, void *arg)
{
    (void)ctx;
    for (unsigned i = 0; i < n; i++)
        if (fn(arg, &task[i])) return 1;
    return 0;
}
static bool told[MAX]; /* by their ref: rests() */
static void rests(void *ctx, uintptr_t ref)
{
    (void)ctx;
    told[ref - 1] = true;
}
static const struct seep_task_provider provider = {
    .version = SEEP_TASK_PROVIDER_VERSION, .name = "test", .iterate = iterate, .rests = rests};

/* A task that waits to receive from objects[i]; its stack holds nothing. */
static struct seep_task *add(enum seep_wait_reason reason)
{
    unsigned i = n++;
    if (!objects[i]) objects[i] = calloc(1, 200);
    memset(stack[i], 0, sizeof stack[i]);
    waits[i] = (struct seep_wait){.object = (uintptr_t)objects[i], .kind = SEEP_OBJ_CHAN};
    uintptr_t hi = 0x100000000000 + (i + 1) * 0x10000ul;
    task[i] = (struct seep_task){.id = i + 1,
                                 .state = SEEP_TASK_WAITING,
                                 .wait_reason = reason,
                                 .stack_lo = hi - 0x10000,
                                 .stack_hi = hi,
                                 .sp = hi - sizeof stack[i],
                                 .stack_image = stack[i],
                                 .committed_bytes = 4096,
                                 .waits = &waits[i],
                                 .nwaits = 1};
    return &task[i];
}

static struct marker m;
static struct judgement j;
static struct snapshot_job job;

/* `expected`: one character a task, L live, x leaked. No roots but the tasks. */
static int judge(void *arg)
{
    const char *expected = arg;
    j.proofs = true;
    mark_collect(&m);
    judge_collect(&m, &job, &j);
    size_t first = j.ntasks - n;
    judge_tasks(&m, &job, &j);
    for (unsigned i = 0; i < n; i++) {
        bool live = expected ? expected[i] == 'L' : true;
        EXPECT(j.tasks[first + i].live == live);
    }
    return 0;
}

static int judge_kept(void *arg)
{
    EXPECT(judge(arg) == 0);
    EXPECT(j.findings.n == 1);
    const struct finding *f = (const struct finding *)j.findings.items;
    EXPECT(f->rule == SEEP_RULE_STUCK_SEND && f->confidence == SEEP_PROVEN);
    EXPECT(f->objects == 2 && f->bytes == 8192);
    /* two channels and the block of 1000 bytes */
    EXPECT(strncmp(f->evidence, "{\"kept_objects\":3,", 18) == 0);
    return 0;
}

/* `expected`: r at rest: no live word outside of its frames points into them. */
static int judge_rest(void *arg)
{
    const char *expected = arg;
    (void)judge(NULL);
    for (unsigned i = 0; i < n; i++) EXPECT(told[i] == (expected[i] == 'r'));
    return 0;
}

static void who_rests(void **state)
{
    (void)state;
    n = 0;
    for (int i = 0; i < 8; i++) add(i == 7 ? SEEP_WAIT_CHAN_RECV : SEEP_WAIT_IO)->ref = (uintptr_t)i + 1;
    stack[0][3] = task[0].sp + 8;            /* into its own frames: at rest */
    stack[1][0] = task[2].sp;                /* into another's */
    stack[1][1] = task[3].sp - 8;            /* below another's frames */
    task[4].state = SEEP_TASK_RUNNABLE;      /* about to run */
    waits[1].object = task[5].stack_hi - 16; /* waits for what stands on another's stack */
    task[6].ref = 0;                         /* nobody asked */
    stack[7][0] = task[1].sp;                /* in a leaked one: nobody can read it */
    assert_int_equal(in_child(judge_rest, (char[]){"rr.r...r"}), 0);
    void **box = calloc(1, 64); /* and through the heap */
    stack[0][0] = (uintptr_t)box;
    box[3] = (void *)(task[3].stack_hi - 1);
    assert_int_equal(in_child(judge_rest, (char[]){"rr.....r"}), 0);
    free(box);
}

static void nobody_reaches_it(void **state)
{
    (void)state;
    n = 0;
    add(SEEP_WAIT_CHAN_RECV);
    add(SEEP_WAIT_CHAN_RECV)->wakeable = true;
    add(SEEP_WAIT_SLEEP);
    add(SEEP_WAIT_CHAN_RECV)->state = SEEP_TASK_RUNNABLE;
    assert_int_equal(in_child(judge, (char[]){"xLLL"}), 0);
}

static void a_live_stack_reaches_it(void **state)
{
    (void)state;
    n = 0;
    add(SEEP_WAIT_CHAN_RECV);
    add(SEEP_WAIT_CHAN_SEND);
    add(SEEP_WAIT_SLEEP);
    stack[2][3] = (uintptr_t)objects[0] + 50; /* of a live task, to the middle of the channel */
    stack[1][0] = (uintptr_t)objects[1];      /* its own does not count */
    assert_int_equal(in_child(judge, (char[]){"LxL"}), 0);
    n = 0;
    add(SEEP_WAIT_CHAN_RECV);
    add(SEEP_WAIT_IO)->nregs = 1;
    task[1].regs[0] = (uintptr_t)objects[0]; /* a saved register */
    assert_int_equal(in_child(judge, (char[]){"LL"}), 0);
}

static void a_daisy_chain_is_live(void **state)
{
    (void)state;
    n = 0;
    for (int i = 0; i < MAX; i++) {
        add(SEEP_WAIT_CHAN_RECV);
        if (i > 0) stack[i][i % 8] = (uintptr_t)objects[i - 1]; /* the last wakes the one before, and so on */
    }
    task[MAX - 1].state = SEEP_TASK_RUNNABLE;
    assert_int_equal(in_child(judge, NULL), 0);
}

static void through_the_heap(void **state)
{
    (void)state;
    n = 0;
    void **box = calloc(1, 64);
    add(SEEP_WAIT_CHAN_RECV);
    add(SEEP_WAIT_SLEEP);
    box[5] = objects[0];
    stack[1][0] = (uintptr_t)box;
    assert_int_equal(in_child(judge, (char[]){"LL"}), 0);
    free(box);
}

static void a_ring_of_waiters_is_leaked(void **state)
{
    (void)state;
    n = 0;
    for (int i = 0; i < 5; i++) add(SEEP_WAIT_CHAN_SEND);
    for (int i = 0; i < 5; i++) stack[i][1] = (uintptr_t)objects[(i + 1) % 5];
    assert_int_equal(in_child(judge, (char[]){"xxxxx"}), 0);
}

static void nil_and_static_and_select(void **state)
{
    (void)state;
    static char chan_in_bss[64];
    n = 0;
    add(SEEP_WAIT_CHAN_RECV_NIL);
    waits[0].object = 0;
    add(SEEP_WAIT_SELECT_EMPTY)->nwaits = 0;
    add(SEEP_WAIT_CHAN_RECV);
    waits[2].object = (uintptr_t)chan_in_bss; /* not in the heap: counts as reached */
    add(SEEP_WAIT_SELECT);
    static struct seep_wait cases[3];
    cases[0] = (struct seep_wait){.kind = SEEP_OBJ_CHAN};
    cases[1] = (struct seep_wait){.object = (uintptr_t)objects[100], .kind = SEEP_OBJ_CHAN};
    cases[2] = (struct seep_wait){.object = (uintptr_t)objects[101], .kind = SEEP_OBJ_CHAN};
    task[3].waits = cases;
    task[3].nwaits = 3;
    add(SEEP_WAIT_SLEEP);
    stack[4][0] = (uintptr_t)objects[101]; /* one case is enough */
    add(SEEP_WAIT_CHAN_RECV)->nwaits = 0;  /* nobody knows for what */
    assert_int_equal(in_child(judge, (char[]){"xxLLLL"}), 0);
}

static void what_they_keep(void **state)
{
    (void)state;
    n = 0;
    void **block = calloc(1, 1000);
    add(SEEP_WAIT_CHAN_SEND);
    add(SEEP_WAIT_CHAN_SEND);
    stack[0][0] = stack[1][0] = (uintptr_t)block;
    stack[0][1] = (uintptr_t)objects[0];
    stack[1][1] = (uintptr_t)objects[1];
    assert_int_equal(in_child(judge_kept, (char[]){"xx"}), 0);
    free(block);
}

/* Word k of task i's stack. */
static uintptr_t slot_of(unsigned i, unsigned k)
{
    return task[i].sp + 8 * k;
}

static void objects_on_stacks(void **state)
{
    (void)state;
    n = 0;
    add(SEEP_WAIT_MUTEX); /* on its own stack, and nobody points there */
    waits[0].object = slot_of(0, 2);
    add(SEEP_WAIT_WAITGROUP); /* on the stack of a live task */
    add(SEEP_WAIT_SLEEP);
    waits[1].object = slot_of(2, 3);
    add(SEEP_WAIT_COND); /* on the stack of the stuck one */
    waits[3].object = slot_of(0, 5);
    assert_int_equal(in_child(judge, (char[]){"xLLx"}), 0);
    stack[2][6] = slot_of(0, 4); /* a live task points into the first one's frames: it may wake it, and so the last */
    assert_int_equal(in_child(judge, (char[]){"LLLL"}), 0);
    stack[2][6] = task[0].sp - 64; /* into the dead part of its stack: that means nothing */
    assert_int_equal(in_child(judge, (char[]){"xLLx"}), 0);
}

static void what_a_stack_lends(void **state)
{
    (void)state;
    n = 0;
    add(SEEP_WAIT_CHAN_RECV); /* its channel stands in a struct in its frame */
    stack[0][3] = (uintptr_t)objects[0];
    void **box = calloc(1, 64);
    add(SEEP_WAIT_SLEEP);
    stack[1][0] = (uintptr_t)box;
    box[2] = (void *)slot_of(0, 2); /* a live task knows the struct */
    assert_int_equal(in_child(judge, (char[]){"LL"}), 0);
    box[2] = NULL;
    assert_int_equal(in_child(judge, (char[]){"xL"}), 0);
    free(box);
}

static int judge_ring(void *arg)
{
    EXPECT(judge(arg) == 0);
    const struct finding *f = (const struct finding *)j.findings.items;
    EXPECT(j.findings.n == 2);
    EXPECT(f[0].rule == SEEP_RULE_DEADLOCK_CYCLE && f[0].objects == 2);
    EXPECT(strncmp(f[0].evidence, "{\"cycle\":[1,2]", 14) == 0);
    EXPECT(f[1].rule == SEEP_RULE_STUCK_LOCK && f[1].objects == 1); /* behind the ring */
    return 0;
}

static void rings_of_owners(void **state)
{
    (void)state;
    static char global_a[64], global_b[64];
    n = 0;
    add(SEEP_WAIT_MUTEX)->nwaits = 1;
    waits[0] = (struct seep_wait){.object = (uintptr_t)global_a, .kind = SEEP_OBJ_MUTEX, .owner_task = 2};
    add(SEEP_WAIT_RWMUTEX_W);
    waits[1] = (struct seep_wait){.object = (uintptr_t)global_b, .kind = SEEP_OBJ_RWMUTEX, .owner_task = 1};
    add(SEEP_WAIT_MUTEX);
    waits[2] = waits[0];
    waits[2].owner_task = 1;
    add(SEEP_WAIT_MUTEX); /* its owner sleeps */
    waits[3] = (struct seep_wait){.object = (uintptr_t)global_a, .kind = SEEP_OBJ_MUTEX, .owner_task = 5};
    add(SEEP_WAIT_SLEEP);
    assert_int_equal(in_child(judge_ring, (char[]){"xxxLL"}), 0);
    waits[1].owner_task = 2; /* the second one waits for itself */
    assert_int_equal(in_child(judge, (char[]){"xxxLL"}), 0);
    task[1].wakeable = true; /* the ring is broken */
    assert_int_equal(in_child(judge, (char[]){"LLLLL"}), 0);
}

static void a_proof_is_kept(void **state)
{
    (void)state;
    n = 0;
    judge_sticky_prepare();
    add(SEEP_WAIT_CHAN_RECV)->id = 1001;
    task[0].schedules = 7;
    add(SEEP_WAIT_SLEEP);
    assert_int_equal(in_child(judge, (char[]){"xL"}), 0);
    stack[1][0] = (uintptr_t)objects[0]; /* a stale word, it must be */
    assert_int_equal(in_child(judge, (char[]){"xL"}), 0);
    task[0].schedules = 8; /* it has run: another wait */
    assert_int_equal(in_child(judge, (char[]){"LL"}), 0);
}

static int setup(void **state)
{
    (void)state;
    for (int i = 0; i < MAX; i++) objects[i] = calloc(1, 200);
    return provider_register(&provider);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_reaches_it),         cmocka_unit_test(who_rests),
        cmocka_unit_test(a_live_stack_reaches_it),   cmocka_unit_test(a_daisy_chain_is_live),
        cmocka_unit_test(through_the_heap),          cmocka_unit_test(a_ring_of_waiters_is_leaked),
        cmocka_unit_test(nil_and_static_and_select), cmocka_unit_test(what_they_keep),
        cmocka_unit_test(objects_on_stacks),         cmocka_unit_test(what_a_stack_lends),
        cmocka_unit_test(rings_of_owners),           cmocka_unit_test(a_proof_is_kept),
    };
    return cmocka_run_group_tests(tests, setup, NULL);
}
