//! Trace points that cost nothing while nobody traces.
//!
//! A trace point is one instruction, most often one that is there anyway. When the machine is to be traced, [`patch`] puts in its
//! place, once, at boot, a branch to a stub that executes it and calls `trace_call` (`trace/call.S`) with everything preserved.

use crate::extable::target;
use core::arch::asm;

/// Kinds of trace points, as [`trace_point!`](crate::site::trace_point) names them; what `a` and `b` are.
pub mod kind {
    /// An exception's frame is saved; this plus its slot.
    pub const ENTER: u16 = 0;
    /// An exception found no room for its frame and has one on the overflow stack; a: its slot.
    pub const ENTER_BAD_STACK: u16 = 16;
    /// A frame is about to be restored.
    pub const EXIT: u16 = 17;
    /// IRQs have been masked, if they were not.
    pub const IRQS_OFF: u16 = 18;
    /// IRQs are about to be unmasked, if they are not.
    pub const IRQS_ON: u16 = 19;
    /// DAIF is about to be written; a: its value.
    pub const DAIF: u16 = 20;
    /// An interrupt was acknowledged, and is being handled; a: INTID.
    pub const IRQ: u16 = 21;
    /// Its handler has returned.
    pub const IRQ_END: u16 = 22;
    /// The running task is preempted.
    pub const PREEMPT: u16 = 23;
    /// A switch; a: the next task (`*const Task`).
    pub const SWITCH: u16 = 24;
    /// A task is made ready; a: `*const Task`.
    pub const WAKE: u16 = 25;
    /// A signal is sent; a: the task, and the signal from bit 32 on; b: its code.
    pub const SIGNAL: u16 = 26;
    /// The running task acts on a signal; a: its number.
    pub const DELIVER: u16 = 27;
    /// A new task; a: `*const Task`.
    pub const SPAWN: u16 = 28;
    /// The running task has become another program.
    pub const EXEC: u16 = 29;
    /// The running task ends; a: exit code, or 128 and the signal.
    pub const END: u16 = 30;
    /// A report is written.
    pub const REPORT: u16 = 31;
}

/// The text of a trace point: `$instruction` here; in the stub, `$first` before and `$last` behind the call, one of which is the
/// instruction and the other empty. `$kind` is one of [`kind`], `$a` and `$b` are registers.
///
/// The stub may run anywhere, with any register live and in any state of DAIF; SP is a kernel stack's. It clobbers nothing.
macro_rules! point_text {
    ($instruction:expr, $first:expr, $last:expr, $kind:expr, $a:expr, $b:expr) => {
        concat!(
            "2: ",
            $instruction,
            "\n",
            ".pushsection .text.trace_stubs, \"ax\"\n",
            "3: ",
            $first,
            "\n",
            "stp x16, x17, [sp, #-48]!\n",
            "stp ",
            $a,
            ", ",
            $b,
            ", [sp, #16]\n",
            "str x30, [sp, #32]\n",
            "adrp x16, 2b\n",
            "add x16, x16, :lo12:2b\n",
            "mov w17, #",
            $kind,
            "\n",
            "bl trace_call\n",
            "ldr x30, [sp, #32]\n",
            "ldp x16, x17, [sp], #48\n",
            $last,
            "\n",
            "b 2b + 4\n",
            ".popsection\n",
            ".pushsection .trace_sites, \"a\"\n",
            ".long 2b - ., 3b - .\n",
            ".popsection\n",
        )
    };
}
pub(crate) use point_text;

/// Instructions of a trace point that tracing adds outside of `trace_call`: the branches there and back, and the nine of the stub.
pub const STUB_COST: u64 = 11;

/// [`point_text!`] for assembly files: `trace_point KIND, A, B, FIRST, LAST`.
macro_rules! point_macro {
    () => {
        concat!(
            ".ifndef trace_point_macro\n.set trace_point_macro, 1\n",
            ".macro trace_point kind, a=xzr, b=xzr, first, last\n",
            $crate::site::point_text!("\\first\\last", "\\first", "\\last", "\\kind", "\\a", "\\b"),
            ".endm\n.endif\n",
        )
    };
}
pub(crate) use point_macro;

