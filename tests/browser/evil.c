/* SPDX-License-Identifier: Apache-2.0
 *
 * A program with a function whose name is markup. Never run: a recording points into it. */
int evil(int x) __asm__("\"<script>alert(1)</script>\"");
int evil(int x)
{
    return x * 3 + 1;
}

int main(int argc, char **argv)
{
    (void)argv;
    return evil(argc);
}
