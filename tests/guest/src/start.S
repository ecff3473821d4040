// The first instructions of a small guest, and its vectors.

    .section .head.text, "ax"
    .global _start
_start:
    ldr     x1, =boot
    // Every vCPU: x0 = its argument, x1 = where it goes. Its stack by Aff0 of its MPIDR_EL1.
    .global begin
begin:
    mrs     x2, mpidr_el1
    and     x2, x2, #0xff
    add     x2, x2, #1
    ldr     x3, =stacks
    mov     x4, #{STACK_SIZE}
    madd    x3, x2, x4, x3
    mov     sp, x3
    ldr     x3, =vectors
    msr     vbar_el1, x3
    isb
    mov     x29, xzr
    mov     x30, xzr
    blr     x1
    b       .

    .global secondary
secondary:
    ldr     x1, =secondary_boot
    b       begin
    .ltorg

    .macro  slot n
    .balign 128
    sub     sp, sp, #{FRAME_SIZE}
    stp     x0, x1, [sp]
    mov     x0, #\n
    b       taken
    .endm

    .balign 2048
vectors:
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    slot    \n
    .endr

// Live: sp = the frame, x0 = the slot; x0 and x1 as interrupted are in the frame.
taken:
    stp     x2,  x3,  [sp, #16 * 1]
    stp     x4,  x5,  [sp, #16 * 2]
    stp     x6,  x7,  [sp, #16 * 3]
    stp     x8,  x9,  [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x16, x17, [sp, #16 * 8]
    stp     x18, x19, [sp, #16 * 9]
    stp     x20, x21, [sp, #16 * 10]
    stp     x22, x23, [sp, #16 * 11]
    stp     x24, x25, [sp, #16 * 12]
    stp     x26, x27, [sp, #16 * 13]
    stp     x28, x29, [sp, #16 * 14]
    mrs     x1, elr_el1
    mrs     x2, spsr_el1
    mrs     x3, esr_el1
    mrs     x4, far_el1
    stp     x30, x1, [sp, #16 * 15]
    stp     x2, x3, [sp, #16 * 16]
    stp     x4, x0, [sp, #16 * 17]
    mov     x0, sp
    bl      exception
    ldp     x30, x1, [sp, #16 * 15]
    ldr     x2, [sp, #16 * 16]
    msr     elr_el1, x1
    msr     spsr_el1, x2
    ldp     x28, x29, [sp, #16 * 14]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x18, x19, [sp, #16 * 9]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x8,  x9,  [sp, #16 * 4]
    ldp     x6,  x7,  [sp, #16 * 3]
    ldp     x4,  x5,  [sp, #16 * 2]
    ldp     x2,  x3,  [sp, #16 * 1]
    ldp     x0,  x1,  [sp], #{FRAME_SIZE}
    eret

    .section .bss.stacks, "aw", %nobits
    .balign 16
stacks:
    .skip   {STACK_SIZE} * 8
