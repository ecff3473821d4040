//! What the state of a report shows that helps to find the mistake.
//!
//! Each rule is a function of the report that gives a hint or none, and says nothing that the state does not show. The
//! words are made when they are printed, from the same report.

use crate::esr::{Ec, Esr};
use crate::exception::{Abort, DataAccess, Exception};
use crate::fault::FaultStatus;
use crate::place::{Code, Count, KernelStack, Place, Program, is_kernel_half};
use crate::record::{Hex, Report, Step};
use crate::report::Register;
use core::fmt;
use heapless::Vec;
use linux_raw_sys::general::SIGKILL;
use serde::{Deserialize, Serialize};

/// A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// SP is in the guard of a stack, or next to it and the access went there; and the recursion that the chain shows.
    Overflow(Option<Recursion>),
    /// An instruction was emulated, and trapped again at the same PC.
    NotAdvanced,
    /// A page fault was served, and came again.
    ServedInVain,
    /// The interrupt was acknowledged but never ended.
    NotEnded(u32),
    /// The pointer that was used consists of printable characters: this is its value.
    Text(Hex),
    /// The base register of the load or store (31 is SP) holds no usable pointer.
    BadBase(u8),
    /// PC is bad, and what lr holds: a return went there.
    BadReturn,
    /// PC is bad; behind this address is what lr points at: where the jump came from, if it was a call.
    BadCall(Hex),
    /// The kernel touched a program's address while no user-access window was open.
    OutsideWindow,
    /// A program touched the kernel's half.
    KernelHalf,
    /// A write of the kernel to its own instructions or constants.
    KernelReadOnly,
    /// A write to memory that the program may only read.
    ReadOnly,
    /// An instruction fetch from memory that is not executable, or not at this level.
    NotExecutable,
    /// The program's memory has no rights at all.
    NoAccess,
    /// The program's map allows the access, but the CPU did not.
    MapAllows,
    /// The undefined instruction is 0 or all ones.
    NoCode,
    /// The access is one that must be aligned whatever the memory: exclusive, ordered or atomic.
    UnalignedExclusive,
    /// The kernel used floating-point or SIMD registers.
    KernelFloat,
    /// An SError does not belong to the instruction at PC.
    Asynchronous,
    /// PSTATE.IL comes from an exception return to a state that is not allowed.
    IllegalReturn,
}

/// A recursion in the chain of a report.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Recursion {
    /// A call in it.
    pub address: Hex,
    /// How many calls each round of it has.
    pub cycle: u32,
    /// How many frames it has in all.
    pub frames: u32,
}

/// The most telling first.
const RULES: [fn(&Report) -> Option<Hint>; 15] = [
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
    unaligned_exclusive,
    kernel_float,
    asynchronous,
    illegal_return,
];

/// What a report shows, the most telling first.
pub fn hints(report: &Report) -> Vec<Hint, 3> {
    RULES.iter().filter_map(|rule| rule(report)).take(3).collect()
}

/// SP less than this from an address: a push, or a function's locals, may have reached it.
const NEAR_SP: u64 = 4096;

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

/// The guard that SP is in, or that the access went to from just above it.
fn guard(report: &Report) -> Option<Place> {
    let is_guard = |place: &Place| matches!(place, Place::Guard { .. } | Place::UserGuard { .. });
    let reached = report.fault_address().is_some_and(|address| address.abs_diff(report.sp.0) < NEAR_SP);
    place_of_sp(report).filter(is_guard).or(report.place.filter(|place| reached && is_guard(place)))
}

fn place_of_sp(report: &Report) -> Option<Place> {
    report.pointers.iter().find(|pointer| pointer.register == 31).map(|pointer| pointer.place)
}

fn repeated(report: &Report) -> Option<Hint> {
    let esr = report.syndrome().filter(|_| report.repeats > 0)?;
    match esr.decode() {
        // What is emulated is stepped over.
        Exception::System(_) | Exception::System128(_) | Exception::Wait { .. } | Exception::Brk(_) => {
            Some(Hint::NotAdvanced)
        }
        Exception::Unknown => Some(Hint::NotAdvanced),
        _ => mapping_fault(esr).map(|_| Hint::ServedInVain),
    }
}

/// An abort that a change of the tables can cure.
fn mapping_fault(esr: Esr) -> Option<Abort> {
    match esr.decode() {
        Exception::InstructionAbort(abort) | Exception::DataAbort(abort, _) => Some(abort),
        _ => None,
    }
    .filter(|abort| {
        matches!(abort.status, FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_))
    })
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

