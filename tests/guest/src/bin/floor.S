// The leanest ways from EL0 into a kernel and back, none of which leaves out what every kernel must do: a whole frame, the way to
// the handler by a table that is not left, the frame back.
//
// TPIDR_EL1 is the running task (`Task` in floor.rs); SP is its stack, which is empty while it is at EL0.

    .macro  reserve full
    sub     sp, sp, #272
    .if \full
    add     sp, sp, x0
    sub     x0, sp, x0
    tbnz    x0, #63, .                  // a bit that is 0 in a good SP
    sub     x0, sp, x0
    sub     sp, sp, x0
    .endif
    .endm

    .macro  save
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
    mrs     x9, elr_el1
    mrs     x10, spsr_el1
    stp     x30, x9, [sp, #16 * 15]
    str     x10, [sp, #16 * 16]
    .endm

    .macro  restore
    ldp     x30, x9, [sp, #16 * 15]
    ldr     x10, [sp, #16 * 16]
    msr     elr_el1, x9
    msr     spsr_el1, x10
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
    add     sp, sp, #272
    eret
    .endm

// IRQs masked, nothing is asked for.
    .macro  look
    msr     daifset, #0xf
    mrs     x9, tpidr_el1
    ldr     x9, [x9, #8]
    cbnz    x9, .
    .endm

// A system call. checks: the handler runs with interrupts unmasked, and what it left to do is looked for. full: room for the frame is
// looked for, and registers are cleared.
    .macro  calls name, checks, full
    .balign 2048
    .global \name
\name:
    .skip   0x400
    reserve \full
    b       1f
    .balign 128
1:  save
    .if \full
    .irp    n, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28
    mov     x\n, xzr
    .endr
    ldr     x8, [sp, #64]
    .endif
    mrs     x9, esr_el1
    lsr     x9, x9, #26
    cmp     x9, #0x15
    b.ne    leave
    .if \checks
    msr     daifclr, #0xf
    .endif
    cmp     w8, #2
    b.hs    2f
    adr     x9, table
    ldr     x9, [x9, w8, uxtw #3]
    blr     x9
    b       3f
2:  mov     x0, #-38
3:  str     x0, [sp]
    .if \checks
    look
    .endif
    restore
    .endm

    .text
    calls   lean, 0, 0
    calls   checks, 1, 0
    calls   full, 1, 1

// x19 = what is acknowledged and ended.
    .macro  acknowledge_v3
    mrs     x19, icc_iar1_el1
    .endm
    .macro  end_v3
    msr     icc_eoir1_el1, x19
    .endm
    .macro  acknowledge_v2
    mov     x20, #{GICC}
    ldr     w19, [x20, #0xc]
    .endm
    .macro  end_v2
    str     w19, [x20, #0x10]
    .endm

// The timer's interrupt: it is counted, and the next one set. x28 of EL0 is how many ticks later.
    .macro  interrupts gic
    .balign 2048
    .global interrupts_\gic
interrupts_\gic:
    .skip   0x400
    reserve 0
    save
    b       leave
    .balign 128
    reserve 0
    b       1f
1:  save
    acknowledge_\gic
    mrs     x9, cntv_cval_el0
    add     x9, x9, x28
    msr     cntv_cval_el0, x9
    adr     x10, ticks
    ldr     x11, [x10]
    add     x11, x11, #1
    str     x11, [x10]
    end_\gic
    look
    restore
    .endm

    interrupts v3
    interrupts v2

    .balign 8
table:
    .quad   getpid, yield

getpid:
    mrs     x9, tpidr_el1
    ldr     x0, [x9]
    ret

// To the next task: its stack, what a function keeps, its TLS and its address space.
yield:
    mrs     x9, tpidr_el1
    ldr     x10, [x9, #16]
    mov     x11, sp
    mrs     x12, tpidr_el0
    stp     x11, x12, [x9, #24]
    stp     x19, x20, [x9, #48]
    stp     x21, x22, [x9, #64]
    stp     x23, x24, [x9, #80]
    stp     x25, x26, [x9, #96]
    stp     x27, x28, [x9, #112]
    stp     x29, x30, [x9, #128]
    ldp     x11, x12, [x10, #24]
    ldr     x13, [x10, #40]
    msr     tpidr_el0, x12
    msr     ttbr0_el1, x13
    isb
    msr     tpidr_el1, x10
    ldp     x19, x20, [x10, #48]
    ldp     x21, x22, [x10, #64]
    ldp     x23, x24, [x10, #80]
    ldp     x25, x26, [x10, #96]
    ldp     x27, x28, [x10, #112]
    ldp     x29, x30, [x10, #128]
    mov     sp, x11
    mov     x0, xzr
    ret

// The first code of the second task: to EL0, whose frame lies on its stack.
    .global begin_task
begin_task:
    restore

// enter(program, x8, x19, x28): runs a program at EL0, to its BRK; what it then has in x20.
    .global enter
enter:
    sub     sp, sp, #112
    stp     x19, x20, [sp, #16 * 0]
    stp     x21, x22, [sp, #16 * 1]
    stp     x23, x24, [sp, #16 * 2]
    stp     x25, x26, [sp, #16 * 3]
    stp     x27, x28, [sp, #16 * 4]
    stp     x29, x30, [sp, #16 * 5]
    mov     x9, sp
    adr     x10, entered
    str     x9, [x10]
    msr     elr_el1, x0
    msr     spsr_el1, xzr
    mov     x8, x1
    mov     x19, x2
    mov     x28, x3
    mov     x20, xzr
    eret

// A program's BRK. Live: sp = its frame.
leave:
    ldr     x0, [sp, #8 * 20]
    adr     x10, entered
    ldr     x9, [x10]
    mov     sp, x9
    ldp     x19, x20, [sp, #16 * 0]
    ldp     x21, x22, [sp, #16 * 1]
    ldp     x23, x24, [sp, #16 * 2]
    ldp     x25, x26, [sp, #16 * 3]
    ldp     x27, x28, [sp, #16 * 4]
    ldp     x29, x30, [sp, #16 * 5]
    add     sp, sp, #112
    msr     daifset, #0xf
    ret

// At EL0: x19 calls; their time is left in x20.
    .global caller
caller:
    mov     x21, x8
    mrs     x22, cntvct_el0
1:  mov     w8, w21
    svc     #0
    subs    x19, x19, #1
    b.ne    1b
    mrs     x23, cntvct_el0
    sub     x20, x23, x22
    brk     #0

// At EL0: calls for ever.
    .global caller_for_ever
caller_for_ever:
    mov     w8, #1
    svc     #0
    nop
    b       caller_for_ever

// At EL0: counts to x19, two instructions each; the time is left in x20.
    .global counter
counter:
    mrs     x22, cntvct_el0
1:  subs    x19, x19, #1
    b.ne    1b
    mrs     x23, cntvct_el0
    sub     x20, x23, x22
    brk     #0

    .data
    .balign 8
    .global ticks
ticks:
    .quad   0
entered:
    .quad   0
