/* SPDX-License-Identifier: Apache-2.0
 *
 * Makes system calls fail, from here on and in every thread of the process: a seccomp filter. For tests in a child of their own. */
#ifndef TESTS_REFUSE_H
#define TESTS_REFUSE_H

#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

/* The call fails with that errno; arg (from 1; 0: any call) has the value in its low 32 bits, or another when `but`. */
struct refuse {
    int nr, error;
    unsigned arg;
    uint32_t value;
    bool but;
};

/* False: filters can't be had here. */
static inline bool refuse(const struct refuse *r, unsigned n)
{
    struct sock_filter f[64];
    unsigned short k = 0;
    f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    for (unsigned i = 0; i < n; i++) {
        uint32_t at = (uint32_t)offsetof(struct seccomp_data, args) + (r[i].arg ? r[i].arg - 1 : 0) * 8;
        bool any = r[i].arg == 0; /* steps that are left out are not jumped over either */
        f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)r[i].nr, 0, any ? 1 : 4);
        if (!any) f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, at);
        if (!any) f[k++] = (struct sock_filter)BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, r[i].value, r[i].but, !r[i].but);
        f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | (uint32_t)r[i].error);
        if (!any) f[k++] = (struct sock_filter)BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr));
    }
    f[k++] = (struct sock_filter)BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW);
    struct sock_fprog prog = {.len = k, .filter = f};
    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, SECCOMP_FILTER_FLAG_TSYNC, &prog) == 0;
}
/* Or the test is over: nothing can be said. */
#define REFUSE(...)                                                 \
    do {                                                            \
        const struct refuse rows_[] = {__VA_ARGS__};                \
        if (!refuse(rows_, sizeof rows_ / sizeof *rows_)) _exit(0); \
    } while (0)

#endif
