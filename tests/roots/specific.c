/* SPDX-License-Identifier: Apache-2.0
 *
 * Thread-specific data: a key in the descriptor, and one in the table for many keys.
 * expect: 2 reached */
#include "root.h"

#include <pthread.h>

int main(void)
{
    pthread_key_t key;
    for (int i = 0; i < 100; i++) {
        pthread_key_create(&key, NULL);
        if (i == 0 || i == 99) pthread_setspecific(key, plant());
    }
    return check();
}
