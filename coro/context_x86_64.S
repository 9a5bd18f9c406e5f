/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch for x86-64 System V. Order of the saved frame and the meaning of the three forms: context.h.
 *
 * The unwind rules hold on both sides of the stack change, because both frames have the same shape and the CFA is relative to rsp.
 *
 * The return is a "ret", predicted by the return stack, which knows the calls of the coroutine that is being left: right where the
 * other one parked in the same function. A coroutine's first entry is a jump, for no call leads there. Tried
 * and dropped: "pop; jmp". Two loops that only switch are faster with it (2.9 ns against 9), but it leaves an entry too many on the
 * return stack, and every return after the switch is predicted wrong: 12 ns a yield.
 *
 * Measured on Zen 4: stmxcsr 8 ns (it does not overlap with anything), fnstcw 0.7 ns, the rest 2.7 ns. */
        .text

        .macro  save_registers
        pushq   %rbp
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbp, 0
        pushq   %rbx
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset rbx, 0
        pushq   %r12
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r12, 0
        pushq   %r13
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r13, 0
        pushq   %r14
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r14, 0
        pushq   %r15
        .cfi_adjust_cfa_offset 8
        .cfi_rel_offset r15, 0
        subq    $8, %rsp
        .cfi_adjust_cfa_offset 8
        .endm

        /* What the other side gets of this one: rax and rdx are a struct context_left. */
        .macro  load_registers
        movq    %rdi, %rax
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        popq    %r15
        .cfi_adjust_cfa_offset -8
        .cfi_restore r15
        popq    %r14
        .cfi_adjust_cfa_offset -8
        .cfi_restore r14
        popq    %r13
        .cfi_adjust_cfa_offset -8
        .cfi_restore r13
        popq    %r12
        .cfi_adjust_cfa_offset -8
        .cfi_restore r12
        popq    %rbx
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbx
        popq    %rbp
        .cfi_adjust_cfa_offset -8
        .cfi_restore rbp
        .endm

        .macro  load_registers_and_go
        load_registers
        ret
        .endm

        /* The rules of a whole frame again, for code that stands behind a jump. */
        .macro  frame_rules
        .cfi_def_cfa rsp, 64
        .cfi_offset rbp, -16
        .cfi_offset rbx, -24
        .cfi_offset r12, -32
        .cfi_offset r13, -40
        .cfi_offset r14, -48
        .cfi_offset r15, -56
        .endm

        /* ecx = the MXCSR that belongs to the x87 control word in the frame at rsp: exception masks and rounding
         * stand in both, the rest is as it was at the start. Changes eax. */
        .macro  derive_mxcsr
        movzwl  4(%rsp), %eax
        movl    %eax, %ecx
        andl    $0x3f, %ecx
        shll    $7, %ecx
        andl    $0xc00, %eax
        shll    $3, %eax
        orl     %eax, %ecx
        xorl    context_mxcsr_base(%rip), %ecx
        .endm

        .macro  begin name
        .globl  \name
        .hidden \name
        .type   \name, @function
        .p2align 6
\name:
        .cfi_startproc
        .endm

        .macro  end name
        .cfi_endproc
        .size   \name, . - \name
        .endm

/* struct context_left context_switch_bare(void **save, void *to, uintptr_t post, uint64_t entered) */
        begin   context_switch_bare
        save_registers
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        load_registers_and_go
        end     context_switch_bare

/* struct context_left context_switch(void **save, void *to, uintptr_t post, uint64_t entered) */
        begin   context_switch
        save_registers
        movl    $0, (%rsp)              /* MXCSR: the one that belongs to the x87 word */
        fnstcw  4(%rsp)
        movzwl  4(%rsp), %eax
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        cmpw    %ax, 4(%rsp)
        jne     2f
1:      testq   %rcx, %rcx
        jz      3f
        load_registers_and_go
        frame_rules
2:      movq    %rcx, %r8
        fldcw   4(%rsp)
        derive_mxcsr
        movl    %ecx, (%rsp)
        ldmxcsr (%rsp)
        movq    %r8, %rcx
        jmp     1b
3:      load_registers
        addq    $8, %rsp
        .cfi_adjust_cfa_offset -8
        jmp     context_entry
        end     context_switch

/* struct context_left context_switch_full(void **save, void *to, uintptr_t post, uint64_t entered) */
        begin   context_switch_full
        save_registers
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movl    (%rsp), %r9d
        movzwl  4(%rsp), %r8d
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        movl    (%rsp), %ecx
        testl   %ecx, %ecx
        jz      3f                      /* saved by context_switch(), or new */
1:      xorl    %ecx, %r9d
        andl    $0xffc0, %r9d           /* the low six bits are sticky flags, not control */
        xorw    4(%rsp), %r8w
        orl     %r8d, %r9d
        jnz     4f
2:      load_registers_and_go
        frame_rules
3:      derive_mxcsr
        movl    %ecx, (%rsp)
        jmp     1b
4:      ldmxcsr (%rsp)
        fldcw   4(%rsp)
        jmp     2b
        end     context_switch_full

/* Where a new stack begins: context_make() left entry in rbx, its arguments in r12 and r13; rax and rdx: load_registers. The undefined return address tells
 * every unwinder that this is the outermost frame. */
        .globl  context_entry
        .hidden context_entry
        .type   context_entry, @function
        .p2align 5
context_entry:
        .cfi_startproc
        .cfi_undefined rip
        .cfi_undefined rbp
        movq    %r12, %rdi
        movq    %r13, %rsi
        movq    %rax, %rcx
        callq   *%rbx
        ud2
        .cfi_endproc
        .size   context_entry, . - context_entry

        .section .note.GNU-stack, "", @progbits