/// The base register of a load or store (31 is SP), by its encoding (Arm ARM, "Loads and Stores").
fn base(report: &Report) -> Option<u8> {
    let word = report.a64()?;
    let load_or_store = word & 0x0a00_0000 == 0x0800_0000;
    let literal = word & 0x3b00_0000 == 0x1800_0000;
    let copy_or_set = word & 0x3b20_0c00 == 0x1900_0400;
    (load_or_store && !literal && !copy_or_set).then_some((word >> 5 & 0x1f) as u8)
}

fn text(report: &Report) -> Option<Hint> {
    let address = report.fault_address()?;
    let base = base(report).map(|register| report.register(register)).filter(|base| address.abs_diff(*base) < 4096);
    let pointers = [faulting_pc(report), base, Some(address)];
    let readable = |value: &u64| value.to_le_bytes().iter().all(|byte| matches!(byte, b' '..=b'~'));
    pointers.into_iter().flatten().find(readable).map(|value| Hint::Text(Hex(value)))
}

fn bad_base(report: &Report) -> Option<Hint> {
    let register = base(report)?;
    let (address, base) = (report.fault_address()?, report.register(register));
    let Exception::DataAbort(..) = report.syndrome()?.decode() else { return None };
    let bad = match report.place? {
        // What is not above it is as near to null.
        Place::Null => base <= address,
        Place::NonCanonical => address.abs_diff(base) < 4096,
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
    let user = matches!(report.place?, Place::User { .. } | Place::UserGuard { .. } | Place::Unmapped);
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
        (Exception::DataAbort(_, access), place) if is_write(access) => match place {
            Place::User { write: false, .. } => Some(Hint::ReadOnly),
            Place::KernelText | Place::KernelRodata if !abort.lower && permission => Some(Hint::KernelReadOnly),
            _ => None,
        },
        _ => None,
    }
}

/// Cache maintenance reports a write but needs no more than a read.
fn is_write(access: DataAccess) -> bool {
    access.write && !access.maintenance
}

fn map_allows(report: &Report) -> Option<Hint> {
    let esr = report.syndrome()?;
    let abort = mapping_fault(esr)?;
    let Some(Place::User { read, write, execute, .. }) = report.place else { return None };
    let allowed = match esr.decode() {
        Exception::DataAbort(_, access) if is_write(access) => write,
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
        let code = |address: Hex| Code { address: address.0, program: &report.name };
        f.write_str(match hint {
            Hint::Overflow(recursion) => {
                f.write_str(if place_of_sp(report) == guard(report) { "SP is inside" } else { "SP has reached" })?;
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
                "the page fault was served and came again: the entry that was written does not allow it, or the TLB is stale"
            }
            Hint::NotEnded(irq) => return write!(f, "interrupt {irq} was acknowledged but never ended"),
            Hint::Text(value) => {
                let bytes = value.0.to_le_bytes();
                let text = core::str::from_utf8(&bytes).unwrap_or_default();
                return write!(f, "{value} reads as text: in memory it is `{text}`");
            }
            Hint::BadBase(register) => {
                let (base, address) = (report.register(register), report.far.0);
                let name = Register(register);
                return match (base, address) {
                    (0, 0) => write!(f, "{name} holds 0, a null pointer"),
                    (0, _) => {
                        let offset = Count(address, "byte");
                        write!(f, "{name} holds 0, a null pointer; the access was {offset} behind it")
                    }
                    _ => write!(f, "{name} holds {base:#x}, which is no pointer"),
                };
            }
            Hint::BadReturn => "PC is what lr holds: a return went to an address that holds no code to execute",
            Hint::BadCall(address) => {
                return write!(f, "lr points behind {}: where the jump came from, if it was a call", code(address));
            }
            Hint::OutsideWindow => {
                "the kernel touched user memory outside an access window: it is reached only through uaccess"
            }
            Hint::KernelHalf => "the address is in the kernel's half, which no program may touch",
            Hint::KernelReadOnly => "the kernel's instructions and constants are mapped read-only, for itself too",
            Hint::ReadOnly => "this was a write, and the memory is mapped without the right to write",
            Hint::NotExecutable if report.slot.is_some_and(|slot| slot.from_el1()) => {
                "the kernel jumped to memory that it may not execute"
            }
            Hint::NotExecutable => "the program jumped to memory that is mapped without the right to execute",
            Hint::NoAccess => "the memory is mapped without any right (PROT_NONE)",
            Hint::MapAllows => "the program's map allows this access, but its page tables do not",
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
