// The EL1 physical timer, which the kernel leaves to EL0 when it was booted with `sweep`.

// void sweep_arm(ticks, wishes): an interrupt is due when the counter has gone on by so many ticks since sweep_armed. TPIDR_EL0 = the
// wishes. Clobbers x0, x1.
    .global sweep_arm
    .type   sweep_arm, %function
sweep_arm:
    msr     tpidr_el0, x1
    isb
    mrs     x1, cntvct_el0
    .global sweep_armed
sweep_armed:
    add     x0, x0, x1
    msr     cntp_cval_el0, x0
    mov     x1, #1                      // ENABLE
    msr     cntp_ctl_el0, x1
    isb
    ret
    .size   sweep_arm, . - sweep_arm

// uint64_t sweep_disarm(void): no interrupt is due any more; what the last one's handler left in TPIDRRO_EL0, or 0 when there was
// none since sweep_arm. Clobbers x0..x2.
    .global sweep_disarm
    .type   sweep_disarm, %function
sweep_disarm:
    mrs     x1, cntp_ctl_el0
    mrs     x0, tpidrro_el0             // not before: an interrupt may come between
    mov     x2, #2                      // IMASK, which tells the next caller: the handler writes 0
    tst     x1, #3                      // ENABLE or IMASK
    csel    x0, x0, xzr, eq
    csel    x1, xzr, x2, eq
    msr     cntp_ctl_el0, x1
    isb
    ret
    .size   sweep_disarm, . - sweep_disarm
