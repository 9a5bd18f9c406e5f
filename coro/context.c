/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of context.h that needs no assembler. */
#include "coro/context.h"

#include <sys/syscall.h>
#include <unistd.h>

/* Exported for what coro.h has inline. */
__thread struct context_here co_current_
    __attribute__((tls_model("initial-exec"), visibility("default"))) = {.lock_by = 2};

uint32_t context_mxcsr_base;
bool context_fp_full;

extern const char context_entry[];

void *context_make(uintptr_t top, context_entry_fn *entry, void *a, void *b)
{
    struct context_frame *f = (struct context_frame *)(top & ~(uintptr_t)15) - 1;
    *f = (struct context_frame){
        .rbx = (uintptr_t)entry, .r12 = (uintptr_t)a, .r13 = (uintptr_t)b, .pc = (uintptr_t)context_entry};
    __asm__ volatile("fnstcw %0" : "=m"(f->x87_cw)); /* inherited, as by a thread */
    if (__builtin_expect(context_fp_full, 0)) __asm__ volatile("stmxcsr %0" : "=m"(f->mxcsr));
    return f;
}

static uint32_t mxcsr_now(void)
{
    uint32_t v;
    __asm__ volatile("stmxcsr %0" : "=m"(v));
    return v & 0xffc0u;
}
static uint32_t mxcsr_of_x87(void)
{
    uint16_t w;
    __asm__ volatile("fnstcw %0" : "=m"(w));
    return (w & 0x3fu) << 7 | (w & 0xc00u) << 3;
}
void context_fp_init(void)
{
    context_mxcsr_base = mxcsr_now() ^ mxcsr_of_x87();
}
bool context_fp_strays(void)
{
    return (mxcsr_now() ^ mxcsr_of_x87()) != context_mxcsr_base;
}

bool context_probe(void)
{
    enum { SHSTK_DISABLE = 0x5002, SHSTK_STATUS = 0x5005, SHSTK_SHSTK = 1 }; /* asm/prctl.h, Linux 6.6 */
    unsigned long features = 0;
    if (syscall(SYS_arch_prctl, SHSTK_STATUS, &features) != 0 || !(features & SHSTK_SHSTK)) return true;
    return syscall(SYS_arch_prctl, SHSTK_DISABLE, SHSTK_SHSTK) == 0;
}
