/* SPDX-License-Identifier: Apache-2.0
 *
 * Part of coro.h: what is done in place for a processor that is known. Without a section for one, coro.h's functions do it. */
#if defined __GNUC__ && defined __x86_64__
/* Locking and unlocking what nobody else wants, in place. Macros, so that stacks show who locks and no frame of ours. The current coroutine
 * is read by hand: a compiler would keep the address of a thread-local variable over a call that parks. coro/mutex.c has the
 * protocol; the unlock is a restartable sequence of the kernel (rseq) where that is known to work, else a call. */
struct co_current_ {
    unsigned char runtimes[80];
    uint64_t id;
};
#define co_mutex_lock(m)                                                                                             \
    (__extension__({                                                                                                 \
        co_mutex *co_m_ = (m);                                                                                       \
        const struct co_current_ *co_c_;                                                                             \
        unsigned co_how_;                                                                                            \
        unsigned char co_free_ = 0;                                                                                  \
        uint64_t co_id_;                                                                                             \
        __asm__ __volatile__("movq co_current_@gottpoff(%%rip), %0\n\tmovzbl %%fs:16(%0), %1\n\t"                    \
                             "movq %%fs:(%0), %0"                                                                    \
                             : "=&r"(co_c_), "=&r"(co_how_));                                                        \
        if (__builtin_expect(co_c_ && (co_id_ = co_c_->id,                                                           \
                                       __atomic_compare_exchange_n(&co_m_->state, &co_free_, (unsigned char)co_how_, \
                                                                   0, __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)),          \
                             1))                                                                                     \
            co_m_->owner = co_id_;                                                                                   \
        else                                                                                                         \
            (co_mutex_lock)(co_m_);                                                                                  \
    }))
#define co_mutex_unlock(m)                                                                           \
    (__extension__({                                                                                 \
        __label__ co_call_, co_done_;                                                                \
        co_mutex *co_m_ = (m);                                                                       \
        co_m_->owner = 0;                                                                            \
        __asm__ __volatile__ goto(                                                                   \
            ".pushsection __rseq_cs, \"aw?\"\n\t"                                                    \
            ".balign 32\n"                                                                           \
            "1:\t.long 0, 0\n\t"                                                                     \
            ".quad 2f, 3f - 2f, 4f\n\t"                                                              \
            ".popsection\n\t"                                                                        \
            "movq co_current_@gottpoff(%%rip), %%rcx\n\t"                                            \
            "movq %%fs:8(%%rcx), %%rcx\n\t"                                                          \
            "testq %%rcx, %%rcx\n\t"                                                                 \
            "jz %l[co_call_]\n\t"                                                                    \
            "leaq 1b(%%rip), %%rax\n\t"                                                              \
            "movq %%rax, (%%rcx)\n"                                                                  \
            "2:\tcmpb $1, 4(%0)\n\t" /* state */                                                     \
            "jne %l[co_call_]\n\t"                                                                   \
            "cmpb $0, 5(%0)\n\t" /* flags */                                                         \
            "jne %l[co_call_]\n\t"                                                                   \
            "movb $0, 4(%0)\n"                                                                       \
            "3:\tmovq $0, (%%rcx)\n\t"                                                               \
            ".pushsection .text.co_mutex_abort_, \"ax?\"\n\t"                                        \
            ".byte 0x0f, 0xb9, 0x3d\n\t" /* with what follows an instruction that nobody executes */ \
            ".long 0x53053053\n"                                                                     \
            "4:\tjmp %l[co_call_]\n\t"                                                               \
            ".popsection"                                                                            \
            :                                                                                        \
            : "r"(co_m_)                                                                             \
            : "rax", "rcx", "cc", "memory"                                                           \
            : co_call_);                                                                             \
        goto co_done_;                                                                               \
    co_call_:                                                                                        \
        (co_mutex_unlock)(co_m_);                                                                    \
    co_done_:;                                                                                       \
    }))
#endif
