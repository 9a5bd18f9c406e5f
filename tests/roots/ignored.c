/* SPDX-License-Identifier: Apache-2.0
 * expect: 4 reached */
#include "tests/roots/root.h"

int seep_ignore(const void *p) __attribute__((weak));
void __lsan_ignore_object(const void *p) __attribute__((weak));
void seep_no_leak_begin(void) __attribute__((weak));
void seep_no_leak_end(void) __attribute__((weak));

/* Two that are ignored, one that hangs from an ignored one, one that is allocated where nothing counts as a leak. */
static __attribute__((noinline)) void lose(void)
{
    void **a = plant(), **b = plant();
    a[3] = plant();
    seep_ignore(a);
    __lsan_ignore_object((char *)b + 100);
    void **keep = malloc(64); /* the block that the section must cover is small */
    keep[0] = NULL;
    seep_no_leak_begin();
    void **head = malloc(80);
    seep_no_leak_end();
    head[2] = plant();
    free(keep);
}

int main(void)
{
    lose();
    return check();
}
