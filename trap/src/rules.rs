//! What the state of a report shows that helps to find the mistake: the rules that give hints, and their words.
//!
//! Each rule is a function of the report that gives a hint or none, and says nothing that the state does not show. The
//! words are made when they are printed, from the same report.

use crate::esr::{Ec, Esr};
use crate::exception::{Abort, DataAccess, Exception};
use crate::fault::FaultStatus;
use crate::hint::{Hint, Recursion};
use crate::place::{Code, Count, KernelStack, Place, Printable, Program, StackKind, is_kernel_half};
use crate::record::{Hex, Report, Step};
use crate::report::Register;
use crate::slot::Slot;
use core::fmt;
use heapless::Vec;
use linux_raw_sys::general::SIGKILL;

/// The most telling first.
const RULES: [fn(&Report) -> Option<Hint>; 16] = [
    overflow,
    repeated,
    not_ended,
    text,
    bad_base,
    bad_pc,
    outside_window,
    kernel_half,
    rights,
    map_allows,
    no_code,
    privileged,
    unaligned_exclusive,
    kernel_float,
    asynchronous,
    illegal_return,
];

/// What a report shows, the most telling first.
pub fn hints(report: &Report) -> Vec<Hint, 3> {
    RULES.iter().filter_map(|rule| rule(report)).take(3).collect()
}

/// An access less than this many bytes from where a register points may well have been made through it.
const NEAR: u64 = 4096;

/// Fewer rounds are no recursion to speak of.
const ROUNDS_MIN: u32 = 4;

fn overflow(report: &Report) -> Option<Hint> {
    guard(report)?;
    let frames = |step: &Step| step.cycle.saturating_mul(step.times);
    let recursion = report.chain.iter().filter(|step| step.times >= ROUNDS_MIN).max_by_key(|step| frames(step));
    Some(Hint::Overflow(recursion.map(|step| Recursion {
        address: step.address,
        cycle: step.cycle,
        frames: frames(step),
    })))
}

/// The guard that SP is in, or that the access, or the frame of the exception, went to from just above it.
fn guard(report: &Report) -> Option<Place> {
    let is_guard = |place: &Place| matches!(place, Place::Guard { .. } | Place::UserGuard { .. });
    let near = report.fault_address().is_some_and(|address| address.abs_diff(report.sp.0) < NEAR);
    let overrun = report.stacks.iter().find(|stack| stack.overrun > 0).map(|stack| Place::Guard {
        stack: stack.name,
        task: (stack.name == StackKind::Task).then_some(report.task),
        below: stack.overrun,
    });
    place_of_sp(report).filter(is_guard).or(report.place.filter(|place| near && is_guard(place))).or(overrun)
}

fn place_of_sp(report: &Report) -> Option<Place> {
    report.pointers.iter().find(|pointer| pointer.register == 31).map(|pointer| pointer.place)
}

fn repeated(report: &Report) -> Option<Hint> {
    let esr = report.syndrome().filter(|_| report.repeats > 0)?;
    match esr.decode() {
        // What is emulated is stepped over.
        Exception::System(_)
        | Exception::System128(_)
        | Exception::Wait { .. }
        | Exception::Brk(_)
        | Exception::Unknown => Some(Hint::NotAdvanced),
        _ => mapping_fault(esr).map(|_| Hint::ServedInVain),
    }
}

/// An abort that a change of the tables can cure.
fn mapping_fault(esr: Esr) -> Option<Abort> {
    match esr.decode() {
        Exception::InstructionAbort(abort) | Exception::DataAbort(abort, _) => Some(abort),
        _ => None,
    }
    .filter(|abort| abort.status.is_of_mapping())
}

fn not_ended(report: &Report) -> Option<Hint> {
    report.not_ended.map(Hint::NotEnded)
}

/// PC, if it is what faulted.
fn faulting_pc(report: &Report) -> Option<u64> {
    let of_pc = matches!(
        report.syndrome()?.ec(),
        Ec::INSTRUCTION_ABORT_LOWER | Ec::INSTRUCTION_ABORT_CURRENT | Ec::PC_ALIGNMENT
    );
    of_pc.then_some(report.pc.0)
}

