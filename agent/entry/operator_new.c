/* SPDX-License-Identifier: Apache-2.0
 *
 * C++'s operator new and delete in all their forms, in C: the names are those of the Itanium C++ ABI, and size_t is `m`
 * there. What happens when there is no memory is C++'s rule: the new-handler is called until there is some or it
 * gives up by throwing; without a handler std::bad_alloc is thrown, or NULL returned by the nothrow forms. libstdc++
 * is not linked: its functions are looked for weakly, and a program that calls operator new has them.
 *
 * Exceptions pass through the C frames here: on x86-64 every function has unwind tables, and none has a clean-up. */
#include "agent/heap/fast.h"

#include "agent/entry/entry.h"
#include "agent/util/log.h"

typedef void new_handler(void);
extern new_handler *_ZSt15get_new_handlerv(void) __attribute__((weak)); /* std::get_new_handler() */
extern void _ZSt17__throw_bad_allocv(void) __attribute__((weak));       /* std::__throw_bad_alloc() */

static __attribute__((noinline)) void *again(size_t size, size_t align, bool nothrow)
{
    for (;;) {
        new_handler *handler = _ZSt15get_new_handlerv ? _ZSt15get_new_handlerv() : NULL;
        if (!handler) break;
        handler();
        void *p = heap_alloc(size, align, 0);
        if (p) return p;
    }
    if (nothrow) return NULL;
    if (_ZSt17__throw_bad_allocv) _ZSt17__throw_bad_allocv();
    log_fatal("operator new: no memory for %zu bytes", size);
}

static ALWAYS_INLINE void *new_plain(size_t size, bool nothrow)
{
    void *p = fast_malloc(size);
    return LIKELY(p != NULL) ? p : again(size, 0, nothrow);
}

static ALWAYS_INLINE void *new_aligned(size_t size, size_t align, bool nothrow)
{
    void *p = heap_alloc(size, align, 0);
    return LIKELY(p != NULL) ? p : again(size, align, nothrow);
}

/* NAME(parameters) */
#define NEW(name, params, expr)    \
    SEEP_EXPORT void *name params; \
    void *name params              \
    {                              \
        return expr;               \
    }
#define DELETE(name, params)      \
    SEEP_EXPORT void name params; \
    void name params              \
    {                             \
        fast_free(p);             \
    }
#define UNUSED __attribute__((unused))

NEW(_Znwm, (size_t n), new_plain(n, false))
NEW(_Znam, (size_t n), new_plain(n, false))
NEW(_ZnwmRKSt9nothrow_t, (size_t n, UNUSED const void *t), new_plain(n, true))
NEW(_ZnamRKSt9nothrow_t, (size_t n, UNUSED const void *t), new_plain(n, true))
NEW(_ZnwmSt11align_val_t, (size_t n, size_t a), new_aligned(n, a, false))
NEW(_ZnamSt11align_val_t, (size_t n, size_t a), new_aligned(n, a, false))
NEW(_ZnwmSt11align_val_tRKSt9nothrow_t, (size_t n, size_t a, UNUSED const void *t), new_aligned(n, a, true))
NEW(_ZnamSt11align_val_tRKSt9nothrow_t, (size_t n, size_t a, UNUSED const void *t), new_aligned(n, a, true))

DELETE(_ZdlPv, (void *p))
DELETE(_ZdaPv, (void *p))
DELETE(_ZdlPvm, (void *p, UNUSED size_t n))
DELETE(_ZdaPvm, (void *p, UNUSED size_t n))
DELETE(_ZdlPvRKSt9nothrow_t, (void *p, UNUSED const void *t))
DELETE(_ZdaPvRKSt9nothrow_t, (void *p, UNUSED const void *t))
DELETE(_ZdlPvSt11align_val_t, (void *p, UNUSED size_t a))
DELETE(_ZdaPvSt11align_val_t, (void *p, UNUSED size_t a))
DELETE(_ZdlPvmSt11align_val_t, (void *p, UNUSED size_t n, UNUSED size_t a))
DELETE(_ZdaPvmSt11align_val_t, (void *p, UNUSED size_t n, UNUSED size_t a))
DELETE(_ZdlPvSt11align_val_tRKSt9nothrow_t, (void *p, UNUSED size_t a, UNUSED const void *t))
DELETE(_ZdaPvSt11align_val_tRKSt9nothrow_t, (void *p, UNUSED size_t a, UNUSED const void *t))
