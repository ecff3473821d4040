// The first instructions: from whatever the boot loader left to Rust at its linked address.
//
// Entered by the arm64 boot protocol (Linux Documentation/arch/arm64/booting.rst): MMU off, x0 = physical address of the
// device tree, at EL2 or EL1. An entry at EL3 is taken down too, so that the kernel can say why it will not go on.

    .section .head.text, "ax"
    .global _start
_start:
    // The 64-byte Image header; QEMU, boards and hypervisors load by it.
    b       boot                        // code0
    .long   0                           // code1
    .quad   0                           // text_offset
    .quad   _image_size                 // image_size, .bss included
    .quad   0b1010                      // flags: little-endian, 4 KiB pages, anywhere in memory
    .quad   0, 0, 0
    .ascii  "ARM\x64"
    .long   0

// Sets the flags to hs when there is no PMU of the architecture's (ID_AA64DFR0_EL1.PMUVer is 0 or 15). Clobbers \n.
    .macro  pmu_version n
    mrs     \n, id_aa64dfr0_el1
    ubfx    \n, \n, #8, #4
    sub     \n, \n, #1
    cmp     \n, #14
    .endm

// Live: x0 = device tree. From here to `enter_el1` x19 = exception level at entry, x20 = device tree.
boot:
    msr     daifset, #0xf
    msr     spsel, #1
    mov     x20, x0
    mrs     x19, CurrentEL
    lsr     x19, x19, #2
    adr     x1, enter_el1
    cmp     x19, #2
    b.lo    enter_el1
    b.eq    from_el2

    // EL3, secure: to EL2 if there is one, else to EL1, non-secure and in AArch64.
    mov     x0, #{SCR_EL3}
    msr     scr_el3, x0
    msr     cptr_el3, xzr
    mrs     x2, id_aa64pfr0_el1
    ubfx    x2, x2, #8, #4              // ID_AA64PFR0_EL1.EL2
    mov     x3, #{SPSR_EL1H}
    cbz     x2, 1f
    adr     x1, from_el2
    mov     x3, #{SPSR_EL2H}
1:  msr     elr_el3, x1
    msr     spsr_el3, x3
    msr     sctlr_el1, xzr
    eret
    dsb     nsh
    isb

from_el2:
    // EL1 in AArch64, its counters and timers untrapped, the virtual counter equal to the physical one; no other traps.
    ldr     x0, =({HCR_EL2})
    msr     hcr_el2, x0
    isb                                 // E2H may have been set: it changes what follows
    mov     x0, #{CNTHCTL_EL2}
    msr     cnthctl_el2, x0
    msr     cntvoff_el2, xzr
    mov     x0, #{CPTR_EL2_RES1}
    msr     cptr_el2, x0
    msr     hstr_el2, xzr
    pmu_version x1
    mov     x0, xzr
    b.hs    1f
    mrs     x0, pmcr_el0
    ubfx    x0, x0, #11, #5             // MDCR_EL2.HPMN = PMCR_EL0.N: every event counter is EL1's
1:  msr     mdcr_el2, x0
    mrs     x0, midr_el1
    msr     vpidr_el2, x0
    mrs     x0, mpidr_el1
    msr     vmpidr_el2, x0
    msr     vttbr_el2, xzr
    mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #24, #4             // ID_AA64PFR0_EL1.GIC: system registers for the GIC
    cbz     x0, 2f
    mrs     x0, S3_4_C12_C9_5           // ICC_SRE_EL2
    mov     x1, #0b1001                 // SRE, Enable (for EL1)
    orr     x0, x0, x1
    msr     S3_4_C12_C9_5, x0
    isb
    msr     S3_4_C12_C11_0, xzr         // ICH_HCR_EL2
2:  mrs     x0, id_aa64mmfr0_el1
    ubfx    x0, x0, #56, #4             // ID_AA64MMFR0_EL1.FGT: no fine-grained traps
    cbz     x0, 3f
    msr     S3_4_C1_C1_4, xzr           // HFGRTR_EL2
    msr     S3_4_C1_C1_5, xzr           // HFGWTR_EL2
    msr     S3_4_C1_C1_6, xzr           // HFGITR_EL2
    msr     S3_4_C3_C1_4, xzr           // HDFGRTR_EL2
    msr     S3_4_C3_C1_5, xzr           // HDFGWTR_EL2
3:  adr     x0, enter_el1
    msr     elr_el2, x0
    mov     x0, #{SPSR_EL1H}
    msr     spsr_el2, x0
    ldr     x0, =({SCTLR_OFF})
    msr     sctlr_el1, x0
    eret
    dsb     nsh
    isb

// EL1h, DAIF masked, MMU off. Live: x19, x20.
enter_el1:
    // Zero the early tables. They are written with the MMU off, so past the caches: whatever lines of them the loader left
    // there are dropped, before, or one could be written back over the zeroes, and after, or one could hide them.
    adrp    x0, early_tables
    add     x1, x0, #{EARLY_TABLES_SIZE}
    bl      drop_lines
    mov     x2, x0
