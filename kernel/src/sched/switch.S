// cpu_switch_to: from one task's kernel stack to another's.
//
// x0 = &prev.context, x1 = &next.context, x2 = next (*const Task). IRQs are masked. A call for the compiler: only what a
// callee must preserve is saved. SP and `current` (SP_EL0, and the per-CPU copy of it) change together, with DAIF fully
// masked, so no handler and no report sees one without the other. Returns to where `next` was switched out, or, the first time, to the pc its creator gave it.

    .section .text.cpu_switch_to, "ax"
    .global cpu_switch_to
cpu_switch_to:
    mov     x9, sp
    stp     x19, x20, [x0, #{CONTEXT_REGS} + 16 * 0]
    stp     x21, x22, [x0, #{CONTEXT_REGS} + 16 * 1]
    stp     x23, x24, [x0, #{CONTEXT_REGS} + 16 * 2]
    stp     x25, x26, [x0, #{CONTEXT_REGS} + 16 * 3]
    stp     x27, x28, [x0, #{CONTEXT_REGS} + 16 * 4]
    stp     x29, x9,  [x0, #{CONTEXT_FP}]
    str     x30, [x0, #{CONTEXT_PC}]
    ldp     x19, x20, [x1, #{CONTEXT_REGS} + 16 * 0]
    ldp     x21, x22, [x1, #{CONTEXT_REGS} + 16 * 1]
    ldp     x23, x24, [x1, #{CONTEXT_REGS} + 16 * 2]
    ldp     x25, x26, [x1, #{CONTEXT_REGS} + 16 * 3]
    ldp     x27, x28, [x1, #{CONTEXT_REGS} + 16 * 4]
    ldp     x29, x9,  [x1, #{CONTEXT_FP}]
    ldr     x30, [x1, #{CONTEXT_PC}]
    mrs     x10, tpidr_el1
    mrs     x11, daif
    trace_point {TRACE_SWITCH}, a=x2, first="msr daifset, #0xf"
    mov     sp, x9
    msr     sp_el0, x2
    str     x2, [x10, #{CPU_CURRENT}]
    msr     daif, x11
    ret

// x0 = *mut FpState. The kernel itself is built without FP registers, so these are always the user's.
    .arch_extension fp
    .arch_extension simd
    .section .text.fp_state, "ax"
    .global fp_save
fp_save:
    stp     q0,  q1,  [x0, #32 * 0]
    stp     q2,  q3,  [x0, #32 * 1]
    stp     q4,  q5,  [x0, #32 * 2]
    stp     q6,  q7,  [x0, #32 * 3]
    stp     q8,  q9,  [x0, #32 * 4]
    stp     q10, q11, [x0, #32 * 5]
    stp     q12, q13, [x0, #32 * 6]
    stp     q14, q15, [x0, #32 * 7]
    stp     q16, q17, [x0, #32 * 8]
    stp     q18, q19, [x0, #32 * 9]
    stp     q20, q21, [x0, #32 * 10]
    stp     q22, q23, [x0, #32 * 11]
    stp     q24, q25, [x0, #32 * 12]
    stp     q26, q27, [x0, #32 * 13]
    stp     q28, q29, [x0, #32 * 14]
    stp     q30, q31, [x0, #32 * 15]
    mrs     x1, fpsr
    mrs     x2, fpcr
    add     x0, x0, #512
    stp     w1, w2, [x0]
    ret

    .global fp_load
fp_load:
    ldp     q0,  q1,  [x0, #32 * 0]
    ldp     q2,  q3,  [x0, #32 * 1]
    ldp     q4,  q5,  [x0, #32 * 2]
    ldp     q6,  q7,  [x0, #32 * 3]
    ldp     q8,  q9,  [x0, #32 * 4]
    ldp     q10, q11, [x0, #32 * 5]
    ldp     q12, q13, [x0, #32 * 6]
    ldp     q14, q15, [x0, #32 * 7]
    ldp     q16, q17, [x0, #32 * 8]
    ldp     q18, q19, [x0, #32 * 9]
    ldp     q20, q21, [x0, #32 * 10]
    ldp     q22, q23, [x0, #32 * 11]
    ldp     q24, q25, [x0, #32 * 12]
    ldp     q26, q27, [x0, #32 * 13]
    ldp     q28, q29, [x0, #32 * 14]
    ldp     q30, q31, [x0, #32 * 15]
    add     x0, x0, #512
    ldp     w1, w2, [x0]
    msr     fpsr, x1
    msr     fpcr, x2
    ret
