// States for the exception path that C or Rust cannot make.

// Loads x0..x\last from the array at x0.
    .macro  load_pattern last
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    .if \n <= \last
    ldr     x\n, [x0, #8 * \n]
    .endif
    .endr
    ldr     x0, [x0]
    .endm

    .section .text.ktest, "ax"

// ktest_recurse(pattern, sp): calls itself on the stack at sp until that is full, x0..x28 being the pattern.
    .global ktest_recurse
ktest_recurse:
    mov     sp, x1
    load_pattern 28
1:  stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    bl      1b

// ktest_wild(pattern, sp): an undefined instruction with SP = sp, x0..x30 being the pattern.
    .global ktest_wild
ktest_wild:
    mov     sp, x1
    load_pattern 30
    .global ktest_wild_pc
ktest_wild_pc:
    udf     #0

// ktest_slot_N(pattern, sp): into slot N of the vector table as the CPU would go there, x0..x30 being the pattern, on the
// stack at sp. The caller has written ELR, SPSR, ESR and FAR, and DAIF is masked.
    .macro  slot number
    .balign 16
    .global ktest_slot_\number
ktest_slot_\number:
    mov     sp, x1
    load_pattern 30
    b       vectors + 128 * \number
    .endm
    .irp    number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    slot    \number
    .endr
    .balign 16
    .global ktest_slots
ktest_slots:
    .irp    number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    .quad   ktest_slot_\number
    .endr

// ktest_store_and_brk: where an exception that came back goes on: stores x0..x30 to ktest_registers, then tells the test by
// BRK. Clobbers TPIDR_EL0.
    .global ktest_returned
ktest_returned:
    msr     tpidr_el0, x0
    ldr     x0, =ktest_registers
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    str     x\n, [x0, #8 * \n]
    .endr
    mrs     x1, tpidr_el0
    str     x1, [x0]
    brk     #{RETURNED}
    .ltorg