/// The base register (31 is SP) of the load or store that faulted, by its encoding (Arm ARM, "Loads and Stores").
fn base(report: &Report) -> Option<u8> {
    let Exception::DataAbort(..) = report.syndrome()?.decode() else { return None };
    let word = report.a64()?;
    let load_or_store = word & 0x0a00_0000 == 0x0800_0000;
    let literal = word & 0x3b00_0000 == 0x1800_0000;
    let copy_or_set = word & 0x3b20_0c00 == 0x1900_0400;
    (load_or_store && !literal && !copy_or_set).then_some((word >> 5 & 0x1f) as u8)
}

fn text(report: &Report) -> Option<Hint> {
    let address = report.fault_address()?;
    let base = base(report).map(|register| report.register(register)).filter(|base| address.abs_diff(*base) < NEAR);
    let pointers = [faulting_pc(report), base, Some(address)];
    let readable = |value: &u64| value.to_le_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    pointers.into_iter().flatten().find(readable).map(|value| Hint::Text(Hex(value)))
}

fn bad_base(report: &Report) -> Option<Hint> {
    let register = base(report)?;
    let (address, base) = (report.fault_address()?, report.register(register));
    let bad = match report.place? {
        // What is not above it is as near to null.
        Place::Null => base <= address,
        _ if base == 0 => address.cast_signed().unsigned_abs() < NEAR,
        Place::NonCanonical => address.abs_diff(base) < NEAR,
        _ => false,
    };
    bad.then_some(Hint::BadBase(register))
}

fn bad_pc(report: &Report) -> Option<Hint> {
    let (pc, lr) = (faulting_pc(report)?, report.register(30));
    let lr_place = report.pointers.iter().find(|pointer| pointer.register == 30).map(|pointer| pointer.place);
    match lr_place {
        _ if pc == lr => Some(Hint::BadReturn),
        Some(Place::KernelText | Place::User { execute: true, .. }) if lr.is_multiple_of(4) => {
            Some(Hint::BadCall(Hex(lr.wrapping_sub(4))))
        }
        _ => None,
    }
}

fn outside_window(report: &Report) -> Option<Hint> {
    let abort = mapping_fault(report.syndrome()?)?;
    let user = matches!(report.place?, Place::User { .. });
    (!abort.lower && user && !report.window && faulting_pc(report).is_none()).then_some(Hint::OutsideWindow)
}

fn kernel_half(report: &Report) -> Option<Hint> {
    let abort = mapping_fault(report.syndrome()?)?;
    let kernel = is_kernel_half(report.far.0) && report.place? != Place::NonCanonical;
    (abort.lower && kernel).then_some(Hint::KernelHalf)
}

fn rights(report: &Report) -> Option<Hint> {
    let esr = report.syndrome()?;
    let abort = mapping_fault(esr)?;
    let permission = matches!(abort.status, FaultStatus::Permission(_));
    match (esr.decode(), report.place?) {
        (_, Place::User { read: false, write: false, execute: false, .. }) => Some(Hint::NoAccess),
        // At EL1 none of it is executable.
        (Exception::InstructionAbort(_), Place::User { execute, .. }) => {
            (!execute || !abort.lower).then_some(Hint::NotExecutable)
        }
        (Exception::InstructionAbort(_), Place::KernelRodata | Place::KernelData | Place::Ram { .. }) => {
            permission.then_some(Hint::NotExecutable)
        }
        (Exception::DataAbort(_, access), Place::KernelText | Place::KernelRodata) => {
            (access.is_write() && permission && !abort.lower).then_some(Hint::KernelReadOnly)
        }
        // At EL1 the rights count only within an access window.
        (Exception::DataAbort(_, access), Place::User { read, write, .. }) if abort.lower || report.window => {
            match access.is_write() {
                true => (!write).then_some(Hint::NotWritable),
                false => (!read).then_some(Hint::NotReadable),
            }
        }
        _ => None,
    }
}

fn map_allows(report: &Report) -> Option<Hint> {
    let esr = report.syndrome()?;
    let abort = mapping_fault(esr)?;
    let Some(Place::User { read, write, execute, .. }) = report.place else { return None };
    let allowed = match esr.decode() {
        // What it needs depends on the CPU.
        Exception::DataAbort(_, DataAccess { maintenance: true, .. }) => return None,
        Exception::DataAbort(_, access) if access.write => write,
        Exception::DataAbort(..) => read,
        _ => execute,
    };
    // Without memory left it could not be served.
    let killed = report.signal.is_some_and(|info| info.signal == SIGKILL);
    (abort.lower && allowed && !killed && report.repeats == 0).then_some(Hint::MapAllows)
}

