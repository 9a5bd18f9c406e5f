/* SPDX-License-Identifier: Apache-2.0
 *
 * A module whose thread-local variable lives in a block that the loader allocates on first use. */
void keep(void *p);

static __thread struct {
    char far_away[100000];
    void *kept;
} block;

void keep(void *p)
{
    block.kept = p;
}