1:  stp     xzr, xzr, [x2], #16
    cmp     x2, x1
    b.lo    1b

    // Early tables, level 1 and 2 (39-bit addresses): the image in 2 MiB blocks at its linked address, and the block that
    // holds this code at its own address, for the moment when the MMU goes on. Both go when mm::init builds the real ones.
    adrp    x21, _text                  // where the image was loaded
    adrp    x3, early_high
    add     x4, x3, #4096               // its level-2 table
    orr     x5, x4, #0b11
    ldr     x6, =_text                   // its linked address
    ubfx    x6, x6, #30, #9
    str     x5, [x3, x6, lsl #3]
    mov     x5, #{BLOCK}
    orr     x5, x5, x21
    mov     x6, x4
    adrp    x7, _end
    sub     x7, x7, x21                 // the image's size
2:  str     x5, [x6], #8
    add     x5, x5, #0x200000
    subs    x7, x7, #0x200000
    b.hi    2b
    adrp    x8, early_low
    add     x9, x8, #4096
    orr     x5, x9, #0b11
    ubfx    x6, x21, #30, #9
    str     x5, [x8, x6, lsl #3]
    mov     x5, #{BLOCK}
    orr     x5, x5, x21
    ubfx    x6, x21, #21, #9
    str     x5, [x9, x6, lsl #3]

    bl      drop_lines

    ldr     x0, =({MAIR})
    msr     mair_el1, x0
    ldr     x0, =({TCR})
    mrs     x5, id_aa64mmfr0_el1
    and     x5, x5, #0xf                // PARange; the tables hold 48 bits
    mov     x6, #0b101
    cmp     x5, x6
    csel    x5, x5, x6, lo
    bfi     x0, x5, #32, #3             // TCR_EL1.IPS
    mrs     x5, id_aa64mmfr0_el1
    ubfx    x5, x5, #5, #1              // ASIDBits: 0 for 8 bits, 2 for 16
    bfi     x0, x5, #36, #1             // TCR_EL1.AS
    msr     tcr_el1, x0
    msr     ttbr0_el1, x8
    msr     ttbr1_el1, x3
    tlbi    vmalle1
    ic      iallu
    dsb     nsh
    isb
    ldr     x0, =({SCTLR})
    msr     sctlr_el1, x0
    isb
    ldr     x0, =running_high
    br      x0

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

// replace_ttbr1(ttbr1, empty): other tables for the addresses this kernel runs at. Called at its physical address, which
// the early tables map in TTBR0. In between TTBR1 is empty and the TLB is emptied: it must never hold an old and a new
// translation of one address (Arm ARM D8, "break-before-make"). IRQs are masked. TTBR0 stays as it is: the caller empties it once back.
    .global replace_ttbr1
replace_ttbr1:
    msr     ttbr1_el1, x1
    isb
    tlbi    vmalle1
    dsb     nsh
    isb
    msr     ttbr1_el1, x0
    isb
    ret

// MMU on, at the linked address. Live: x19, x20, x21.
running_high:
    ldr     x0, =_bss
    ldr     x1, =_end
1:  stp     xzr, xzr, [x0], #16
    cmp     x0, x1
    b.lo    1b
    ldr     x0, =vectors
    msr     vbar_el1, x0
    ldr     x0, =boot_cpu
    msr     tpidr_el1, x0
    msr     sp_el0, xzr                 // no current task
    msr     tpidr_el0, xzr
    msr     tpidrro_el0, xzr
    msr     contextidr_el1, xzr
    msr     mdscr_el1, xzr              // the kernel itself is not debugged (KDE)
    msr     oslar_el1, xzr              // the OS lock is set out of reset, and keeps debug events away from EL0
    mov     x0, #{CPACR_FPEN}
    msr     cpacr_el1, x0
    pmu_version x0
    b.hs    1f
    msr     pmuserenr_el0, xzr          // no event counters for EL0
1:  mrs     x0, id_aa64pfr0_el1
    ubfx    x0, x0, #44, #4             // ID_AA64PFR0_EL1.AMU
    cbz     x0, 2f
    msr     S3_3_C13_C2_3, xzr          // AMUSERENR_EL0, the same
2:
    isb
    ldr     x0, =boot_stack + {THREAD_SIZE}
    mov     sp, x0
    mov     x29, xzr
    mov     x30, xzr
    mov     x0, x20
    mov     x1, x21
    mov     x2, x19
    bl      {start}
    brk     #0xdead

    .ltorg

    .section .early_tables, "aw", %nobits
    .balign 4096
early_tables:
    .global early_high
early_high:
    .skip   8192
early_low:
    .skip   8192
    .if     . - early_tables - {EARLY_TABLES_SIZE}
    .error  "EARLY_TABLES_SIZE is not the size of the early tables"
    .endif

    .section .bss.boot_stack, "aw", %nobits
    // Aligned as every kernel stack, so that kernel_ventry's check works from the start, above a page that the kernel map
    // leaves out. What that alignment leaves is the overflow stack, until there is another.
    .balign 2 * {THREAD_SIZE}
    .global early_overflow_stack
early_overflow_stack:
    .skip   2 * {THREAD_SIZE} - 4096
    .global boot_stack_guard
boot_stack_guard:
    .skip   4096
    .global boot_stack
boot_stack:
    .skip   {THREAD_SIZE}
