/* SPDX-License-Identifier: Apache-2.0
 *
 * Blocks held in different ways, whose addresses it prints: one in the middle of a list of 100, or so many as are asked for, what that owns, one that is lost, one that was freed,
 * one that only a pointer to its end keeps, one that a variable of main() holds. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct session {
    struct session *next;
    char *name;
    char pad[100];
};
static struct session *sessions;
static void *table, *end;

static __attribute__((noinline)) void *xmalloc(size_t size)
{
    return malloc(size);
}

static __attribute__((noinline)) void session_new(void)
{
    struct session *s = calloc(1, sizeof *s);
    s->name = xmalloc(32);
    s->next = sessions;
    sessions = s;
}

/* Kept in a form that is no pointer. */
static uintptr_t hidden[5];

static __attribute__((noinline)) void plant(int n)
{
    for (int i = 0; i < n; i++) session_new();
    struct session *s = sessions;
    for (int i = 0; i < n / 2; i++) s = s->next;
    void *lost = malloc(77), *freed = malloc(1500);
    hidden[0] = ~(uintptr_t)s;
    hidden[1] = ~(uintptr_t)s->name;
    hidden[2] = ~(uintptr_t)lost;
    hidden[3] = ~(uintptr_t)freed;
    free(freed);
    table = malloc(1 << 20);
    char *large = malloc(1 << 20);
    hidden[4] = ~(uintptr_t)large;
    end = large + (1 << 20);
}

static __attribute__((noinline)) void scrub(void)
{
    char area[16384];
    memset(area, 0, sizeof area);
    __asm__ volatile("" ::"r"(area) : "memory");
}

int main(int argc, char **argv)
{
    plant(argc > 1 ? atoi(argv[1]) : 100);
    void *volatile mine = malloc(99);
    for (int i = 0; i < 5; i++) dprintf(1, "0x%lx\n", (unsigned long)~hidden[i]);
    dprintf(1, "0x%lx\n", (unsigned long)mine);
    scrub();
    pause();
    free(mine);
    return 0;
}
