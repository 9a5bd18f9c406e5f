/* SPDX-License-Identifier: Apache-2.0
 *
 * What the planted leaks share. The marker is conservative, so a stale word on the stack may keep a lost block: scrub()
 * overwrites what the planting left below the caller's frame. */
#ifndef PLANT_H
#define PLANT_H

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static __attribute__((unused)) bool leaking(int argc, char **argv)
{
    return argc > 1 && strcmp(argv[1], "leak") == 0;
}

static __attribute__((unused)) void nap(int ms)
{
    struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
    nanosleep(&t, NULL);
}

static __attribute__((noinline, unused)) void scrub(void)
{
    char area[65536];
    memset(area, 0, sizeof area);
    __asm__ volatile("" ::"r"(area) : "memory");
}

#endif
