/* SPDX-License-Identifier: Apache-2.0
 *
 * The oldest leak: a block whose last pointer goes away. A session table replaces a session under the same key and
 * forgets to free the one that stood there.
 *
 *     seep gate -- lost_block --leak     exit 1: unreachable-memory, allocated in session_new()
 *     seep gate -- lost_block            exit 0 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { SLOTS = 16, REQUESTS = 1000 };

struct session {
    unsigned user;
    char token[120];
};

static struct session *table[SLOTS];

static struct session *session_new(unsigned user)
{
    struct session *s = malloc(sizeof *s);
    if (!s) exit(4);
    s->user = user;
    snprintf(s->token, sizeof s->token, "token-%u", user);
    return s;
}

static void login(unsigned user, int leak)
{
    struct session **slot = &table[user % SLOTS];
    if (!leak) free(*slot);
    *slot = session_new(user);
}

int main(int argc, char **argv)
{
    int leak = argc > 1 && strcmp(argv[1], "--leak") == 0;
    for (unsigned user = 0; user < REQUESTS; user++) login(user, leak);
    printf("%d logins, %d sessions, last: %s\n", REQUESTS, SLOTS, table[(REQUESTS - 1) % SLOTS]->token);
    return 0;
}
