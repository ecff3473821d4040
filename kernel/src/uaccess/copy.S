// Copies between the kernel and user memory. The loads and stores on the user side are LDTR and STTR, which the CPU checks
// with EL0's rights even at EL1, and each stands in the exception table: a fault that mm::fault cannot serve continues at
// its fixup. Words first; a fault among them goes on byte by byte, so that what is copied ends exactly at the bad byte.
//
// x0 = destination, x1 = source, x2 = length. Returns in x0 how many bytes were not copied. Clobbers x1-x4 and the flags;
// a leaf without a frame. IRQs may be unmasked.

    .macro  fixup instruction, to
    .pushsection .ex_table, "a"
    .long   \instruction - ., \to - .
    .popsection
    .endm

    // One copy loop, with the instructions for words and bytes, and the labels of those on the user side.
    .macro  user_copy name, load8, store8, load1, store1, user8, user1
    .global \name
\name:
1:  cmp     x2, #8
    b.lo    3f
2:  \load8  x3, [x1]
4:  \store8 x3, [x0]
    add     x1, x1, #8
    add     x0, x0, #8
    sub     x2, x2, #8
    b       1b
3:  cbz     x2, 7f
5:  \load1  w3, [x1]
6:  \store1 w3, [x0]
    add     x1, x1, #1
    add     x0, x0, #1
    sub     x2, x2, #1
    b       3b
7:  mov     x0, x2
    ret
    fixup   \user8, 3b
    fixup   \user1, 7b
    .endm

    .section .text.uaccess, "ax"
    user_copy raw_copy_from_user, ldtr, str, ldtrb, strb, 2b, 5b
    user_copy raw_copy_to_user, ldr, sttr, ldrb, sttrb, 4b, 6b
