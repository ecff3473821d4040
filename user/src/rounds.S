// One round: every register is loaded from `before`, something happens, every register is stored to `after`.
//
// void NAME(struct Round *round): x0 points to the round and is copied to the register BASE, which must survive what
// happens for the rest to be stored where it belongs; every other register holds what `before` says. Nothing of the stack is
// used meanwhile, so SP may hold anything. The registers that the caller expects back are kept in a place of their own, found
// relative to PC; flags, v0..v31, FPCR, FPSR and TPIDR_EL0 are left changed (soft-float Rust uses none of them).
    .arch_extension fp
    .arch_extension simd

    // x19..x30 and SP.
    .local  kept_registers
    .comm   kept_registers, 13 * 8, 8

    .macro each_v instruction, base, offset
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15
    \instruction q\n, [\base, #\offset + {V} + 16 * \n]
    .endr
    .irp n, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \instruction q\n, [\base, #\offset + {V} + 16 * \n]
    .endr
    .endm

    // x0..x29; x30 may be the base.
    .macro each_x instruction, base, offset
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29
    \instruction x\n, [\base, #\offset + {X} + 8 * \n]
    .endr
    .endm

    // All but x0..x30 to `after`; clobbers x0.
    .macro store_others base
    mov     x0, sp
    str     x0, [\base, #{AFTER} + {SP}]
    mrs     x0, nzcv
    str     x0, [\base, #{AFTER} + {NZCV}]
    mrs     x0, fpcr
    str     x0, [\base, #{AFTER} + {FPCR}]
    mrs     x0, fpsr
    str     x0, [\base, #{AFTER} + {FPSR}]
    mrs     x0, tpidr_el0
    str     x0, [\base, #{AFTER} + {TPIDR}]
    each_v  str, \base, {AFTER}
    .endm

    // Clobbers x1.
    .macro kept instruction
    adrp    x1, kept_registers
    add     x1, x1, :lo12:kept_registers
    \instruction x19, x20, [x1, #0]
    \instruction x21, x22, [x1, #16]
    \instruction x23, x24, [x1, #32]
    \instruction x25, x26, [x1, #48]
    \instruction x27, x28, [x1, #64]
    \instruction x29, x30, [x1, #80]
    .endm

    .macro round name, base, work
    .global \name
    .type   \name, %function
\name:
    kept    stp
    mov     x2, sp
    str     x2, [x1, #96]

    mov     \base, x0
    ldr     x0, [\base, #{BEFORE} + {NZCV}]
    msr     nzcv, x0
    ldr     x0, [\base, #{BEFORE} + {FPCR}]
    msr     fpcr, x0
    ldr     x0, [\base, #{BEFORE} + {FPSR}]
    msr     fpsr, x0
    ldr     x0, [\base, #{BEFORE} + {TPIDR}]
    msr     tpidr_el0, x0
    each_v  ldr, \base, {BEFORE}
    .ifnc   \base, sp
    ldr     x0, [\base, #{BEFORE} + {SP}]
    mov     sp, x0
    .endif
    each_x  ldr, \base, {BEFORE}
    .ifnc   \base, x30
    ldr     x30, [\base, #{BEFORE} + {X} + 8 * 30]
    .endif

    \work

    each_x  str, \base, {AFTER}
    str     x30, [\base, #{AFTER} + {X} + 8 * 30]
    store_others \base

    kept    ldp
    ldr     x2, [x1, #96]
    mov     sp, x2
    ret
    .size   \name, . - \name
    .endm

    // The system call that x8 and x0.. say.
    .macro  call
    svc     #0
    .endm

    // x0 rounds of a loop that changes nothing else, the flags included.
    .macro  spin
2:  sub     x0, x0, #1
    cbnz    x0, 2b
    .endm

    round   call_by_sp, sp, call
    round   call_by_x30, x30, call
    round   spin_by_sp, sp, spin
    round   spin_by_x30, x30, spin

// void look(struct Round *round): stores all but x0..x30 to `after` as they are.
    .global look
    .type   look, %function
look:
    mov     x1, x0
    store_others x1
    ret
    .size   look, . - look

    .purgem each_v
    .purgem each_x
    .purgem store_others
    .purgem kept
    .purgem round
    .purgem call
    .purgem spin
