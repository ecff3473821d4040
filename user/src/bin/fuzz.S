// Registers in, something, registers out. Both clobber TPIDR_EL0, which soft-float Rust has no use for.
//
// struct Registers: x0..x30, SP, NZCV

    // The caller's x19..x30 and SP, and where the registers go.
    .local  kept
    .comm   kept, 14 * 8, 8

    // x0: the registers. Keeps what the caller expects back, and loads all.
    .macro  load_all
    adrp    x1, kept
    add     x1, x1, :lo12:kept
    stp     x19, x20, [x1, #0]
    stp     x21, x22, [x1, #16]
    stp     x23, x24, [x1, #32]
    stp     x25, x26, [x1, #48]
    stp     x27, x28, [x1, #64]
    stp     x29, x30, [x1, #80]
    mov     x2, sp
    stp     x2, x0, [x1, #96]
    ldr     x1, [x0, #8 * 31]
    mov     sp, x1
    ldr     x1, [x0, #8 * 32]
    msr     nzcv, x1
    .irp n, 2, 4, 6, 8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28
    ldr     x\n, [x0, #8 * \n]
    .endr
    .irp n, 1, 3, 5, 7, 9, 11, 13, 15, 17, 19, 21, 23, 25, 27, 29, 30, 0
    ldr     x\n, [x0, #8 * \n]
    .endr
    .endm

// void fuzz_call(struct Registers *): one system call. SP may be anything before and after: what is needed is found by PC.
    .global fuzz_call
    .type   fuzz_call, %function
fuzz_call:
    load_all
    svc     #0
    msr     tpidr_el0, x30
    adrp    x30, kept
    ldr     x30, [x30, #:lo12:kept + 104]
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
    str     x\n, [x30, #8 * \n]
    .endr
    mrs     x0, tpidr_el0
    mov     x1, sp
    mrs     x2, nzcv
    stp     x0, x1, [x30, #8 * 30]
    str     x2, [x30, #8 * 32]

// Where the instructions of a case go on to: returns from whichever of the two was called last.
    .global fuzz_back
fuzz_back:
    adrp    x1, kept
    add     x1, x1, :lo12:kept
    ldp     x19, x20, [x1, #0]
    ldp     x21, x22, [x1, #16]
    ldp     x23, x24, [x1, #32]
    ldp     x25, x26, [x1, #48]
    ldp     x27, x28, [x1, #64]
    ldp     x29, x30, [x1, #80]
    ldr     x2, [x1, #96]
    mov     sp, x2
    ret
    .size   fuzz_call, . - fuzz_call

// void fuzz_go(struct Registers *): goes on at x30, with all registers loaded.
    .global fuzz_go
    .type   fuzz_go, %function
fuzz_go:
    load_all
    br      x30
    .size   fuzz_go, . - fuzz_go

    .purgem load_all
