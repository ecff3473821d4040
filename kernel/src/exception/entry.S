// From a vector slot to a Rust handler and back. Assembly saves, checks, switches and restores; the handlers think.
//
// trace_point (site.rs) is the one instruction that it is given, and clobbers no more than that; while the machine is traced, a branch
// to where it is executed and the event written down.

    .section .entry.text, "ax"

// save_regs: the general registers, ELR and SPSR into the frame.
//
// Live: sp = the frame, reserved by kernel_ventry; x0..x30 as they were interrupted. DAIF is fully masked.
// Clobbers x21..x23, once they are saved: x22 = ELR, x23 = SPSR.
    .macro  save_regs
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
    mrs     x22, elr_el1
    mrs     x23, spsr_el1
    stp     x22, x23, [sp, #{S_PC}]
    .endm

// kernel_entry_el0: the frame of an exception from EL0.
//
// Live and DAIF as for save_regs. Leaves x0 = the frame; x1..x28 zero, so that no user value steers speculation in the
// kernel; x29 = the frame record of zeroes, where a backtrace ends; SP_EL0 = current; no window to user memory.
    .macro  kernel_entry_el0 slot
    save_regs
    mrs     x21, sp_el0
    stp     x30, x21, [sp, #{S_LR}]
    mrs     x20, tpidr_el1
    ldp     x20, x22, [x20, #{CPU_CURRENT}] // and empty_ttbr0
    msr     sp_el0, x20
    mov     w21, #{NO_SYSCALL}
    stp     x0,  x21, [sp, #{S_ORIG_X0}] // and syscallno
    stp     xzr, xzr, [sp, #{S_ACCESS_WINDOW}]
    stp     xzr, xzr, [sp, #{S_STACKFRAME}]
    without_pan
    msr     ttbr0_el1, x22
    isb
    end_without_pan
    add     x29, sp, #{S_STACKFRAME}
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28
    mov     x\n, xzr
    .endr
    trace_point {TRACE_ENTER}+\slot, last="mov x0, sp"
    .endm

// kernel_entry_el1: the frame of an exception from EL1.
//
// Live and DAIF as for save_regs. SP_EL0 is `current` already. The frame record of fp and ELR chains the interrupted function
// to the handler's backtrace. A window to user memory is closed, and the frame says that it was open: never by a raw TTBR0, as
// the task's may be another one when it returns. Leaves x0 = the frame.
    .macro  kernel_entry_el1 slot
    save_regs
    add     x21, sp, #{S_FRAME_SIZE}
    stp     x30, x21, [sp, #{S_LR}]
    mov     w21, #{NO_SYSCALL}
    str     w21, [sp, #{S_SYSCALLNO}]
    stp     x29, x22, [sp, #{S_STACKFRAME}]
    add     x29, sp, #{S_STACKFRAME}
    stp     xzr, xzr, [sp, #{S_ACCESS_WINDOW}]
    without_pan
    mrs     x20, ttbr0_el1
    lsr     x20, x20, #48               // the ASID, which is 0 for the empty table only
    cbz     x20, 1f
    mov     x20, #1
    str     x20, [sp, #{S_ACCESS_WINDOW}]
    window_close x20
    isb
1:  end_without_pan
    trace_point {TRACE_ENTER}+\slot, last="mov x0, sp"
    .endm

// kernel_exit: back to what the frame at sp says, and past it.
//
// Live: sp = the frame, SP_EL0 = current. EL0 gets its memory, and the kernel the window that it had. From the first instruction
// to eret DAIF is fully masked: an exception in between would overwrite ELR and SPSR. Nothing but the restore stands here. The
// barrier behind eret stops speculation past it.
    .macro  kernel_exit el
    trace_point {TRACE_EXIT}, first="msr daifset, #0xf"
    without_pan
    .if \el == 1
    ldr     x21, [sp, #{S_ACCESS_WINDOW}]
    cbz     x21, 1f
    .endif
    window_open x21                     // eret synchronises
1:  end_without_pan
    ldp     x21, x22, [sp, #{S_PC}]
    msr     elr_el1, x21
    msr     spsr_el1, x22
    ldp     x30, x23, [sp, #{S_LR}]
    .if \el == 0
    msr     sp_el0, x23
    .endif
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
    add     sp, sp, #{S_FRAME_SIZE}
    eret
    dsb     nsh
    isb
    .endm

// entry_stub: one handler's way in and out; slot = its index in the table. The handler is `extern "C" fn(&mut PtRegs)`; from EL0 it returns with IRQs
// masked and no work left (exception::el0).
    .macro  entry_stub el, label, slot
\label:
    kernel_entry_el\el \slot
    bl      \label\()_handler
    kernel_exit \el
    .endm

// bad_mode_stub: a slot that nothing may use: report and stop. x1 = its index in the table.
    .macro  bad_mode_stub el, label, slot
\label:
    kernel_entry_el\el \slot
    mov     x1, #\slot
    bl      bad_mode
    brk     #0xdead
    .endm

    bad_mode_stub 1, el1t_sync, 0
    bad_mode_stub 1, el1t_irq, 1
    bad_mode_stub 1, el1t_fiq, 2
    bad_mode_stub 1, el1t_error, 3
    entry_stub 1, el1h_sync, 4
    entry_stub 1, el1h_irq, 5
    bad_mode_stub 1, el1h_fiq, 6
    entry_stub 1, el1h_error, 7
    entry_stub 0, el0_sync, 8
    entry_stub 0, el0_irq, 9
    bad_mode_stub 0, el0_fiq, 10
    entry_stub 0, el0_error, 11
    bad_mode_stub 0, el0_32_sync, 12
    bad_mode_stub 0, el0_32_irq, 13
    bad_mode_stub 0, el0_32_fiq, 14
    bad_mode_stub 0, el0_32_error, 15
    .global entry_stubs_end
entry_stubs_end:

// Where each stub begins, by slot: backtraces look their return addresses up here.
    .section .rodata.entry_stubs, "a"
    .balign 8
    .global entry_stubs
entry_stubs:
    .irp    label, el1t_sync, el1t_irq, el1t_fiq, el1t_error, el1h_sync, el1h_irq, el1h_fiq, el1h_error, el0_sync, el0_irq, el0_fiq, el0_error, el0_32_sync, el0_32_irq, el0_32_fiq, el0_32_error
    .quad   \label
    .endr

    .section .entry.text, "ax"

// ret_from_fork: the first code of a new task. Live: sp = its frame, everything else is 0 or the scheduler's. IRQs masked.
    .global ret_from_fork
ret_from_fork:
    mov     x29, xzr
    bl      {schedule_tail}
    bl      {exit_to_user}
    kernel_exit 0

// bad_stack: kernel_ventry found no room. Live: x0..x29 as they were interrupted, x30 = in the slot, its own value at
// S_LR; sp = a frame on this CPU's overflow stack; SP as interrupted, less a frame, in TPIDRRO_EL0. DAIF is fully masked.
bad_stack:
    save_regs
    mrs     x21, tpidrro_el0
    add     x21, x21, #{S_FRAME_SIZE}
    str     x21, [sp, #{S_SP}]
    mov     w21, #{NO_SYSCALL}
    str     w21, [sp, #{S_SYSCALLNO}]
    stp     xzr, xzr, [sp, #{S_ACCESS_WINDOW}]
    stp     x29, x22, [sp, #{S_STACKFRAME}]
    add     x29, sp, #{S_STACKFRAME}
    adr     x1, vectors
    sub     x1, x30, x1
    lsr     x1, x1, #7                  // 128 bytes a slot
    trace_point {TRACE_ENTER_BAD_STACK}, a=x1, last="mov x0, sp"
    bl      {bad_stack_handler}
    brk     #0xdead

// call_on_irq_stack(regs, stack, handler): runs a handler on another stack.
//
// x0 = argument, x1 = top of the stack, x2 = extern "C" fn(x0). IRQs are masked. The frame record of the caller's stack is
// chained to by the one at the top of the new stack, so backtraces hold; each switch is one write to SP.
    .section .text.call_on_irq_stack, "ax"
    .global call_on_irq_stack
call_on_irq_stack:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    mov     sp, x1
    blr     x2
    mov     sp, x29
    ldp     x29, x30, [sp], #16
    ret
