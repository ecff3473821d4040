// Instructions that may do anything, and the way back from whatever they did.

    .section .text.attempt, "ax"

// attempt_enter(x, entry, spsr, saved): goes to `entry` in the state `spsr` with x0 to x30 from the array. What the calling
// convention has a function keep is in `saved`; attempt_return(saved), to which the exception that follows returns, gives it back.
    .global attempt_enter
attempt_enter:
    stp     x19, x20, [x3, #16 * 0]
    stp     x21, x22, [x3, #16 * 1]
    stp     x23, x24, [x3, #16 * 2]
    stp     x25, x26, [x3, #16 * 3]
    stp     x27, x28, [x3, #16 * 4]
    stp     x29, x30, [x3, #16 * 5]
    mov     x4, sp
    str     x4, [x3, #16 * 6]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    mov     x30, x0
    ldp     x0,  x1,  [x30, #16 * 0]
    ldp     x2,  x3,  [x30, #16 * 1]
    ldp     x4,  x5,  [x30, #16 * 2]
    ldp     x6,  x7,  [x30, #16 * 3]
    ldp     x8,  x9,  [x30, #16 * 4]
    ldp     x10, x11, [x30, #16 * 5]
    ldp     x12, x13, [x30, #16 * 6]
    ldp     x14, x15, [x30, #16 * 7]
    ldp     x16, x17, [x30, #16 * 8]
    ldp     x18, x19, [x30, #16 * 9]
    ldp     x20, x21, [x30, #16 * 10]
    ldp     x22, x23, [x30, #16 * 11]
    ldp     x24, x25, [x30, #16 * 12]
    ldp     x26, x27, [x30, #16 * 13]
    ldp     x28, x29, [x30, #16 * 14]
    ldr     x30, [x30, #16 * 15]
    eret

    .global attempt_return
attempt_return:
    ldp     x19, x20, [x0, #16 * 0]
    ldp     x21, x22, [x0, #16 * 1]
    ldp     x23, x24, [x0, #16 * 2]
    ldp     x25, x26, [x0, #16 * 3]
    ldp     x27, x28, [x0, #16 * 4]
    ldp     x29, x30, [x0, #16 * 5]
    ldr     x4, [x0, #16 * 6]
    mov     sp, x4
    ret
