// The vector table: sixteen slots of 128 bytes, every one live.

// kernel_ventry: what each slot does, before a single register is saved.
//
// Live: everything; nothing is saved yet. DAIF is fully masked (the CPU did that). Clobbers nothing on the good path.
//
// SP must have room for a frame, or saving one would fault and bring us back here for ever. Every stack lies so that bit
// THREAD_SHIFT of SP is 0 while it holds a frame (mm::stacks). To test SP without a free register, it and x0 are added
// and subtracted until x0 holds SP; the sums wrap, and each step can be undone. The overflow stack lies like all others,
// so an exception on it passes the test as on any stack.
    .macro  kernel_ventry label
    .balign 128
\label\()_slot:
    sub     sp, sp, #{S_FRAME_SIZE}
    add     sp, sp, x0                  // sp = SP + x0
    sub     x0, sp, x0                  // x0 = SP
    tbnz    x0, #{THREAD_SHIFT}, 1f
    sub     x0, sp, x0                  // x0 = x0
    sub     sp, sp, x0                  // sp = SP
    b       \label

    // No stack to save on. The scratch registers are the user's TLS registers: whoever owned them does not come back.
1:  msr     tpidrro_el0, x0             // SP
    sub     x0, sp, x0
    msr     tpidr_el0, x0               // x0
    mrs     x0, tpidr_el1
    ldr     x0, [x0, #{CPU_OVERFLOW_STACK}]
    mov     sp, x0
    sub     sp, sp, #{S_FRAME_SIZE}
    mrs     x0, tpidr_el0
    str     x30, [sp, #{S_LR}]          // the call would lose it
    bl      bad_stack
    // bad_stack does not return; the return address tells it which slot this was.
    .org    \label\()_slot + 128        // a slot that grew over its 128 bytes does not assemble
    .endm

    .section .entry.text, "ax"
    .balign 2048
    .global vectors
vectors:
    kernel_ventry el1t_sync
    kernel_ventry el1t_irq
    kernel_ventry el1t_fiq
    kernel_ventry el1t_error

    kernel_ventry el1h_sync
    kernel_ventry el1h_irq
    kernel_ventry el1h_fiq
    kernel_ventry el1h_error

    kernel_ventry el0_sync
    kernel_ventry el0_irq
    kernel_ventry el0_fiq
    kernel_ventry el0_error

    kernel_ventry el0_32_sync
    kernel_ventry el0_32_irq
    kernel_ventry el0_32_fiq
    kernel_ventry el0_32_error
