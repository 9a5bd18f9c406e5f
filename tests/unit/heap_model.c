/* SPDX-License-Identifier: Apache-2.0
 *
 * Property: any sequence of operations leaves every block as the program wrote it, aligned and large enough, and the heap
 * with its invariants. Each sequence runs in a child; one that fails is made shorter, by leaving out ever smaller parts, while it
 * still fails, and printed. Operations on an empty slot do nothing, so every part of a sequence is one. */
#include <stdarg.h>
#include <stddef.h>
#include <setjmp.h>
#include <stdint.h>
#include <cmocka.h>

#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "agent/heap/types.h"

enum { OPS = 600, SLOTS = 32, SEQUENCES = 20 };
enum kind { OP_MALLOC, OP_CALLOC, OP_ALIGNED, OP_REALLOC, OP_FREE, OP_TRIM, KINDS };
static const char *const kind_name[] = {"malloc", "calloc", "aligned", "realloc", "free", "trim"};

struct op {
    enum kind kind;
    unsigned slot;
    size_t size;
};
/* The model: what each slot must hold. */
struct block {
    unsigned char *p;
    size_t size;
    unsigned char fill;
};

static uint64_t next(uint64_t *s)
{
    *s ^= *s << 13;
    *s ^= *s >> 7;
    *s ^= *s << 17;
    return *s;
}

static struct op some_op(uint64_t *s)
{
    static const size_t most[] = {64, 1024, 5000, 40000, 200000};
    struct op op = {.kind = (enum kind)(next(s) % 5), .slot = (unsigned)(next(s) % SLOTS)};
    op.size = next(s) % most[next(s) % 5];
    if (next(s) % 200 == 0) op.kind = OP_TRIM;
    return op;
}

static bool holds(const struct block *b, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        if (b->p[i] != b->fill) return false;
    }
    return true;
}

static bool renew(struct block *b, void *p, size_t size, size_t align, unsigned char fill)
{
    if (!p || (uintptr_t)p % align != 0 || malloc_usable_size(p) < size) return false;
    *b = (struct block){p, size, fill};
    memset(p, fill, size);
    return true;
}

static bool apply(struct block *b, const struct op *op, unsigned char fill)
{
    if (op->kind == OP_TRIM) return malloc_trim(0) >= 0;
    if (b->p && !holds(b, b->size)) return false;
    if (op->kind == OP_REALLOC && b->p && op->size > 0) {
        size_t kept = b->size < op->size ? b->size : op->size;
        b->p = realloc(b->p, op->size);
        return b->p && holds(b, kept) && renew(b, b->p, op->size, 8, fill);
    }
    free(b->p);
    *b = (struct block){0};
    if (op->kind == OP_MALLOC) return renew(b, malloc(op->size), op->size, op->size > 8 ? 16 : 8, fill);
    if (op->kind == OP_ALIGNED) {
        size_t align = (size_t)16 << op->size % 9;
        return renew(b, aligned_alloc(align, op->size), op->size, align, fill);
    }
    if (op->kind == OP_CALLOC) {
        struct block clear = {calloc(1, op->size), op->size, 0};
        return clear.p && holds(&clear, op->size) && renew(b, clear.p, op->size, 8, fill);
    }
    return true;
}

static bool heap_keeps_the_model(const struct op *op, size_t n)
{
    struct block slot[SLOTS] = {{0}};
    for (size_t i = 0; i < n; i++) {
        if (!apply(&slot[op[i].slot], &op[i], (unsigned char)(i * 7 + 1))) return false;
    }
    for (int i = 0; i < SLOTS; i++) {
        if (slot[i].p && !holds(&slot[i], slot[i].size)) return false;
    }
    return heap_check();
}

typedef bool property(const struct op *op, size_t n);

/* In a child: a crash is a failure like any other. */
static bool survives(property *f, const struct op *op, size_t n)
{
    fflush(NULL);
    pid_t pid = fork();
    if (pid == 0) _exit(f(op, n) ? 0 : 1);
    int status = 1;
    waitpid(pid, &status, 0);
    return status == 0;
}

/* Leaves out parts, from halves to single operations, until no part can go. Returns the length. */
static size_t shrink(property *f, struct op *op, size_t n)
{
    struct op try[OPS];
    for (size_t part = n / 2 ? n / 2 : 1; part >= 1;) {
        bool shorter = false;
        for (size_t at = 0; at < n;) {
            size_t cut = part < n - at ? part : n - at;
            memcpy(try, op, at * sizeof *op);
            memcpy(try + at, op + at + cut, (n - at - cut) * sizeof *op);
            if (!survives(f, try, n - cut)) {
                n -= cut;
                memcpy(op, try, n * sizeof *op);
                shorter = true;
            } else {
                at += cut;
            }
        }
        if (!shorter && part == 1) break;
        part = part > 1 ? part / 2 : 1;
    }
    return n;
}

static void any_sequence(void **state)
{
    (void)state;
    static struct op op[OPS];
    for (uint64_t seed = 1; seed <= SEQUENCES; seed++) {
        uint64_t s = seed * 0x9e3779b97f4a7c15ull;
        for (int i = 0; i < OPS; i++) op[i] = some_op(&s);
        if (survives(heap_keeps_the_model, op, OPS)) continue;
        size_t n = shrink(heap_keeps_the_model, op, OPS);
        for (size_t i = 0; i < n; i++)
            print_message("%s slot %u size %zu\n", kind_name[op[i].kind], op[i].slot, op[i].size);
        fail_msg("sequence %lu fails; the %zu operations above are enough", seed, n);
    }
}

/* A property that is false of sequences with an allocation of over 3,000 bytes and, later, a free of slot 5. */
static bool no_such_pair(const struct op *op, size_t n)
{
    bool large = false;
    for (size_t i = 0; i < n; i++) {
        if (op[i].kind == OP_MALLOC && op[i].size > 3000) large = true;
        if (op[i].kind == OP_FREE && op[i].slot == 5 && large) return false;
    }
    return true;
}

static void a_failure_is_made_short(void **state)
{
    (void)state;
    static struct op op[OPS];
    uint64_t s = 99;
    for (int i = 0; i < OPS; i++) op[i] = some_op(&s);
    assert_false(survives(no_such_pair, op, OPS));
    assert_int_equal(shrink(no_such_pair, op, OPS), 2);
    assert_true(op[0].kind == OP_MALLOC && op[0].size > 3000);
    assert_true(op[1].kind == OP_FREE && op[1].slot == 5);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(any_sequence), cmocka_unit_test(a_failure_is_made_short)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
