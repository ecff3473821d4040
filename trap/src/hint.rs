//! What a report can hint at. [`crate::rules`] finds the hints and puts them in words.

use crate::hex::Hex;
use serde::{Deserialize, Serialize};

/// A hint.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Hint {
    /// SP is in the guard of a stack, or so near that what is pushed goes there; and the recursion that the chain shows.
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
    /// PC is bad, and what lr holds: as after a return.
    BadReturn,
    /// PC is bad; behind this address is what lr points at: where the jump came from, if it was a call.
    BadCall(Hex),
    /// The kernel touched a program's address while no user-access window was open.
    OutsideWindow,
    /// A program touched the kernel's half.
    KernelHalf,
    /// A write of the kernel to its own instructions or constants.
    KernelReadOnly,
    /// A read of memory of the program that is not readable.
    NotReadable,
    /// A write to memory of the program that is not writable.
    NotWritable,
    /// An instruction fetch from memory that is not executable, or not at this level.
    NotExecutable,
    /// The program's memory has no rights at all.
    NoAccess,
    /// The program's map allows the access, but the CPU did not.
    MapAllows,
    /// The undefined instruction is one that only EL1 and above have.
    Privileged,
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
