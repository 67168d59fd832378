/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The same as stub_x86_64.S, which says what a stub is. Assembled in `make lint`; it has
 * not run on a live target yet.
 */
        .section .rodata.stub, "a", %progbits
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
        .fill   88, 1, 0

stub_run:
        stp     x29, x30, [sp, #-16]!
        bl      run_source
        ldp     x29, x30, [sp], #16
        b       unmap

stub_borrowed:
        stp     x29, x30, [sp, #-32]!
        str     x19, [sp, #16]
        adr     x0, stub_image
        ldr     x0, [x0, #GILSTATE_ENSURE]
        blr     x0
        mov     w19, w0
        bl      run_source
        adr     x1, stub_image
        ldr     x1, [x1, #GILSTATE_RELEASE]
        mov     w0, w19
        blr     x1
        ldr     x19, [sp, #16]
        ldp     x29, x30, [sp], #32

unmap:  adr     x0, stub_image
        ldr     x1, [x0, #SIZE]
        ldr     x2, [x0, #MUNMAP]
        br      x2

        /* With the GIL held and no exception set: leaves none. */
run_source:
        stp     x29, x30, [sp, #-32]!
        stp     x19, x20, [sp, #16]
        adr     x20, stub_image
        ldr     x2, [x20, #DICT_NEW]
        blr     x2
        mov     x19, x0
        cbz     x0, 3f
        adr     x0, 1f
        ldr     x2, [x20, #IMPORT_ADD_MODULE]
        blr     x2 /* borrowed */
        cbz     x0, 2f
        mov     x2, x0
        mov     x0, x19
        adr     x1, 0f
        ldr     x3, [x20, #DICT_SET_ITEM_STRING]
        blr     x3
        cbnz    w0, 2f
        ldr     x0, [x20, #SOURCE]
        mov     w1, #FILE_INPUT
        mov     x2, x19
        mov     x3, x19
        mov     x4, xzr
        ldr     x5, [x20, #RUN_STRING_FLAGS]
        blr     x5
        cbz     x0, 2f
        ldr     x1, [x20, #DEC_REF]
        blr     x1
        mov     x0, x19
        ldr     x1, [x20, #DEC_REF]
        blr     x1
        b       4f
2:      mov     x0, x19
        ldr     x1, [x20, #DEC_REF]
        blr     x1
3:      ldr     x0, [x20, #ERR_CLEAR]
        blr     x0
4:      ldp     x19, x20, [sp, #16]
        ldp     x29, x30, [sp], #32
        ret

0:      .asciz  "__builtins__"
1:      .asciz  "builtins"
        .balign 4
stub_image_end:

        .section .note.GNU-stack, "", %progbits
