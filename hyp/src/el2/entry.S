// The vector table of EL2, the way from a slot to its handler, and the way back. Assembly saves, checks and restores; the
// handlers think.
//
// sp while a guest runs: the end of the frame, where the vCPU's StackTop lies (vcpu.rs).
//
// DAIF: the CPU masks all of it for an exception that comes to EL2. What is unmasked is said where it is; before each eret all is
// masked again.

    .section .entry.text, "ax"

// save_guest_state: what of a guest's exception state EL1 may touch, into the frame at sp. Clobbers x0..x3.
    .macro  save_guest_state
    mrs     x0, spsr_el1
    mrs     x1, spsr_fiq
    mrs     x2, spsr_irq
    mrs     x3, spsr_und
    stp     x0, x1, [sp, #{UREGS_SPSR_EL1}]
    mrs     x0, spsr_abt
    stp     x2, x3, [sp, #{UREGS_SPSR_EL1} + 16]
    mrs     x1, sp_el0
    mrs     x2, sp_el1
    mrs     x3, elr_el1
    stp     x0, x1, [sp, #{UREGS_SPSR_EL1} + 32]
    stp     x2, x3, [sp, #{UREGS_SPSR_EL1} + 48]
    .endm

// entry: the frame.
//
// Live: x0..x30 as they were interrupted; sp = where the frame ends. DAIF is fully masked. With `compat` the guest was in AArch32
// at EL0: the top halves of its registers, x0 to x14, are anything; the others it does not have, and they are as EL1 left them. With
// `moved` the SP as interrupted is in TPIDR_EL0.
// Leaves x0..x3 and x21..x23 clobbered, once they are saved: x21 = ELR, or of the hypervisor's own its SP as interrupted, x22 = SPSR,
// x23 = ESR; of a guest x29 = 0.
    .macro  entry guest, compat, moved=0
    sub     sp, sp, #{UREGS_SIZE}
    .if     \compat
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14
    mov     w\n, w\n
    .endr
    .endif
    stp     x0,  x1,  [sp, #16 * 0]
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
    mrs     x21, elr_el2
    mrs     x22, spsr_el2
    mrs     x23, esr_el2
    stp     x21, x22, [sp, #{UREGS_PC}]
    str     x23, [sp, #{UREGS_HSR}]
    .if     \guest
    str     x30, [sp, #{UREGS_LR}]
    save_guest_state
    mov     x29, xzr                    // backtraces end here
    .else
    .if     \moved
    mrs     x21, tpidr_el0
    .else
    add     x21, sp, #{UREGS_SIZE}
    .endif
    stp     x30, x21, [sp, #{UREGS_LR}]
    .endif
    .endm

// restore_registers_and_eret: x0..x30 from the frame, which is given up; eret, and nothing past it. DAIF is fully masked.
    .macro  restore_registers_and_eret
    ldr     x30, [sp, #{UREGS_LR}]
    ldp     x0,  x1,  [sp, #16 * 0]
    ldp     x2,  x3,  [sp, #16 * 1]
    ldp     x4,  x5,  [sp, #16 * 2]
    ldp     x6,  x7,  [sp, #16 * 3]
    ldp     x8,  x9,  [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x16, x17, [sp, #16 * 8]
    ldp     x18, x19, [sp, #16 * 9]
    ldp     x20, x21, [sp, #16 * 10]
    ldp     x22, x23, [sp, #16 * 11]
    ldp     x24, x25, [sp, #16 * 12]
    ldp     x26, x27, [sp, #16 * 13]
    ldp     x28, x29, [sp, #16 * 14]
    add     sp, sp, #{UREGS_SIZE}
    eret
    dsb     nsh                         // no speculation past eret
    isb
    .endm

// guest_vector: a trap from a guest. The order matters; see traps.rs.
//
// `iflags`: what is unmasked while the handler runs; until then, but for the window, DAIF is fully masked. Live as for `entry`; then
// x19 = whether an SError came in the window, x20 = the first word of StackTop, which calls keep. Without a `syndrome`, ESR_EL2 is an
// earlier trap's.
    .macro  guest_vector compat, syndrome, iflags, trap
    entry   1, \compat
    .if     \syndrome == 0
    str     xzr, [sp, #{UREGS_HSR}]
    .endif
    mov     x19, xzr
    ldr     w20, [sp, #{UREGS_SIZE}]
    tbz     w20, #0, 1f                 // StackTop.serror_window
    bl      check_pending_guest_serror
    // enter_hypervisor_from_guest_preirq: what is to be done before anything is unmasked.
1:  tbz     w20, #8, 2f                 // StackTop.ssbd_off
    mov     w0, #1
    bl      {mitigate}
2:  msr     daifclr, #\iflags
    // Mostly the List Registers hold nothing, and nobody watches (StackTop.watched).
    mrs     x0, tpidr_el2
    ldr     w0, [x0, #{CPU_LRS_USED}]
    orr     w0, w0, w20, lsr #24
    cbz     w0, 3f
    mov     x0, sp
    bl      enter_hypervisor_from_guest
    // The SError came first, and the guest takes it first; then it comes back to what brought us here.
3:  cbnz    x19, return_to_guest
    mov     x0, sp
    bl      \trap
    b       return_to_guest
    .endm

// hyp_vector: a trap from the hypervisor itself. `inherit`: what was unmasked is again (1), but for IRQs (2), or nothing is (0).
    .macro  hyp_vector inherit, trap, moved=0
    entry   0, 0, \moved
    .if     \inherit
    and     x0, x22, #0x3c0             // SPSR_EL2.DAIF
    .if     \inherit == 2
    orr     x0, x0, #0x80
    .endif
    msr     daif, x0
    .endif
    mov     x0, sp
    bl      \trap
    b       return_to_hypervisor
    .endm

    .macro  ventry label
    .balign 128
    b       \label
    .endm

// invalid: a slot that nothing may use. All stays masked.
    .macro  invalid label, slot, guest
\label:
    entry   \guest, 0
    mov     x0, sp
    mov     x1, #\slot
    bl      do_bad_mode
    .endm

    .balign 2048
    .global hyp_traps_vector
hyp_traps_vector:
    ventry  hyp_t_sync
    ventry  hyp_t_irq
    ventry  hyp_t_fiq
    ventry  hyp_t_error

    ventry  hyp_sync
    ventry  hyp_irq
    ventry  hyp_fiq
    ventry  hyp_error

    ventry  guest_sync
    ventry  guest_irq
    ventry  guest_fiq
    ventry  guest_error

    ventry  guest_sync_compat
    ventry  guest_irq_compat
    ventry  guest_fiq_compat
    ventry  guest_error_compat

    invalid hyp_t_sync, 0, 0
    invalid hyp_t_irq, 1, 0
    invalid hyp_t_fiq, 2, 0
    invalid hyp_t_error, 3, 0
    invalid hyp_fiq, 6, 0
    invalid guest_fiq, 10, 1
    invalid guest_fiq_compat, 14, 1

// Nothing of the hypervisor's own is resumed, and it may be the stack that was at fault, overrun or not even aligned: this goes to
// another one. The scratch registers are the guest's, which does not come back either.
hyp_sync:
    msr     tpidrro_el0, x0
    mov     x0, sp
    msr     tpidr_el0, x0
    mrs     x0, tpidr_el2
    ldr     x0, [x0, #{CPU_REPORT_STACK}]
    mov     sp, x0
    mrs     x0, tpidrro_el0
    hyp_vector 1, do_trap_hyp_sync, moved=1
hyp_irq:
    hyp_vector 2, do_trap_irq
hyp_error:
    hyp_vector 0, do_trap_hyp_serror

// HVC #0 with ARCH_WORKAROUND_1, 2 or 3 in w0 (SMCCC, DEN0028) is answered here: having come to EL2 and back is what 1 and 3 ask
// for, and 2, where speculative store bypass needs no mitigation, for nothing. No result; x0 and x1, used here, are cleared. The two
// are saved below sp, where the frame will have them. DAIF is fully masked.
guest_sync:
    stp     x0, x1, [sp, #-16]
    mrs     x0, esr_el2
    mov     w1, #{HVC_0}
    cmp     x0, x1
    b.ne    guest_sync_slow
    ldur    w0, [sp, #-16]
    eor     w0, w0, #{WORKAROUND_1}
    cbz     w0, guest_sync_answered
    eor     w0, w0, #{WORKAROUND_1_2}
    cbz     w0, arch_workaround_2
    eor     w0, w0, #{WORKAROUND_2_3}
    cbnz    w0, guest_sync_slow
guest_sync_answered:
    mov     x0, xzr
    mov     x1, xzr
    eret
    dsb     nsh
    isb
arch_workaround_2:
    ldrb    w1, [sp, #{TOP_SSBD_DYNAMIC}]
    cbz     w1, guest_sync_answered
guest_sync_slow:
    ldp     x0, x1, [sp, #-16]
    guest_vector 0, 1, 0b0110, do_trap_guest_sync

guest_irq:
    guest_vector 0, 0, 0b0100, do_trap_irq
guest_error:
    guest_vector 0, 1, 0b0110, do_trap_guest_serror
guest_sync_compat:
    guest_vector 1, 1, 0b0110, do_trap_guest_sync
guest_irq_compat:
    guest_vector 1, 0, 0b0100, do_trap_irq
guest_error_compat:
    guest_vector 1, 1, 0b0110, do_trap_guest_serror

// check_pending_guest_serror: an SError that the guest left pending is taken at the one instruction between the two labels, where
// hyp_error finds it to be the guest's and sets x19 in its frame. DAIF is fully masked but in the window. Keeps all registers.
check_pending_guest_serror:
    dsb     sy                          // it is pending now, or was not the guest's
    isb
    msr     daifclr, #4
    .global abort_guest_exit_start
abort_guest_exit_start:
    .if     {MADE_UP}
    b       made_up_window              // in tests' hypervisor; clobbers what a call may
    .else
    isb
    .endif
    .global abort_guest_exit_end
abort_guest_exit_end:
    msr     daifset, #4
    ret

// A new vCPU comes here from the switch to its stack: sp = its frame, IRQs masked.
    .global return_to_new_vcpu
return_to_new_vcpu:
    bl      finish_switch
return_to_guest:
    msr     daifset, #2
    // Mostly there is no work to be done, and nobody watches.
    mrs     x0, tpidr_el2
    ldr     w0, [x0, #{CPU_SOFTIRQS}]
    ldr     w20, [sp, #{UREGS_SIZE}]    // anew: ssbd_off may be another
    orr     w0, w0, w20, lsr #24
    cbz     w0, 1f
    mov     x0, sp
    bl      leave_hypervisor_to_guest
1:  dsb     sy                          // an SError that is pending is taken here, by the hypervisor
    isb
    // Nothing of the hypervisor's is to be done any more but to restore: the mitigation is as the guest wants it.
    tbz     w20, #8, return_from_trap   // StackTop.ssbd_off
    mov     w0, wzr
    bl      {mitigate}

// From here to eret DAIF is fully masked: a trap in between would overwrite ELR and SPSR.
    .global return_from_trap
return_from_trap:
    msr     daifset, #0xf
    ldp     x0, x1, [sp, #{UREGS_SPSR_EL1}]
    ldp     x2, x3, [sp, #{UREGS_SPSR_EL1} + 16]
    ldp     x4, x5, [sp, #{UREGS_SPSR_EL1} + 32]
    ldp     x6, x7, [sp, #{UREGS_SPSR_EL1} + 48]
    ldp     x21, x22, [sp, #{UREGS_PC}]
    msr     spsr_el1, x0
    msr     spsr_fiq, x1
    msr     spsr_irq, x2
    msr     spsr_und, x3
    msr     spsr_abt, x4
    msr     sp_el0, x5
    msr     sp_el1, x6
    msr     elr_el1, x7
    msr     elr_el2, x21
    msr     spsr_el2, x22
    restore_registers_and_eret

// As return_from_trap, to the hypervisor itself.
return_to_hypervisor:
    msr     daifset, #0xf
    ldp     x21, x22, [sp, #{UREGS_PC}]
    msr     elr_el2, x21
    msr     spsr_el2, x22
    restore_registers_and_eret

// switch_stacks(from, to): saves what the calling convention has a function keep, and the stack pointer to *from; goes on where
// another left off. IRQs are masked.
    .section .text.switch_stacks, "ax"
    .global switch_stacks
switch_stacks:
    stp     x19, x20, [sp, #-{SWITCH_FRAME}]!
    stp     x21, x22, [sp, #16 * 1]
    stp     x23, x24, [sp, #16 * 2]
    stp     x25, x26, [sp, #16 * 3]
    stp     x27, x28, [sp, #16 * 4]
    stp     x29, x30, [sp, #16 * 5]
    mov     x2, sp
    str     x2, [x0]
    mov     sp, x1
    ldp     x21, x22, [sp, #16 * 1]
    ldp     x23, x24, [sp, #16 * 2]
    ldp     x25, x26, [sp, #16 * 3]
    ldp     x27, x28, [sp, #16 * 4]
    ldp     x29, x30, [sp, #16 * 5]
    ldp     x19, x20, [sp], #{SWITCH_FRAME}
    ret
