/* SPDX-License-Identifier: Apache-2.0
 *
 * Part of coro.h: what is done in place for a processor that is known. Without a section for one, coro.h's functions do it. */
#if defined __GNUC__ && defined __x86_64__
/* Locking and unlocking what nobody else wants, in place. Macros, so that stacks show who locks and no frame of ours. The current coroutine
 * is read by hand: a compiler would keep the address of a thread-local variable over a call that parks. */
struct co_current_ {
    unsigned char runtimes[80];
    uint64_t id;
};
void co_mutex_unlocked_(co_mutex *m, uint32_t state);
#define co_mutex_lock(m)                                                                                        \
    (__extension__({                                                                                            \
        co_mutex *co_m_ = (m);                                                                                  \
        const struct co_current_ *co_c_;                                                                        \
        uint32_t co_free_ = 0;                                                                                  \
        uint64_t co_id_;                                                                                        \
        __asm__ __volatile__("movq co_current_@gottpoff(%%rip), %0\n\tmovq %%fs:(%0), %0" : "=r"(co_c_));       \
        if (__builtin_expect(                                                                                   \
                co_c_ && (co_id_ = co_c_->id, __atomic_compare_exchange_n(&co_m_->state, &co_free_, 1, 0,       \
                                                                          __ATOMIC_ACQUIRE, __ATOMIC_RELAXED)), \
                1))                                                                                             \
            co_m_->owner = co_id_;                                                                              \
        else                                                                                                    \
            (co_mutex_lock)(co_m_);                                                                             \
    }))
#define co_mutex_unlock(m)                                                           \
    (__extension__({                                                                 \
        co_mutex *co_m_ = (m);                                                       \
        uint32_t co_left_;                                                           \
        co_m_->owner = 0;                                                            \
        co_left_ = __atomic_sub_fetch(&co_m_->state, 1, __ATOMIC_RELEASE);           \
        if (__builtin_expect(co_left_ != 0, 0)) co_mutex_unlocked_(co_m_, co_left_); \
    }))
#endif
