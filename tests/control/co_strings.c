/* SPDX-License-Identifier: Apache-2.0
 *
 * A word out of each of five texts of 32 KiB, and so all of the texts. The twin clones the words. */
#include "coro.h"
#include "tests/control/plant.h"

enum { TEXTS = 5, TEXT = 32768 };
static co_str words[TEXTS];
static bool leak;

static __attribute__((noinline)) char *read_text(void)
{
    char *p = malloc(TEXT); /* PLANTED */
    return memset(p, 'x', TEXT);
}

static __attribute__((noinline)) void keep_word(int i)
{
    char *text = read_text();
    co_str word = co_str_sub((co_str){text, TEXT}, 20001, 20041);
    if (!leak) {
        word = co_str_clone(word);
        free(text);
    }
    words[i] = word;
}

int main(int argc, char **argv)
{
    leak = leaking(argc, argv);
    for (int i = 0; i < TEXTS; i++) keep_word(i);
    scrub();
    return words[0].len == 40 ? 0 : 1;
}
