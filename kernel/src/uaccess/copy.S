// Copies between the kernel and user memory. The loads and stores on the user side are LDTR and STTR, which the CPU checks
// with EL0's rights even at EL1, and each stands in the exception table: a fault that the task's memory cannot serve continues
// at its fixup. Words first; a fault among them goes on byte by byte, so that what is copied ends exactly at the bad byte.
//
// Each routine opens the window to user memory once and closes it once; an exception in between closes it, and the return from that
// opens it again (entry.S).
//
// x0 = destination, x1 = source (clear: none), x2 = length. Returns in x0 how many bytes were not done. Clobbers x1-x4 and the
// flags. IRQs may be unmasked.

    .macro  extable instruction, to, kind
    .pushsection .ex_table, "a"
    .long   \instruction - ., \to - ., \kind
    .popsection
    .endm

    .macro  open_window
    stp     x29, x30, [sp, #-16]!       // for backtraces of what interrupts this
    mov     x29, sp
    without_pan
    window_open x4
    isb
    end_without_pan
    .endm

    .macro  close_window
    without_pan
    window_close x4
    isb
    end_without_pan
    ldp     x29, x30, [sp], #16
    .endm

    // One loop, with the instructions for words and bytes, and the labels of those on the user side. Without loads it clears.
    .macro  user_copy name, load8, store8, load1, store1, user8, user1
    .global \name
\name:
    open_window
    .ifb    \load8
    mov     x3, xzr
    .endif
1:  cmp     x2, #8
    b.lo    3f
2:  .ifnb   \load8
    \load8  x3, [x1]
    .endif
4:  \store8 x3, [x0]
    add     x1, x1, #8
    add     x0, x0, #8
    sub     x2, x2, #8
    b       1b
3:  cbz     x2, 7f
5:  .ifnb   \load1
    \load1  w3, [x1]
    .endif
6:  \store1 w3, [x0]
    add     x1, x1, #1
    add     x0, x0, #1
    sub     x2, x2, #1
    b       3b
7:  close_window
    mov     x0, x2
    ret
    extable \user8, 3b, {USER}
    extable \user1, 7b, {USER}
    .endm

    .section .text.uaccess, "ax"
    user_copy raw_copy_from_user, ldtr, str, ldtrb, strb, 2b, 5b
    user_copy raw_copy_to_user, ldr, sttr, ldrb, sttrb, 4b, 6b
    user_copy raw_clear_user, , sttr, , sttrb, 4b, 6b

// raw_peek(address): the word at any address of the kernel, for reports. Returns it in x0, and in x1 whether it could be read.
    .global raw_peek
raw_peek:
1:  ldr     x0, [x0]
    mov     x1, #1
    ret
2:  mov     x1, xzr
    ret
    extable 1b, 2b, {KERNEL}
