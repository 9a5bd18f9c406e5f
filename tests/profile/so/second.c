/* SPDX-License-Identifier: Apache-2.0. SPDX-License-Identifier: Apache-2.0
 *
 * The twin of first.c. */
void second_call(void (*fn)(void));
volatile int second_calls;
void second_call(void (*fn)(void))
{
    fn();
    second_calls++;
}
