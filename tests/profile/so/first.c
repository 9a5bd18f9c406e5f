/* SPDX-License-Identifier: Apache-2.0. SPDX-License-Identifier: Apache-2.0
 *
 * A module to be closed. Its twin, second.c, has the same size, so that the loader can put it in the same place. */
void first_call(void (*fn)(void));
volatile int first_calls;
void first_call(void (*fn)(void))
{
    fn();
    first_calls++;
}
