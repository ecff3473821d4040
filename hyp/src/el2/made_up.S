// For tests alone: an SError that interrupts the hypervisor in check_pending_guest_serror's window, which QEMU never raises.
//
// made_up_window: instead of the instruction in the window. Live: x19, x20, x30, as there. SErrors are unmasked.
    .section .entry.text, "ax"
made_up_window:
    stp     x30, xzr, [sp, #-16]!
    bl      {made_up_serror}
    ldp     x30, xzr, [sp], #16
    cbz     x0, abort_guest_exit_end
    cmp     x0, #1
    b.eq    made_up_guest_error
    // x0 = what it interrupts. As the CPU takes it: PSTATE and PC saved, DAIF masked, the slot of EL2h.
    mrs     x1, daif
    mov     x2, #0b1001                 // EL2h
    orr     x1, x1, x2
    msr     elr_el2, x0
    msr     spsr_el2, x1
    mov     x1, #{ESR_SERROR}
    msr     esr_el2, x1
    msr     daifset, #0xf
    b       hyp_traps_vector + 7 * 128

// made_up_guest_error: an SError that interrupts the guest: all as the trap found it, ELR and SPSR are so still, but for the syndrome.
// Live: sp = the frame.
made_up_guest_error:
    mov     x1, #{ESR_SERROR}
    msr     esr_el2, x1
    msr     daifset, #0xf
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    ldr     x\n, [sp, #8 * \n]
    .endr
    add     sp, sp, #{UREGS_SIZE}
    b       hyp_traps_vector + 11 * 128