/// A trace point in Rust. `trace_point!(KIND, a, b)`, with none, one or both of the values, is a `nop`;
/// `trace_point!(KIND, first "INSTRUCTION", a, b)` is that instruction, executed before the event is written down, with `last` behind
/// it; the instruction may name the values, as `{a}` and `{b}`.
#[collapse_debuginfo(yes)]
macro_rules! trace_point {
    ($kind:ident $(, $a:expr $(, $b:expr)?)?) => {
        $crate::site::trace_point!(@ $kind, "nop", "nop", "", [$($a $(, $b)?)?])
    };
    ($kind:ident, first $instruction:literal $(, $a:expr $(, $b:expr)?)?) => {
        $crate::site::trace_point!(@ $kind, $instruction, $instruction, "", [$($a $(, $b)?)?])
    };
    ($kind:ident, last $instruction:literal $(, $a:expr $(, $b:expr)?)?) => {
        $crate::site::trace_point!(@ $kind, $instruction, "", $instruction, [$($a $(, $b)?)?])
    };
    (@ $kind:ident, $at:expr, $first:expr, $last:expr, []) => {
        core::arch::asm!(
            $crate::site::point_text!($at, $first, $last, "{kind}", "xzr", "xzr"),
            kind = const $crate::site::kind::$kind,
            options(preserves_flags)
        )
    };
    (@ $kind:ident, $at:expr, $first:expr, $last:expr, [$a:expr]) => {
        core::arch::asm!(
            $crate::site::point_text!($at, $first, $last, "{kind}", "{a:x}", "xzr"),
            kind = const $crate::site::kind::$kind,
            a = in(reg) $a,
            options(preserves_flags)
        )
    };
    (@ $kind:ident, $at:expr, $first:expr, $last:expr, [$a:expr, $b:expr]) => {
        core::arch::asm!(
            $crate::site::point_text!($at, $first, $last, "{kind}", "{a:x}", "{b:x}"),
            kind = const $crate::site::kind::$kind,
            a = in(reg) $a,
            b = in(reg) $b,
            options(preserves_flags)
        )
    };
}
pub(crate) use trace_point;

/// A trace point, or another instruction of the image that is put in its place at boot: both relative to their own places.
#[repr(C)]
pub struct Site {
    site: i32,
    to: i32,
}

unsafe extern "C" {
    static _trace_sites: Site;
    static _trace_sites_end: Site;
}

/// Has every trace point call `trace_call` from now on.
///
/// # Safety
/// While booting, with the early tables, by which the image is writable; DAIF is masked.
pub unsafe fn patch_trace_points() {
    // SAFETY: laid out by the linker, and the rest as promised by the caller; a stub does what its site did.
    unsafe { patch(&raw const _trace_sites, &raw const _trace_sites_end) };
}

/// Makes the first instruction of each site a branch.
///
/// # Safety
/// As for [`patch_trace_points`]; the linker lays the sites out between the two addresses, and the kernel works with the branches.
pub unsafe fn patch(start: *const Site, end: *const Site) {
    // SAFETY: as promised by the caller; read-only.
    let sites = unsafe { core::slice::from_raw_parts(start, end.offset_from_unsigned(start)) };
    for site in sites {
        let (site, to) = (target(&site.site), target(&site.to));
        // B: the distance in instructions, 26 bits of it.
        let branch = 0x1400_0000 | (to.wrapping_sub(site) / 4) as u32 & 0x03ff_ffff;
        // SAFETY: an instruction of the image; nobody executes it before the barriers below.
        unsafe {
            core::ptr::with_exposed_provenance_mut::<u32>(site).write_volatile(branch);
            asm!("dc cvau, {0}", "dsb ish", "ic ivau, {0}", in(reg) site, options(nostack, preserves_flags));
        }
    }
    // SAFETY: what was written is fetched from here on.
    unsafe { asm!("dsb ish", "isb", options(nostack, preserves_flags)) };
}
