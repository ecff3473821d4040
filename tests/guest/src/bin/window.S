// What traps: each with a value in x19, which the hypervisor's entry uses itself; trap_NAME is the instruction.
//
// op_NAME(x19, argument): the result in x0, x19 as it is then in x1.

    .section .text.ops, "ax"
    .macro  op name
    .global op_\name
op_\name:
    stp     x19, x30, [sp, #-16]!
    mov     x19, x0
    .endm

    .macro  end
    mov     x1, x19
    ldp     x19, x30, [sp], #16
    ret
    .endm

    .macro  trap name
    .global trap_\name
trap_\name:
    .endm

    op      hvc
    ldr     w0, =0x84000000             // PSCI_VERSION
    trap    hvc
    hvc     #0
    end

    op      smc
    ldr     w0, =0x84000000
    trap    smc
    smc     #0
    end

    op      system
    trap    system
    mrs     x0, oslsr_el1
    end

    op      load
    trap    load
    ldr     w0, [x1]
    end

    op      store
    mov     w0, #'~'
    trap    store
    str     w0, [x1]
    end

    op      wait
    trap    wait
    wfi
    mov     x0, xzr
    end

    // Until the word at x1 is not 0.
    op      irq
    trap    irq
1:  ldr     w0, [x1]
    cbz     w0, 1b
    end

// The same in AArch32 at EL0, whose code is below: x2 = PSTATE. Its SVC is the way back (`a32_back`).
    .macro  op32 name
    op      a32_\name
    adr     x3, trap_a32_\name
    b       a32
    .endm

    op32    load
    op32    wait
    op32    irq
// QEMU takes the lower halves of x15 to x30 for registers of AArch32, and so loses the upper ones.
a32:
    stp     x20, x21, [sp, #-80]!
    stp     x22, x23, [sp, #16]
    stp     x24, x25, [sp, #32]
    stp     x26, x27, [sp, #48]
    stp     x28, x29, [sp, #64]
    msr     elr_el1, x3
    msr     spsr_el1, x2
    eret
    .global a32_back
a32_back:
    ldp     x22, x23, [sp, #16]
    ldp     x24, x25, [sp, #32]
    ldp     x26, x27, [sp, #48]
    ldp     x28, x29, [sp, #64]
    ldp     x20, x21, [sp], #80
    end
    .ltorg

    trap    a32_load
    .long   0xe5910000                  // ldr r0, [r1]
    .long   0xef000000                  // svc #0
    trap    a32_wait
    .long   0xe320f003                  // wfi
    .long   0xe3a00000                  // mov r0, #0
    .long   0xef000000
    trap    a32_irq
    .long   0xe5910000                  // 1: ldr r0, [r1]
    .long   0xe3500000                  // cmp r0, #0
    .long   0x0afffffc                  // beq 1b
    .long   0xef000000