fn no_code(report: &Report) -> Option<Hint> {
    (report.syndrome()?.ec() == Ec::UNKNOWN && matches!(report.a64()?, 0 | u32::MAX)).then_some(Hint::NoCode)
}

fn privileged(report: &Report) -> Option<Hint> {
    let word = report.a64().filter(|_| report.slot == Some(Slot::El0Sync))?;
    // Arm ARM, "Branches, Exception Generating and System instructions". EL0 has what has op1 = 3, and some of op0 = 0; CRn =
    // 11 and 15 are the implementation's own.
    let (op0, op1, crn) = (word >> 19 & 3, word >> 16 & 7, word >> 12 & 0xf);
    let system = word & 0xffc0_0000 == 0xd500_0000 && op0 != 0 && op1 != 3 && !matches!(crn, 11 | 15);
    let call = matches!(word & 0xffe0_001f, 0xd400_0002 | 0xd400_0003);
    let eret = matches!(word, 0xd69f_03e0 | 0xd69f_0bff | 0xd69f_0fff);
    (report.syndrome()?.ec() == Ec::UNKNOWN && (system || call || eret)).then_some(Hint::Privileged)
}

fn unaligned_exclusive(report: &Report) -> Option<Hint> {
    let word = report.a64()?;
    // Exclusive, ordered and compare-and-swap; then the other atomics (Arm ARM, "Loads and Stores").
    let aligned_only = word & 0x3f00_0000 == 0x0800_0000 || word & 0x3f20_0c00 == 0x3820_0000;
    match report.syndrome()?.decode() {
        Exception::DataAbort(Abort { status: FaultStatus::Alignment, .. }, _) if aligned_only => {
            Some(Hint::UnalignedExclusive)
        }
        _ => None,
    }
}

fn kernel_float(report: &Report) -> Option<Hint> {
    (report.slot?.from_el1() && report.syndrome()?.ec() == Ec::FP_SIMD).then_some(Hint::KernelFloat)
}

fn asynchronous(report: &Report) -> Option<Hint> {
    (report.syndrome()?.ec() == Ec::SERROR).then_some(Hint::Asynchronous)
}

fn illegal_return(report: &Report) -> Option<Hint> {
    (report.syndrome()?.ec() == Ec::ILLEGAL_STATE).then_some(Hint::IllegalReturn)
}

impl Hint {
    /// The hint in words, with what it needs from the report that it belongs to.
    pub const fn words(self, report: &Report) -> Words<'_> {
        Words { hint: self, report }
    }
}

