/* SPDX-License-Identifier: Apache-2.0
 *
 * Nothing is lost here: one block is held by each kind of root, and by none but that. */
#include <pthread.h>
#include <stdint.h>
#include <sys/mman.h>
#include <unistd.h>

#include "tests/control/plant.h"

struct chain {
    struct chain *next;
};

static char *in_data = (char *)1;
static char *in_bss[300];
static _Thread_local char *in_tls;
static pthread_key_t key;
static pthread_barrier_t ready;
static struct chain *head;

static char *block(void)
{
    return malloc(333);
}

static void *wait_for_ever(void *arg)
{
    char *on_stack = block();
    in_tls = block();
    pthread_setspecific(key, block());
    pthread_barrier_wait(&ready);
    pause();
    free(on_stack);
    return arg;
}

int main(void)
{
    pthread_t t;
    char *volatile on_main_stack = block();
    static char *in_function;
    in_data = block();
    in_bss[299] = block();
    in_function = block();
    in_tls = block();
    if (pthread_key_create(&key, NULL) || pthread_barrier_init(&ready, NULL, 2)) return 4;
    pthread_setspecific(key, block());
    for (int i = 0; i < 100; i++) {
        struct chain *c = malloc(sizeof *c);
        c->next = head;
        head = c;
    }
    /* Memory that the program mapped by itself. */
    char **map = mmap(NULL, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    map[5000] = block();
    /* Aligned, large, in the last word of a large block, and without any access to it. */
    posix_memalign((void **)&in_bss[1], 4096, 5000) == 0 ? (void)0 : exit(4);
    in_bss[2] = malloc(3 << 20);
    ((char **)(void *)in_bss[2])[(3 << 20) / sizeof(char *) - 1] = block();
    in_bss[3] = calloc(1000, 1000);

    if (pthread_create(&t, NULL, wait_for_ever, (void *)(intptr_t)1)) return 4;
    pthread_barrier_wait(&ready);
    exit(on_main_stack && in_function ? 0 : 4);
}
