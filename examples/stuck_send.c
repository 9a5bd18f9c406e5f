/* SPDX-License-Identifier: Apache-2.0
 *
 * A leak of coroutines by a channel without room: "the first answer wins". A question goes to three replicas at once, the
 * first answer is taken, and nobody will ever receive the other two: their senders wait for ever, and each keeps its answer
 * alive.
 *
 *     seep gate -- stuck_send            exit 1: stuck-send, waits in ask_replica(), created in ask()
 *     seep gate -- stuck_send --fixed    exit 0: the channel has room for every answer */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "coro.h"

enum { REPLICAS = 3, QUESTIONS = 100 };

struct answer {
    int replica;
    char text[2000];
};

struct query {
    co_chan *answers; /* of struct answer * */
    int question, replica;
};

static void ask_replica(void *arg)
{
    struct query q = *(struct query *)arg;
    free(arg);
    struct answer *a = calloc(1, sizeof *a);
    if (!a) exit(4);
    a->replica = q.replica;
    snprintf(a->text, sizeof a->text, "%d: %d", q.question, q.question * q.question);
    co_sleep_ns((uint64_t)(1 + (q.question + q.replica) % REPLICAS) * 100000);
    co_send(q.answers, &a);
}

static void ask(int question, int fixed, int wins[REPLICAS])
{
    co_chan *answers = co_make(struct answer *, fixed ? REPLICAS : 0);
    for (int i = 0; i < REPLICAS; i++) {
        struct query *q = malloc(sizeof *q);
        if (!q) exit(4);
        *q = (struct query){answers, question, i};
        co_go(ask_replica, q);
    }
    struct answer *a = NULL;
    co_recv(answers, &a);
    wins[a->replica]++;
    free(a);
    if (!fixed) return; /* and the others? */
    for (int i = 1; i < REPLICAS; i++) {
        co_recv(answers, &a);
        free(a);
    }
    co_chan_free(answers);
}

int main(int argc, char **argv)
{
    int fixed = argc > 1 && strcmp(argv[1], "--fixed") == 0;
    int wins[REPLICAS] = {0};
    for (int i = 0; i < QUESTIONS; i++) ask(i, fixed, wins);
    co_sleep_ns(5000000);
    printf("%d questions; first were: %d %d %d; %llu coroutines left\n", QUESTIONS, wins[0], wins[1], wins[2],
           (unsigned long long)co_count() - 1);
    return 0;
}
