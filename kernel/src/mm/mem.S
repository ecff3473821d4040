// Memory, by more than a byte at a time. Leaves without a frame.
//
// Whole pages, for the frame allocator: x0 = page, x1 = page to copy from. Clobber x1-x17 and the flags.

    .section .text.mem, "ax"

// clear_page: by DC ZVA, in blocks of the size that DCZID_EL0 says (at most 2 KiB; never forbidden at EL1).
    .global clear_page
clear_page:
    mrs     x1, dczid_el0
    and     x1, x1, #0xf                // log2 of words
    mov     x2, #4
    lsl     x1, x2, x1
    add     x2, x0, #{PAGE_SIZE} / 4    // a quarter at a time, or two at once where a block is as large
    add     x3, x2, #{PAGE_SIZE} / 4
    add     x4, x3, #{PAGE_SIZE} / 4
    mov     x5, x2
1:  dc      zva, x0
    dc      zva, x2
    dc      zva, x3
    dc      zva, x4
    add     x0, x0, x1
    add     x2, x2, x1
    add     x3, x3, x1
    add     x4, x4, x1
    cmp     x0, x5
    b.lo    1b
    ret

    .global copy_page
copy_page:
    add     x2, x1, #{PAGE_SIZE}
1:  ldp     x4, x5, [x1]
    ldp     x6, x7, [x1, #16]
    ldp     x8, x9, [x1, #32]
    ldp     x10, x11, [x1, #48]
    ldp     x12, x13, [x1, #64]
    ldp     x14, x15, [x1, #80]
    ldp     x16, x17, [x1, #96]
    stp     x4, x5, [x0]
    stp     x6, x7, [x0, #16]
    stp     x8, x9, [x0, #32]
    stp     x10, x11, [x0, #48]
    ldp     x4, x5, [x1, #112]
    stp     x12, x13, [x0, #64]
    stp     x14, x15, [x0, #80]
    stp     x16, x17, [x0, #96]
    stp     x4, x5, [x0, #112]
    add     x1, x1, #128
    add     x0, x0, #128
    cmp     x1, x2
    b.lo    1b
    ret

// memcpy(x0, x1, length x2) and memset(x0, byte w1, length x2), in place of compiler_builtins' own, which go word by word: a task
// is some words. x0 stays. Clobber x1-x7 and the flags.
    .global memcpy
memcpy:
    mov     x3, x0
    subs    x2, x2, #32
    b.lo    2f
1:  ldp     x4, x5, [x1], #32
    ldp     x6, x7, [x1, #-16]
    stp     x4, x5, [x3], #32
    stp     x6, x7, [x3, #-16]
    subs    x2, x2, #32
    b.hs    1b
2:  tbz     x2, #4, 3f                  // the low bits are still those of the rest
    ldp     x4, x5, [x1], #16
    stp     x4, x5, [x3], #16
3:  tbz     x2, #3, 4f
    ldr     x4, [x1], #8
    str     x4, [x3], #8
4:  tbz     x2, #2, 5f
    ldr     w4, [x1], #4
    str     w4, [x3], #4
5:  tbz     x2, #1, 6f
    ldrh    w4, [x1], #2
    strh    w4, [x3], #2
6:  tbz     x2, #0, 7f
    ldrb    w4, [x1]
    strb    w4, [x3]
7:  ret

    .global memset
memset:
    mov     x4, #0x0101010101010101
    and     x1, x1, #0xff
    mul     x1, x1, x4
    mov     x3, x0
    subs    x2, x2, #32
    b.lo    2f
1:  stp     x1, x1, [x3], #32
    stp     x1, x1, [x3, #-16]
    subs    x2, x2, #32
    b.hs    1b
2:  tbz     x2, #4, 3f
    stp     x1, x1, [x3], #16
3:  tbz     x2, #3, 4f
    str     x1, [x3], #8
4:  tbz     x2, #2, 5f
    str     w1, [x3], #4
5:  tbz     x2, #1, 6f
    strh    w1, [x3], #2
6:  tbz     x2, #0, 7f
    strb    w1, [x3]
7:  ret

// memcmp(x0, x1, length x2), in place of compiler_builtins' own, which goes byte by byte: booting compares sets of page table entries.
// Clobbers x1-x4 and the flags.
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
