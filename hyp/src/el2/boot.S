// The first instructions: from whatever the boot loader left to Rust, at the address it was loaded to.
//
// Entered by the arm64 boot protocol (Linux Documentation/arch/arm64/booting.rst): MMU off, x0 = physical address of the
// device tree. Only EL2 and the linked address will do; elsewhere nobody could be told, so the CPU stops.

    .section .head.text, "ax"
    .global _start
_start:
    // The 64-byte Image header; QEMU loads by it.
    b       boot                        // code0
    .long   0                           // code1
    .quad   TEXT_OFFSET                 // text_offset
    .quad   _image_size                 // image_size, .bss included
    .quad   0b0010                      // flags: little-endian, 4 KiB pages, at the beginning of RAM
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// Live: x0 = device tree; from here on x20.
boot:
    msr     daifset, #0xf
    mov     x20, x0
    mrs     x1, CurrentEL
    cmp     x1, #2 << 2
    b.ne    stop
    adr     x1, _start
    ldr     x2, =_start
    cmp     x1, x2
    b.ne    stop
    msr     spsel, #1
    ldr     x0, =({HCR_EL2})
    msr     hcr_el2, x0
    isb                                 // E2H may have been set: it changes what follows

    // The early table: level 1, blocks of 1 GiB, of which the image's and the device tree's are mapped. It is written with the
    // MMU off, so past the caches: whatever lines of it the loader left there are dropped, before, or one could be written
    // back over it, and after, or one could hide it.
    adrp    x0, early_table
    add     x1, x0, #4096
    bl      drop_lines
    mov     x2, x0
1:  stp     xzr, xzr, [x2], #16
    cmp     x2, x1
    b.lo    1b
    .irp    pointer, x20, x3
    adrp    x3, _text
    mov     x4, #{BLOCK}
    lsr     x5, \pointer, #30
    bfi     x4, x5, #30, #9
    and     x5, x5, #511
    str     x4, [x0, x5, lsl #3]
    .endr
    bl      drop_lines

    ldr     x1, =({SCTLR_EARLY})
    bl      enable_mmu

    ldr     x0, =_bss
    ldr     x1, =_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    ldr     x0, =hyp_traps_vector
    msr     vbar_el2, x0
    ldr     x0, =per_cpu
    msr     tpidr_el2, x0
    isb
    ldr     x0, =boot_stack + {STACK_SIZE}
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    bl      {start}
stop:
    wfi
    b       stop

// Another CPU, from PSCI's CPU_ON: MMU off, x0 = what `start_cpus` (boot.rs) has for it, cleaned to memory.
    .global secondary_start
secondary_start:
    msr     daifset, #0xf
    msr     spsel, #1
    ldr     x1, =({HCR_EL2})
    msr     hcr_el2, x1
    isb
    ldp     x20, x21, [x0, #8]          // PerCpu, end of the stack
    ldr     x0, [x0]                    // tables
    ldr     x1, =({SCTLR})
    bl      enable_mmu
    ldr     x1, =hyp_traps_vector
    msr     vbar_el2, x1
    msr     tpidr_el2, x20
    isb
    mov     sp, x21
    mov     x29, xzr
    mov     x30, xzr
    bl      {start_secondary}
    b       stop

// enable_mmu: x0 = tables, x1 = SCTLR_EL2. Clobbers x3, x5, x6.
enable_mmu:
    ldr     x3, =({MAIR})
    msr     mair_el2, x3
    ldr     x3, =({TCR})
    mrs     x5, id_aa64mmfr0_el1
    and     x5, x5, #0xf                // PARange; the tables hold 48 bits
    mov     x6, #0b101
    cmp     x5, x6
    csel    x5, x5, x6, lo
    bfi     x3, x5, #16, #3             // TCR_EL2.PS
    msr     tcr_el2, x3
    msr     ttbr0_el2, x0
    tlbi    alle2
    ic      iallu
    dsb     nsh
    isb
    msr     sctlr_el2, x1
    isb
    ret

// Invalidates the cache lines from x0 to x1. Clobbers x5, x6.
drop_lines:
    mrs     x5, ctr_el0
    ubfx    x5, x5, #16, #4             // CTR_EL0.DminLine: log2 of words
    mov     x6, #4
    lsl     x5, x6, x5
    mov     x6, x0
    dsb     sy
1:  dc      ivac, x6
    add     x6, x6, x5
    cmp     x6, x1
    b.lo    1b
    dsb     sy
    ret

// replace_ttbr0(ttbr0): other tables. The addresses in use are mapped to themselves by both, so for the moment in between the MMU
// is simply off: the TLB never holds an old and a new translation of one address (Arm ARM D8, "break-before-make"). No memory
// is accessed in that moment but by fetching this.
    .global replace_ttbr0
replace_ttbr0:
    dsb     sy
    mrs     x1, sctlr_el2
    bic     x2, x1, #1
    msr     sctlr_el2, x2
    isb
    msr     ttbr0_el2, x0
    isb
    tlbi    alle2
    dsb     nsh
    isb
    msr     sctlr_el2, x1
    isb
    ret

    .ltorg

    .section .early_tables, "aw", %nobits
    .balign 4096
    .global early_table
early_table:
    .skip   4096

    // Below it nothing will be mapped (stacks.rs).
    .section .bss.boot_stack, "aw", %nobits
    .balign 4096
    .global boot_stack_guard
boot_stack_guard:
    .skip   4096
boot_stack:
    .skip   {STACK_SIZE}
