/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What the target maps for one request by the pending-call queue: a header that we
 * fill in (struct stub_header in stub.h), this code, and behind it the agent's
 * source, ended by NUL. The target may read and execute it, not write it.
 *
 * A stub has two entries:
 *   stub_run   int (*)(void *), called by CPython at its safe point with the GIL held.
 *              Runs the source in a fresh dictionary. Then
 *              jumps to munmap(image, size) with its own caller's return address on
 *              the stack: the mapping is gone, and the 0 of munmap() is the
 *              result that a pending call must have.
 *   stub_borrowed
 *              run by a thread that is blocked in a system call with the GIL released:
 *              takes the GIL, does the same, gives the GIL back, and returns into the
 *              sigreturn trampoline by way of munmap().
 */
        .section .rodata.stub, "a", @progbits
        .globl  stub_image, stub_image_end, stub_run, stub_borrowed
        .hidden stub_image, stub_image_end, stub_run, stub_borrowed
        .balign 64

        .set SIZE, 0
        .set SOURCE, 8
        .set DICT_NEW, 16
        .set IMPORT_ADD_MODULE, 24
        .set DICT_SET_ITEM_STRING, 32
        .set RUN_STRING_FLAGS, 40
        .set DEC_REF, 48
        .set ERR_CLEAR, 56
        .set MUNMAP, 64
        .set GILSTATE_ENSURE, 72
        .set GILSTATE_RELEASE, 80
        .set FILE_INPUT, 257

stub_image:
        .fill 88, 1, 0

stub_run:
        sub     $8, %rsp
        call    run_source
        add     $8, %rsp
        jmp     unmap

stub_borrowed:
        push    %rbx
        call    *stub_image+GILSTATE_ENSURE(%rip)
        mov     %eax, %ebx
        call    run_source
        mov     %ebx, %edi
        call    *stub_image+GILSTATE_RELEASE(%rip)
        pop     %rbx

unmap:  lea     stub_image(%rip), %rdi
        mov     stub_image+SIZE(%rip), %rsi
        mov     stub_image+MUNMAP(%rip), %rax
        jmp     *%rax

        /* With the GIL held and no exception set: leaves none. */
run_source:
        push    %rbx
        call    *stub_image+DICT_NEW(%rip)
        mov     %rax, %rbx
        test    %rax, %rax
        jz      3f
        lea     1f(%rip), %rdi
        call    *stub_image+IMPORT_ADD_MODULE(%rip) /* borrowed */
        test    %rax, %rax
        jz      2f
        mov     %rbx, %rdi
        lea     0f(%rip), %rsi
        mov     %rax, %rdx
        call    *stub_image+DICT_SET_ITEM_STRING(%rip)
        test    %eax, %eax
        jnz     2f
        mov     stub_image+SOURCE(%rip), %rdi
        mov     $FILE_INPUT, %esi
        mov     %rbx, %rdx
        mov     %rbx, %rcx
        xor     %r8d, %r8d
        call    *stub_image+RUN_STRING_FLAGS(%rip)
        test    %rax, %rax
        jz      2f
        mov     %rax, %rdi
        call    *stub_image+DEC_REF(%rip)
        mov     %rbx, %rdi
        call    *stub_image+DEC_REF(%rip)
        jmp     4f
2:      mov     %rbx, %rdi
        call    *stub_image+DEC_REF(%rip)
3:      call    *stub_image+ERR_CLEAR(%rip)
4:      pop     %rbx
        ret

0:      .asciz  "__builtins__"
1:      .asciz  "builtins"
stub_image_end:

        .section .note.GNU-stack, "", @progbits
