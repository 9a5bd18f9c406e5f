/* SPDX-License-Identifier: Apache-2.0
 *
 * A cache keeps a few records of each message that it read, and so all of the message: 8 of 64 KiB, 64 bytes used of each. The
 * twin copies the records. A buffer with a pointer to its start, and one that is used in full, are no findings. */
#include <stdint.h>

#include "tests/control/plant.h"

enum { MESSAGES = 8, MESSAGE = 65536, RECORD = 64 };

struct slice {
    char *ptr;
    size_t len, cap;
};
struct entry {
    struct slice record;
    struct entry *next;
};
static struct entry *cache;
static char *whole;            /* its owner */
static struct slice halves[2]; /* all of a third one is in use */
static bool leak;

static char *read_message(void)
{
    char *p = malloc(MESSAGE); /* PLANTED */
    return memset(p, 1, MESSAGE);
}

static __attribute__((noinline)) void remember(void)
{
    struct entry *e = calloc(1, sizeof *e);
    char *message = read_message();
    char *at = message + 4096;
    if (!leak) {
        at = malloc(RECORD);
        memcpy(at, message + 4096, RECORD);
        free(message);
    }
    e->record = (struct slice){at, RECORD, RECORD};
    e->next = cache;
    cache = e;
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int i = 0; i < MESSAGES; i++) remember();
    whole = malloc(MESSAGE);
    char *p = malloc(MESSAGE);
    halves[0] = (struct slice){p, MESSAGE / 2, MESSAGE};
    halves[1] = (struct slice){p + MESSAGE / 2, MESSAGE / 2, MESSAGE / 2};
    p = NULL;
    scrub();
    exit(whole && halves[1].ptr ? 0 : 1);
}
