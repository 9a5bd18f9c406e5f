/* SPDX-License-Identifier: Apache-2.0
 *
 * The switch for x86-64 System V. Order of the saved frame: context.h.
 *
 * The return is "pop; jmp" and not "ret": the return-stack predictor knows the calls of the coroutine that is being left and
 * would be wrong each time (9 ns against 3). The unwind rules hold on both sides of the stack change, because both frames have
 * the same shape and the CFA is relative to rsp. */
        .text

/* void context_switch(void **save, void *to) */
        .globl  context_switch
        .hidden context_switch
        .type   context_switch, @function
        .p2align 5
context_switch:
        .cfi_startproc
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
        stmxcsr (%rsp)
        fnstcw  4(%rsp)
        movl    (%rsp), %eax
        movzwl  4(%rsp), %ecx
        movq    %rsp, (%rdi)
        movq    %rsi, %rsp
        xorl    (%rsp), %eax
        andl    $0xffc0, %eax           /* the low six bits are sticky flags, not control */
        xorw    4(%rsp), %cx
        orl     %ecx, %eax
        jnz     2f
1:      addq    $8, %rsp
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
        popq    %rcx
        .cfi_adjust_cfa_offset -8
        .cfi_register rip, rcx
        jmp     *%rcx
        /* the control words differ */
        .cfi_restore rip
        .cfi_def_cfa rsp, 64
        .cfi_offset rbp, -16
        .cfi_offset rbx, -24
        .cfi_offset r12, -32
        .cfi_offset r13, -40
        .cfi_offset r14, -48
        .cfi_offset r15, -56
2:      ldmxcsr (%rsp)
        fldcw   4(%rsp)
        jmp     1b
        .cfi_endproc
        .size   context_switch, . - context_switch

/* Where a new stack begins: context_make() left entry in rbx, its arguments in r12 and r13. The undefined return address tells
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
        callq   *%rbx
        ud2
        .cfi_endproc
        .size   context_entry, . - context_entry

        .section .note.GNU-stack, "", @progbits
