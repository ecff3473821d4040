// Memory, by more than a byte at a time. Leaves without a frame.
//
// Whole pages, for the frame allocator: x0 = page, x1 = page to copy from. Clobber x1-x11 and the flags.

    .section .text.mem, "ax"

// clear_page: by DC ZVA, in blocks of the size that DCZID_EL0 says (at most 2 KiB; never forbidden at EL1).
    .global clear_page
clear_page:
    mrs     x1, dczid_el0
    and     x1, x1, #0xf                // log2 of words
    mov     x2, #4
    lsl     x1, x2, x1
    add     x2, x0, #{PAGE_SIZE}
1:  dc      zva, x0
    add     x0, x0, x1
    cmp     x0, x2
    b.lo    1b
    ret

    .global copy_page
copy_page:
    add     x2, x1, #{PAGE_SIZE}
1:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x9, [x0, #32]
    stp     x10, x11, [x0, #48]
    add     x1, x1, #64
    add     x0, x0, #64
    cmp     x1, x2
    b.lo    1b
    ret

// memcmp(x0, x1, length x2), in place of compiler_builtins' own, which goes byte by byte: the page tables' sets of entries are
// compared by it at every change. Clobbers x1-x4 and the flags.
    .global memcmp
memcmp:
1:  cmp     x2, #8
    b.lo    3f
    ldr     x3, [x0], #8
    ldr     x4, [x1], #8
    sub     x2, x2, #8
    cmp     x3, x4
    b.eq    1b
    rev     x3, x3                      // the first byte decides
    rev     x4, x4
    cmp     x3, x4
    mov     w0, #1
    cneg    w0, w0, lo
    ret
2:  sub     x2, x2, #1
3:  cbz     x2, 4f
    ldrb    w3, [x0], #1
    ldrb    w4, [x1], #1
    cmp     w3, w4
    b.eq    2b
    sub     w0, w3, w4
    ret
4:  mov     w0, wzr
    ret
