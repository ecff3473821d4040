// trace_call: from the stub of a trace point (site.rs) to trace_event, with everything preserved.
//
// Live: every register but x16 = the address of the trace point, x17 = its kind, x30 = in the stub, which saved the three; sp = the
// stub's half of a Point. DAIF is anything; it is fully masked while the event is written down, so that no other one comes between.
// NZCV and all registers are given back. What is executed between the two reads of the counter is what the event is known to have
// cost; the instructions outside of them are TRACE_UNCOUNTED (less those of the stub).

    .section .text.trace_call, "ax"
    .global trace_call
trace_call:
    stp     x0,  x1,  [sp, #-{POINT_STUB}]!
    stp     x2,  x3,  [sp, #16 * 1]
    stp     x4,  x5,  [sp, #16 * 2]
    stp     x6,  x7,  [sp, #16 * 3]
    stp     x8,  x9,  [sp, #16 * 4]
    stp     x10, x11, [sp, #16 * 5]
    stp     x12, x13, [sp, #16 * 6]
    stp     x14, x15, [sp, #16 * 7]
    stp     x18, x30, [sp, #16 * 8]
    mrs     x0, nzcv
    mrs     x1, daif
    msr     daifset, #0xf
    stp     x0,  x1,  [sp, #{POINT_NZCV}]
    stp     x16, x17, [sp, #{POINT_SITE}]
    mov     x0, sp
1:  mrs     x1, cntvct_el0
    bl      {trace_event}               // x0 = &Ring.spent, x1 = the counter, as it was given
    ldr     x2, [x0]
    sub     x2, x2, x1
2:  mrs     x1, cntvct_el0
    add     x2, x2, x1
    str     x2, [x0]
    ldp     x0,  x1,  [sp, #{POINT_NZCV}]
    msr     nzcv, x0
    ldp     x2,  x3,  [sp, #16 * 1]
    ldp     x4,  x5,  [sp, #16 * 2]
    ldp     x6,  x7,  [sp, #16 * 3]
    ldp     x8,  x9,  [sp, #16 * 4]
    ldp     x10, x11, [sp, #16 * 5]
    ldp     x12, x13, [sp, #16 * 6]
    ldp     x14, x15, [sp, #16 * 7]
    ldp     x18, x30, [sp, #16 * 8]
    msr     daif, x1
    ldp     x0,  x1,  [sp], #{POINT_STUB}
    ret
3:
    .section .rodata.trace_uncounted, "a"
    .balign 8
    .global trace_uncounted
trace_uncounted:
    .quad   ((1b - trace_call) + (3b - 2b)) / 4