/// A hint in words; see [`Hint::words`].
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    hint: Hint,
    report: &'a Report,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Words { hint, report } = *self;
        let code = |address: Hex| Code { address: address.0, program: &report.name, whole: false };
        f.write_str(match hint {
            Hint::Overflow(recursion) => {
                f.write_str(match guard(report) {
                    guard if guard == place_of_sp(report) => "SP is inside",
                    guard if guard == report.place => "SP has reached",
                    _ => "an exception's frame has no room above",
                })?;
                match guard(report) {
                    Some(Place::Guard { stack, task, .. }) => {
                        write!(f, " the guard page of {}", KernelStack(stack, task))?;
                    }
                    _ => write!(f, " the guard of the stack of {}", Program(&report.name))?,
                }
                let Some(Recursion { address, cycle, frames }) = recursion else { return Ok(()) };
                write!(f, ": recursion of {}", code(address))?;
                if cycle > 1 {
                    write!(f, " and {}", Count(u64::from(cycle) - 1, "other"))?;
                }
                return write!(f, ", {}", Count(frames.into(), "frame"));
            }
            Hint::NotAdvanced => "ELR was not advanced after an emulated instruction: this fault repeats",
            Hint::ServedInVain => {
                "the fault was served and came again: the entry written does not allow the access, or the TLB is stale"
            }
            Hint::NotEnded(irq) => return write!(f, "interrupt {irq} was acknowledged but never ended"),
            Hint::Text(value) => {
                let bytes = value.0.to_le_bytes();
                let text = core::str::from_utf8(&bytes).unwrap_or_default();
                return write!(f, "{value} reads as text: in memory it is `{}`", Printable(text));
            }
            Hint::BadBase(register) => {
                let (base, address) = (report.register(register), report.far.0);
                let name = Register(register);
                return match (base, address) {
                    (0, 0) => write!(f, "{name} holds 0, a null pointer"),
                    (0, _) => {
                        let offset = Count(address.cast_signed().unsigned_abs(), "byte");
                        write!(f, "{name} holds 0, a null pointer; the access was {offset} from it")
                    }
                    _ => write!(f, "{name} holds {base:#x}, which is no pointer"),
                };
            }
            Hint::BadReturn => "PC equals lr, as a return to a wrong address leaves it",
            Hint::BadCall(address) => {
                return write!(f, "lr points behind {}: where the jump came from, if it was a call", code(address));
            }
            Hint::OutsideWindow => {
                "the kernel touched user memory outside an access window: it is reached only through uaccess"
            }
            Hint::KernelHalf => "the address is in the kernel's half, which no program may touch",
            Hint::KernelReadOnly => "the kernel's instructions and constants are mapped read-only, for itself too",
            Hint::NotReadable => "this was a read, and the memory is mapped without the right to read",
            Hint::NotWritable => "this was a write, and the memory is mapped without the right to write",
            Hint::NotExecutable if report.slot.is_some_and(|slot| slot.from_el1()) => {
                "the kernel jumped to memory that it may not execute"
            }
            Hint::NotExecutable => "the program jumped to memory that is mapped without the right to execute",
            Hint::NoAccess => "the memory is mapped without any right (PROT_NONE)",
            Hint::MapAllows => "the program's map allows this access, but its page tables do not",
            Hint::Privileged => "the instruction is one for EL1 and above",
            Hint::NoCode if report.a64() == Some(0) => {
                "the instruction is 0 (udf #0), which is what zeroed memory executes as"
            }
            Hint::NoCode => "the instruction is all ones, which is what erased or absent memory executes as",
            Hint::UnalignedExclusive => {
                "exclusive, ordered and atomic accesses must be aligned, also where others need not be"
            }
            Hint::KernelFloat => "the kernel has no floating-point and SIMD registers: they are the program's",
            Hint::Asynchronous => "an SError is asynchronous: the instruction at PC need not be its cause",
            Hint::IllegalReturn => {
                "PSTATE.IL was set by an exception return whose SPSR is not allowed; PC is where it went"
            }
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::place::Area;
    use crate::record::{Pointer, Reached, Stack};
    use crate::signal::SigInfo;
    use std::string::ToString;

    const NULL: Option<Place> = Some(Place::Null);
    const GUARD: Place = Place::Guard { stack: StackKind::Task, task: Some(7), below: 12 };
    const SP: u64 = 0xffff_ff80_0040_4000;
    const TRANSLATION: u64 = 0x07;
    const PERMISSION: u64 = 0x0f;
    const ALIGNMENT: u64 = 0x21;
    const WRITE: u64 = 1 << 6;
    const MAINTENANCE: u64 = 1 << 8;
    /// ldr x1, [x3, #0x18]
    const LOAD: u64 = 0xf940_0c61;

    /// An exception of class `ec`, from the level that the class says.
    fn exception(ec: Ec, iss: u64) -> Report {
        let lower = matches!(ec, Ec::DATA_ABORT_LOWER | Ec::INSTRUCTION_ABORT_LOWER);
        let slot = Some(if lower { Slot::El0Sync } else { Slot::El1hSync });
        Report { slot, esr: Hex(u64::from(ec.number()) << 26 | 1 << 25 | iss), ..Report::EMPTY }
    }

    /// A fault at `far`, which is PC too if it was fetched; SP is elsewhere.
    fn fault(ec: Ec, iss: u64, far: u64, place: Option<Place>) -> Report {
        Report { far: Hex(far), pc: Hex(far), place, sp: Hex(SP), ..exception(ec, iss) }
    }

    fn user(read: bool, write: bool, execute: bool) -> Option<Place> {
        Some(Place::User { area: Area::Mapped, read, write, execute })
    }

    fn with_register(report: &Report, register: u8, value: u64, place: Option<Place>) -> Report {
        let mut report = report.clone();
        match report.regs.get_mut(usize::from(register)) {
            Some(slot) => slot.0 = value,
            None => report.sp.0 = value,
        }
        report.pointers.extend(place.map(|place| Pointer { register, place }));
        report
    }

    #[track_caller]
    fn fires(report: &Report, hint: Hint) {
        assert!(hints(report).contains(&hint), "{:?}", hints(report));
    }

    #[track_caller]
    fn silent(report: &Report) {
        assert_eq!(hints(report), []);
    }

    #[test]
    fn nothing_seen_is_no_hint() {
        silent(&Report::EMPTY);
        silent(&exception(Ec::SVC64, 0));
        silent(&fault(Ec::DATA_ABORT_CURRENT, TRANSLATION, SP + 0x10_0000, Some(Place::KernelUnmapped)));
    }

    #[test]
    fn sp_in_a_guard_is_an_overflow() {
        let report = exception(Ec::DATA_ABORT_CURRENT, TRANSLATION);
        fires(&with_register(&report, 31, SP, Some(GUARD)), Hint::Overflow(None));
        fires(&with_register(&report, 31, SP, Some(Place::UserGuard { below: 8 })), Hint::Overflow(None));
        silent(&with_register(&report, 31, SP, Some(Place::KernelData)));
        silent(&with_register(&report, 3, SP, Some(GUARD)));
    }

    #[test]
    fn a_push_into_a_guard_is_an_overflow() {
        let at = |far| fault(Ec::DATA_ABORT_CURRENT, TRANSLATION | WRITE, far, Some(GUARD));
        fires(&at(SP - 16), Hint::Overflow(None));
        silent(&at(SP - 0x10_0000));
    }

    #[test]
    fn no_room_for_a_frame_is_an_overflow() {
        let stack = Stack { name: StackKind::Irq, low: Hex(SP), high: Hex(SP), overrun: 16, in_use: true };
        let mut report = Report { slot: Some(Slot::El1hIrq), ..Report::EMPTY };
        report.stacks.push(Stack { overrun: 0, ..stack.clone() }).unwrap();
        silent(&report);
        report.stacks.push(stack).unwrap();
        fires(&report, Hint::Overflow(None));
        let words = Hint::Overflow(None).words(&report).to_string();
        assert!(words.contains("interrupt stack"), "{words}");
    }

    #[test]
    fn the_longest_recursion_is_told() {
        let mut report = with_register(&exception(Ec::DATA_ABORT_CURRENT, TRANSLATION), 31, SP, Some(GUARD));
        let mut calls = |address, times| (0..times).all(|_| report.push_step(address, Reached::Call));
        assert!(calls(4, ROUNDS_MIN - 1) && calls(12, 20) && calls(8, 212) && calls(16, 1));
        fires(&report, Hint::Overflow(Some(Recursion { address: Hex(8), cycle: 1, frames: 212 })));
        report.chain.truncate(1);
        fires(&report, Hint::Overflow(None));
    }

    #[test]
    fn repeats_by_what_is_done_about_them() {
        for ec in [Ec::SYSTEM, Ec::WFX, Ec::BRK64, Ec::UNKNOWN] {
            fires(&Report { repeats: 1, ..exception(ec, 0) }, Hint::NotAdvanced);
            silent(&exception(ec, 0));
        }
        for ec in [Ec::DATA_ABORT_LOWER, Ec::INSTRUCTION_ABORT_LOWER] {
            fires(&Report { repeats: 1, ..fault(ec, PERMISSION, 8, None) }, Hint::ServedInVain);
            silent(&Report { repeats: 1, ..fault(ec, 0x10, 8, None) });
        }
        silent(&Report { repeats: 1, ..exception(Ec::SVC64, 0) });
    }

    #[test]
    fn an_interrupt_not_ended() {
        fires(&Report { not_ended: Some(27), ..Report::EMPTY }, Hint::NotEnded(27));
        silent(&Report { irq: Some(27), ..Report::EMPTY });
    }

    #[test]
    fn an_address_of_printable_bytes_is_text() {
        let text = u64::from_le_bytes(*b"hello wo");
        let at = |far| fault(Ec::DATA_ABORT_LOWER, TRANSLATION, far, None);
        fires(&at(text), Hint::Text(Hex(text)));
        silent(&at(text & !0xff));
        silent(&at(text | 0x80));
        // ESR says that there is no address.
        silent(&Report { far: Hex(text), ..exception(Ec::SVC64, 0) });
        // The base register rather than the address.
        let report = Report { instruction: Some(Hex(LOAD)), ..at(text + 0x18) };
        fires(&with_register(&report, 3, text, None), Hint::Text(Hex(text)));
        // As a PC.
        fires(&fault(Ec::PC_ALIGNMENT, 0, text, None), Hint::Text(Hex(text)));
    }

    #[test]
    fn a_base_register_without_a_pointer() {
        let report = Report { instruction: Some(Hex(LOAD)), ..fault(Ec::DATA_ABORT_LOWER, TRANSLATION, 0x18, NULL) };
        fires(&with_register(&report, 3, 0, None), Hint::BadBase(3));
        fires(&with_register(&report, 3, 0x10, None), Hint::BadBase(3));
        silent(&with_register(&report, 3, 0x40_0000, None));
        silent(&Report { instruction: None, ..report.clone() });
        silent(&with_register(&Report { place: Some(Place::Unmapped), ..report.clone() }, 3, 0x10, None));
        silent(&Report { pstate: Hex(0x10), ..report.clone() });
        let words = Hint::BadBase(3).words(&report).to_string();
        assert!(words.contains("x3 holds 0") && words.contains("24 bytes"), "{words}");
        // Below it, where no null page is.
        let below = Report { far: Hex(0xffff_ffff_ffff_fff0), place: Some(Place::KernelUnmapped), ..report.clone() };
        fires(&below, Hint::BadBase(3));
        assert!(!hints(&with_register(&below, 3, 8, None)).contains(&Hint::BadBase(3)));
        // Through SP.
        let report = Report { instruction: Some(Hex(LOAD | 31 << 5)), ..report };
        silent(&report);
        fires(&with_register(&report, 31, 0, None), Hint::BadBase(31));

        let far = 0x00ff_0000_0000_0018;
        let report = Report { instruction: Some(Hex(LOAD)), ..fault(Ec::DATA_ABORT_LOWER, TRANSLATION, far, None) };
        let report = Report { place: Some(Place::NonCanonical), ..report };
        fires(&with_register(&report, 3, far - 0x18, None), Hint::BadBase(3));
        silent(&with_register(&report, 3, 0x40_0000, None));
    }

    #[test]
    fn only_loads_and_stores_have_a_base() {
        for (word, register) in [
            (0xf940_0c61, Some(3)),  // ldr x1, [x3, #0x18]
            (0xa9bf_7bfd, Some(31)), // stp x29, x30, [sp, #-16]!
            (0x3dc0_0040, Some(2)),  // ldr q0, [x2]
            (0xc85f_7c41, Some(2)),  // ldxr x1, [x2]
            (0x4c40_7000, Some(0)),  // ld1 {v0.16b}, [x0]
            (0x5800_0041, None),     // ldr x1, literal
            (0x1d01_0440, None),     // cpyfm
            (0xd53b_0023, None),     // mrs x3, ctr_el0
            (0x8b03_0000, None),     // add x0, x0, x3
            (0xd503_201f, None),     // nop
        ] {
            let report = fault(Ec::DATA_ABORT_LOWER, TRANSLATION, 0, NULL);
            assert_eq!(base(&Report { instruction: Some(Hex(word)), ..report }), register, "{word:#x}");
        }
        let fetch = fault(Ec::INSTRUCTION_ABORT_LOWER, TRANSLATION, 0, NULL);
        assert_eq!(base(&Report { instruction: Some(Hex(LOAD)), ..fetch }), None);
    }

    #[test]
    fn a_bad_pc_and_where_it_came_from() {
        let report = fault(Ec::INSTRUCTION_ABORT_LOWER, TRANSLATION, 8, NULL);
        fires(&with_register(&report, 30, 8, None), Hint::BadReturn);
        let text = user(true, false, true);
        fires(&with_register(&report, 30, 0x40_0844, text), Hint::BadCall(Hex(0x40_0840)));
        silent(&with_register(&report, 30, 0x40_0842, text));
        silent(&with_register(&report, 30, 0x40_0844, user(true, true, false)));
        let read = fault(Ec::DATA_ABORT_LOWER, TRANSLATION, 8, NULL);
        silent(&with_register(&read, 30, 8, None));
    }

    #[test]
    fn user_memory_outside_the_window() {
        let report = fault(Ec::DATA_ABORT_CURRENT, PERMISSION, 0x40_0000, user(true, true, false));
        fires(&report, Hint::OutsideWindow);
        silent(&Report { place: Some(Place::Unmapped), ..report.clone() });
        silent(&Report { window: true, ..report.clone() });
        silent(&Report { place: NULL, ..report.clone() });
        silent(&Report { place: Some(Place::KernelUnmapped), ..report });
        silent(&fault(Ec::DATA_ABORT_CURRENT, 0x10, 0x40_0000, user(true, true, false)));
    }

    #[test]
    fn the_kernels_half() {
        let report = fault(Ec::DATA_ABORT_LOWER, PERMISSION, SP, Some(Place::KernelText));
        fires(&report, Hint::KernelHalf);
        silent(&Report { place: Some(Place::NonCanonical), ..report.clone() });
        silent(&fault(Ec::DATA_ABORT_CURRENT, PERMISSION, SP, Some(Place::KernelText)));
        silent(&fault(Ec::DATA_ABORT_LOWER, PERMISSION, 0x40_0000, Some(Place::Unmapped)));
    }

    #[test]
    fn rights_that_are_missing() {
        let at = |ec, iss, place| fault(ec, iss, 0x40_0000, place);
        let (read_only, none) = (user(true, false, false), user(false, false, false));
        let data = |iss, place| at(Ec::DATA_ABORT_LOWER, iss, place);
        fires(&data(PERMISSION | WRITE, read_only), Hint::NotWritable);
        fires(&data(TRANSLATION | WRITE, read_only), Hint::NotWritable);
        fires(&data(PERMISSION, user(false, false, true)), Hint::NotReadable);
        fires(&data(PERMISSION, none), Hint::NoAccess);
        silent(&data(PERMISSION | WRITE | MAINTENANCE, read_only));
        silent(&data(0x10 | WRITE, read_only));
        let kernel = at(Ec::DATA_ABORT_CURRENT, PERMISSION | WRITE, read_only);
        assert!(!hints(&kernel).contains(&Hint::NotWritable));
        fires(&Report { window: true, ..kernel }, Hint::NotWritable);

        fires(&at(Ec::INSTRUCTION_ABORT_LOWER, PERMISSION, read_only), Hint::NotExecutable);
        fires(&at(Ec::INSTRUCTION_ABORT_CURRENT, TRANSLATION, user(true, false, true)), Hint::NotExecutable);
        fires(&at(Ec::INSTRUCTION_ABORT_CURRENT, PERMISSION, Some(Place::KernelData)), Hint::NotExecutable);
        silent(&at(Ec::INSTRUCTION_ABORT_CURRENT, TRANSLATION, Some(Place::KernelUnmapped)));
    }

    #[test]
    fn the_kernels_own_instructions_and_constants() {
        for place in [Place::KernelText, Place::KernelRodata] {
            let report = |ec, iss| fault(ec, iss, SP + 0x10_0000, Some(place));
            fires(&report(Ec::DATA_ABORT_CURRENT, PERMISSION | WRITE), Hint::KernelReadOnly);
            silent(&report(Ec::DATA_ABORT_CURRENT, PERMISSION));
            silent(&report(Ec::DATA_ABORT_CURRENT, TRANSLATION | WRITE));
            assert!(!hints(&report(Ec::DATA_ABORT_LOWER, PERMISSION | WRITE)).contains(&Hint::KernelReadOnly));
        }
    }

    #[test]
    fn a_map_that_allows_what_the_tables_do_not() {
        let report = fault(Ec::DATA_ABORT_LOWER, PERMISSION | WRITE, 0x40_0000, user(true, true, false));
        fires(&report, Hint::MapAllows);
        fires(&fault(Ec::INSTRUCTION_ABORT_LOWER, PERMISSION, 0x40_0000, user(true, false, true)), Hint::MapAllows);
        let killed = |signal| Some(SigInfo { signal, code: 0x80, addr: Hex(0) });
        silent(&Report { signal: killed(SIGKILL), ..report.clone() });
        fires(&Report { signal: killed(11), ..report.clone() }, Hint::MapAllows);
        assert_eq!(hints(&Report { repeats: 1, ..report.clone() }), [Hint::ServedInVain]);
        assert_eq!(hints(&Report { place: user(true, false, false), ..report.clone() }), [Hint::NotWritable]);
        silent(&Report { esr: Hex(report.esr.0 | MAINTENANCE), ..report });
    }

    #[test]
    fn instructions_that_memory_without_code_holds() {
        let undefined = |word| Report { instruction: Some(Hex(word)), ..exception(Ec::UNKNOWN, 0) };
        fires(&undefined(0), Hint::NoCode);
        fires(&undefined(0xffff_ffff), Hint::NoCode);
        silent(&undefined(1));
        silent(&exception(Ec::UNKNOWN, 0));
        silent(&Report { instruction: Some(Hex(0)), ..exception(Ec::SVC64, 0) });
    }

    #[test]
    fn instructions_of_higher_levels() {
        let undefined =
            |word| Report { slot: Some(Slot::El0Sync), instruction: Some(Hex(word)), ..exception(Ec::UNKNOWN, 0) };
        // mrs x0, sctlr_el1; msr vbar_el1, x0; tlbi vmalle1; hvc; smc; eret; eretaa; eretab
        for word in
            [0xd538_1000, 0xd518_c000, 0xd508_871f, 0xd400_0002, 0xd400_0003, 0xd69f_03e0, 0xd69f_0bff, 0xd69f_0fff]
        {
            fires(&undefined(word), Hint::Privileged);
            silent(&Report { slot: Some(Slot::El1hSync), ..undefined(word) });
            silent(&Report { esr: Hex(0x5600_0000), ..undefined(word) });
        }
        // mrs x0, ctr_el0; mrs x0, s3_0_c15_c0_0; cfinv; nop; svc; hlt; ret; add
        for word in
            [0xd53b_0020, 0xd538_f000, 0xd500_401f, 0xd503_201f, 0xd400_0001, 0xd440_0000, 0xd65f_03c0, 0x8b03_0000]
        {
            silent(&undefined(word));
        }
    }

    #[test]
    fn accesses_that_must_be_aligned() {
        let at = |iss, word| Report {
            instruction: Some(Hex(word)),
            ..fault(Ec::DATA_ABORT_LOWER, iss, 0x40_0001, user(true, true, false))
        };
        // ldxr x1, [x2]; ldar x1, [x2]; ldadd x0, x1, [x2]; casal x0, x1, [x2]
        for word in [0xc85f_7c41, 0xc8df_fc41, 0xf820_0041, 0xc8e0_fc41] {
            fires(&at(ALIGNMENT, word), Hint::UnalignedExclusive);
            assert!(!hints(&at(TRANSLATION, word)).contains(&Hint::UnalignedExclusive));
        }
        silent(&at(ALIGNMENT, LOAD));
    }

    #[test]
    fn floating_point_in_the_kernel() {
        fires(&exception(Ec::FP_SIMD, 0), Hint::KernelFloat);
        silent(&Report { slot: Some(Slot::El0Sync), ..exception(Ec::FP_SIMD, 0) });
    }

    #[test]
    fn exceptions_whose_pc_is_not_their_cause() {
        let serror = Report { slot: Some(Slot::El1hError), ..exception(Ec::SERROR, 0) };
        fires(&serror, Hint::Asynchronous);
        // An interrupt leaves ESR as it was.
        silent(&Report { slot: Some(Slot::El1hIrq), ..serror });
        fires(&exception(Ec::ILLEGAL_STATE, 0), Hint::IllegalReturn);
    }

    #[test]
    fn the_most_telling_come_first() {
        let report = with_register(&fault(Ec::DATA_ABORT_CURRENT, TRANSLATION, SP, None), 31, SP, Some(GUARD));
        let report = Report { repeats: 2, not_ended: Some(27), ..report };
        assert_eq!(hints(&report), [Hint::Overflow(None), Hint::ServedInVain, Hint::NotEnded(27)]);
    }
}
