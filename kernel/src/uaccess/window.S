// The window to user memory, on CPUs without FEAT_PAN: TTBR0_EL1 holds the running task's table, else the empty one with ASID 0
// (TCR_EL1.A1 is 0, so one write switches both). With FEAT_PAN there is nothing to open: PSTATE.PAN stays set in the kernel,
// and LDTR and STTR, which copy.S uses, have EL0's rights all the same.

    .ifndef window_macros
    .set    window_macros, 1

// without_pan ... end_without_pan: instructions for CPUs without FEAT_PAN; on others, the first is made a branch past them all at
// boot (uaccess::init). They do not nest, and hold at least one instruction.
    .macro  without_pan
.Lwithout_pan_\@:
    .set    without_pan_site, .Lwithout_pan_\@
    .endm
    .macro  end_without_pan
.Lend_without_pan_\@:
    .pushsection .pan_sites, "a"
    .long   without_pan_site - ., .Lend_without_pan_\@ - .
    .popsection
    .endm

// window_open: live: SP_EL0 = current. Clobbers \tmp. The task's table cannot change in between: only the task itself changes it.
    .macro  window_open tmp
    mrs     \tmp, sp_el0
    ldr     \tmp, [\tmp, #{CURRENT_TTBR0}]
    msr     ttbr0_el1, \tmp
    .endm

// window_close: live: TPIDR_EL1 = this CPU's data. Clobbers \tmp. The caller synchronises, by ISB.
    .macro  window_close tmp
    mrs     \tmp, tpidr_el1
    ldr     \tmp, [\tmp, #{CPU_EMPTY_TTBR0}]
    msr     ttbr0_el1, \tmp
    .endm

    .endif
