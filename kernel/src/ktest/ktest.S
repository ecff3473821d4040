// States for the exception path, and programs, that neither C nor Rust can make.

// Loads x0..x\last from the array at x0.
    .macro  load_pattern last
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    .if \n <= \last
    ldr     x\n, [x0, #8 * \n]
    .endif
    .endr
    ldr     x0, [x0]
    .endm

    .section .text.ktest, "ax"

// ktest_recurse(pattern, sp): calls itself on the stack at sp until that is full, x0..x28 being the pattern.
    .global ktest_recurse
ktest_recurse:
    mov     sp, x1
    load_pattern 28
1:  stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    bl      1b

// ktest_load_at(address, sp): loads from the address, on the stack at sp.
    .global ktest_load_at
ktest_load_at:
    mov     sp, x1
    mov     x29, xzr
    .global ktest_load_at_pc
ktest_load_at_pc:
    ldr     x0, [x0]

// ktest_unmask_at(_, sp): lets interrupts in, on the stack at sp.
    .global ktest_unmask_at
ktest_unmask_at:
    mov     sp, x1
    mov     x29, xzr
    msr     daifclr, #0xf
1:  b       1b

// ktest_wild(pattern, sp): an undefined instruction with SP = sp, x0..x30 being the pattern.
    .global ktest_wild
ktest_wild:
    mov     sp, x1
    load_pattern 30
    .global ktest_wild_pc
ktest_wild_pc:
    udf     #0

// ktest_slot_N(pattern, sp): into slot N of the vector table as the CPU would go there, x0..x30 being the pattern, on the
// stack at sp. The caller has written ELR, SPSR, ESR and FAR, and DAIF is masked.
    .macro  slot number
    .balign 16
    .global ktest_slot_\number
ktest_slot_\number:
    mov     sp, x1
    load_pattern 30
    b       vectors + 128 * \number
    .endm
    .irp    number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    slot    \number
    .endr
    .balign 16
    .global ktest_slots
ktest_slots:
    .irp    number, 0,1,2,3,4,5,6,7,8,9,10,11,12,13,14,15
    .quad   ktest_slot_\number
    .endr

// ktest_trace_point(pattern, sp, nzcv, daif): a trace point, x0..x30 being the pattern; then as an exception that came back.
    .global ktest_trace_point
ktest_trace_point:
    mov     sp, x1
    msr     nzcv, x2
    msr     daif, x3
    load_pattern 30
    trace_point {TRACE_PREEMPT}, last="nop"
    b       ktest_returned

// ktest_path: an exception of the kernel between two trace points; ktest_path_in_window: in a window to user memory, on a CPU that has
// need of one.
    .global ktest_path
ktest_path:
    trace_point {TRACE_PREEMPT}, last="nop"
    brk     #{PROBE}
    trace_point {TRACE_PREEMPT}, last="nop"
    ret
    .global ktest_path_in_window
ktest_path_in_window:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    without_pan
    window_open x0
    isb
    end_without_pan
    bl      ktest_path
    without_pan
    window_close x0
    isb
    end_without_pan
    ldp     x29, x30, [sp], #16
    ret

// ktest_returned: where an exception that came back goes on: stores x0..x30 to ktest_registers, then tells the test by
// BRK. Clobbers TPIDR_EL0.
    .global ktest_returned
ktest_returned:
    msr     tpidr_el0, x0
    ldr     x0, =ktest_registers
    .irp    n, 1,2,3,4,5,6,7,8,9,10,11,12,13,14,15,16,17,18,19,20,21,22,23,24,25,26,27,28,29,30
    str     x\n, [x0, #8 * \n]
    .endr
    mrs     x1, tpidr_el0
    str     x1, [x0]
    brk     #{RETURNED}
    .ltorg

// ktest_NAME(x0): one instruction that faults, at ktest_NAME_pc, in a function with a frame record.
    .macro  fault name, instruction:vararg
    .global ktest_\name
ktest_\name:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    .global ktest_\name\()_pc
ktest_\name\()_pc:
    \instruction
    ldp     x29, x30, [sp], #16
    ret
    .endm
    fault   load, ldr x0, [x0]
    fault   store, str xzr, [x0]
    fault   load_exclusive, ldxr x0, [x0]
    fault   jump, blr x0
    fault   undefined, udf #0
    fault   register, mrs x0, s3_0_c15_c15_7
    fault   brk, brk #0xbad

// ktest_peek_first, ktest_peek_second(address): 1 and 2 if there is nothing at the address. Their entries in the exception table
// are in the wrong order.
    .global ktest_peek_first
ktest_peek_first:
1:  ldr     x0, [x0]
    ret
2:  mov     x0, #1
    ret
    .global ktest_peek_second
ktest_peek_second:
3:  ldr     x0, [x0]
    ret
4:  mov     x0, #2
    ret
    .pushsection .ex_table, "a"
    .long   3b - ., 4b - ., {KERNEL}
    .long   1b - ., 2b - ., {KERNEL}
    .popsection

// ktest_illegal_return(spsr): to ktest_illegal_pc with an SPSR that cannot be.
    .global ktest_illegal_return
ktest_illegal_return:
    stp     x29, x30, [sp, #-16]!
    mov     x29, sp
    adr     x1, ktest_illegal_pc
    msr     elr_el1, x1
    msr     spsr_el1, x0
    eret
    .global ktest_illegal_pc
ktest_illegal_pc:
    nop

// The code of all programs of tests: one page, the same in each address space.
    .section .rodata.ktest_programs, "a"
    .balign 4
    .global ktest_programs
ktest_programs:

// Ends with x0.
    .global ktest_exit
ktest_exit:
    mov     x8, #{NR_EXIT}
    svc     #0

    .global ktest_user_load
ktest_user_load:
    ldr     x1, [x0]
    b       ktest_exit

    .global ktest_user_store
ktest_user_store:
    str     xzr, [x0]
    b       ktest_exit

    .global ktest_user_spin
ktest_user_spin:
    b       ktest_user_spin

    .global ktest_user_call
ktest_user_call:
    svc     #0
    b       ktest_exit

// Writes to each page from x0 to x1.
    .global ktest_user_fill
ktest_user_fill:
    str     x0, [x0]
    add     x0, x0, #4096
    cmp     x0, x1
    b.lo    ktest_user_fill
    b       ktest_exit

    .global ktest_programs_end
ktest_programs_end:
