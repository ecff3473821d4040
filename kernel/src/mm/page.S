// Whole pages, for the frame allocator. x0 = page, x1 = page to copy from. Leaves; clobber x1-x11 and the flags.

    .section .text.page, "ax"

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
