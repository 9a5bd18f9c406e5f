/* SPDX-License-Identifier: Apache-2.0
 *
 * The part of context.h that needs no assembler. */
#include "coro/context.h"

#include <sys/syscall.h>
#include <unistd.h>

__thread struct g *coro_self __attribute__((tls_model("initial-exec"), visibility("hidden")));

extern const char context_entry[];

void *context_make(uintptr_t top, void (*entry)(void *, void *), void *a, void *b)
{
    struct context_frame *f = (struct context_frame *)(top & ~(uintptr_t)15) - 1;
    *f = (struct context_frame){
        .rbx = (uintptr_t)entry, .r12 = (uintptr_t)a, .r13 = (uintptr_t)b, .pc = (uintptr_t)context_entry};
    __asm__ volatile("stmxcsr %0\n\tfnstcw %1" : "=m"(f->mxcsr), "=m"(f->x87_cw)); /* inherited, as by a thread */
    return f;
}

bool context_probe(void)
{
    enum { SHSTK_DISABLE = 0x5002, SHSTK_STATUS = 0x5005, SHSTK_SHSTK = 1 }; /* asm/prctl.h, Linux 6.6 */
    unsigned long features = 0;
    if (syscall(SYS_arch_prctl, SHSTK_STATUS, &features) != 0 || !(features & SHSTK_SHSTK)) return true;
    return syscall(SYS_arch_prctl, SHSTK_DISABLE, SHSTK_SHSTK) == 0;
}
