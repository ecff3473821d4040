// An interrupt at every instruction around something that traps, and every register looked at behind it.

    .arch_extension fp
    .arch_extension simd

// sweep_arm(ticks): the virtual timer's interrupt is due when the counter has gone on by so many ticks since sweep_armed. Clobbers x1.
    .global sweep_arm
sweep_arm:
    isb
    mrs     x1, cntvct_el0
    .global sweep_armed
sweep_armed:
    add     x0, x0, x1
    msr     cntv_cval_el0, x0
    mov     x1, #1                      // ENABLE
    msr     cntv_ctl_el0, x1
    isb
    ret

// sweep_disarm: no interrupt is due any more.
    .global sweep_disarm
sweep_disarm:
    msr     cntv_ctl_el0, xzr
    isb
    ret

    .macro each_x instruction, base, offset
    .irp n, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30
    \instruction x\n, [\base, #\offset + 8 * \n]
    .endr
    .endm

    .macro each_v instruction, base
    .irp n, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28, 29, 30, 31
    \instruction q\n, [\base, #16 * \n]
    .endr
    .endm

// sweep_NAME(before, after): x0..x30, NZCV, SP and v0..v31 from `before` but for SP, something that traps, all of them to `after`. The
// registers that the caller expects back are on the stack; TPIDR_EL1 is clobbered.
    .macro round name, work:vararg
    .global \name
\name:
    stp     x19, x20, [sp, #-112]!
    stp     x21, x22, [sp, #16]
    stp     x23, x24, [sp, #32]
    stp     x25, x26, [sp, #48]
    stp     x27, x28, [sp, #64]
    stp     x29, x30, [sp, #80]
    str     x1, [sp, #96]
    mov     x2, sp
    str     x2, [x0, #{SP}]
    add     x2, x0, #{V}
    each_v  ldr, x2
    ldr     x2, [x0, #{NZCV}]
    msr     nzcv, x2
    each_x  ldr, x0, 0
    ldr     x0, [x0]
    \work
    msr     tpidr_el1, x0
    ldr     x0, [sp, #96]
    each_x  str, x0, 0
    mrs     x1, tpidr_el1
    str     x1, [x0]
    mrs     x1, nzcv
    str     x1, [x0, #{NZCV}]
    mov     x1, sp
    str     x1, [x0, #{SP}]
    add     x1, x0, #{V}
    each_v  str, x1
    ldp     x29, x30, [sp, #80]
    ldp     x27, x28, [sp, #64]
    ldp     x25, x26, [sp, #48]
    ldp     x23, x24, [sp, #32]
    ldp     x21, x22, [sp, #16]
    ldp     x19, x20, [sp], #112
    ret
    .endm

    round   sweep_hvc, hvc #1
    round   sweep_read, ldr w0, [x10]
    round   sweep_register, mrs x0, id_aa64pfr0_el1
    round   sweep_write, str w12, [x10]
    round   sweep_sgi_v3, msr icc_sgi1r_el1, x12

    .purgem each_x
    .purgem each_v
    .purgem round
