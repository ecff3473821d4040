//! What an address belongs to, as far as the one who looked could tell: the kernel knows its own map and that of the task.

use crate::hex::Hex;
use core::fmt;
use serde::{Deserialize, Serialize};

/// What an address belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Place {
    /// Below the first address that a program may use: a null pointer, with an offset or without.
    Null,
    /// An address that a program may use, where this one has nothing.
    Unmapped,
    /// Memory of the program.
    User {
        /// Which.
        area: Area,
        /// Its rights. None at all is `PROT_NONE`.
        read: bool,
        /// As `read`.
        write: bool,
        /// As `read`.
        execute: bool,
    },
    /// Below the program's stack, where it grows no further.
    UserGuard {
        /// Bytes below the lowest address that the stack may reach.
        below: u64,
    },
    /// Of neither half: bits above the address size are neither all 0 nor all 1.
    NonCanonical,
    /// The kernel's instructions.
    KernelText,
    /// The kernel's constants.
    KernelRodata,
    /// The kernel's variables.
    KernelData,
    /// RAM, by the linear map.
    Ram {
        /// Its physical address.
        physical: Hex,
    },
    /// Registers of a device.
    Device,
    /// A kernel stack.
    Stack {
        /// Which.
        stack: StackKind,
        /// Of this task, if it is a task's.
        task: Option<u32>,
        /// Bytes above the lowest address of the stack.
        above: u64,
    },
    /// The guard below a kernel stack.
    Guard {
        /// Which.
        stack: StackKind,
        /// Of this task, if it is a task's.
        task: Option<u32>,
        /// Bytes below the lowest address of the stack.
        below: u64,
    },
    /// In the kernel's half, where nothing is mapped.
    KernelUnmapped,
}

/// What a program's memory is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Area {
    /// A segment of its file.
    Image,
    /// What `brk` moves.
    Heap,
    /// Its stack.
    Stack,
    /// Mapped by `mmap`.
    Mapped,
}

/// Which kernel stack.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StackKind {
    /// A task's.
    Task,
    /// The one a CPU handles interrupts on.
    Irq,
    /// The one a CPU reports overflows on.
    Overflow,
    /// The one the kernel starts on.
    Boot,
}

impl fmt::Display for StackKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            StackKind::Task => "task",
            StackKind::Irq => "interrupt",
            StackKind::Overflow => "overflow",
            StackKind::Boot => "boot",
        })
    }
}

impl Place {
    /// The place in words, as that of `address`, while the program called `program` was running.
    pub fn words(self, address: u64, program: &str) -> Words<'_> {
        Words { place: self, address, program }
    }
}

/// A place in words; see [`Place::words`].
#[derive(Clone, Copy, Debug)]
pub struct Words<'a> {
    place: Place,
    address: u64,
    program: &'a str,
}

impl fmt::Display for Words<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let code = Code { address: self.address, program: self.program, whole: false };
        let program = Program(self.program);
        match self.place {
            Place::Null if self.address == 0 => f.write_str("a null pointer"),
            Place::Null => write!(f, "{} from a null pointer", Count(self.address, "byte")),
            Place::Unmapped => f.write_str("nothing is mapped there"),
            Place::User { area, read, write, execute } => {
                let name = match area {
                    Area::Image if execute => "text",
                    Area::Image if write => "data",
                    Area::Image => "constants",
                    Area::Heap => "heap",
                    Area::Stack => "stack",
                    Area::Mapped => "mapped memory",
                };
                let rights = match (read, write, execute) {
                    (false, false, false) => "without access",
                    (false, false, true) => "execute-only",
                    (true, false, true) if area != Area::Image => "read-only, executable",
                    (true, false, _) => "read-only",
                    (_, true, false) => "writable",
                    (_, true, true) => "writable, executable",
                };
                write!(f, "user {name}, {rights}, of {program}")?;
                if area == Area::Image && execute { write!(f, ": {code}") } else { Ok(()) }
            }
            Place::UserGuard { below } => write!(f, "{} below the stack of {program}: its guard", Count(below, "byte")),
            Place::NonCanonical => f.write_str("no address: its upper bits are neither all 0 nor all 1"),
            Place::KernelText => write!(f, "kernel text, read-only: {code}"),
            Place::KernelRodata => write!(f, "kernel constants, read-only: {code}"),
            Place::KernelData => write!(f, "kernel variables: {code}"),
            Place::Ram { physical } => write!(f, "RAM at physical address {:#x}", physical.0),
            Place::Device => f.write_str("registers of a device"),
            Place::Stack { stack, task, above } => {
                write!(f, "{}, {} above its lowest address", KernelStack(stack, task), Count(above, "byte"))
            }
            Place::Guard { stack, task, below } => {
                write!(f, "{} below {}: its guard page", Count(below, "byte"), KernelStack(stack, task))
            }
            Place::KernelUnmapped => f.write_str("in the kernel's half, where nothing is mapped"),
        }
    }
}

/// A kernel stack in words, with the task that it belongs to.
pub(crate) struct KernelStack(pub StackKind, pub Option<u32>);

impl fmt::Display for KernelStack {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match *self {
            KernelStack(StackKind::Task, Some(task)) => write!(f, "the kernel stack of task {task}"),
            KernelStack(stack, Some(task)) => write!(f, "the {stack} stack of task {task}"),
            KernelStack(stack, None) => write!(f, "the {stack} stack"),
        }
    }
}

/// The name of a program, in words.
pub(crate) struct Program<'a>(pub &'a str);

impl fmt::Display for Program<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            "" => f.write_str("the program"),
            name => write!(f, "`{}`", Printable(name)),
        }
    }
}

/// Text of one line: with control characters as spaces.
pub(crate) struct Printable<'a>(pub &'a str);

impl fmt::Display for Printable<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut parts = self.0.split(char::is_control);
        f.write_str(parts.next().unwrap_or_default())?;
        parts.try_for_each(|part| write!(f, " {part}"))
    }
}

/// So many of something, in words.
pub(crate) struct Count(pub u64, pub &'static str);

impl fmt::Display for Count {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}{}", self.0, self.1, if self.0 == 1 { "" } else { "s" })
    }
}

/// Whether an address is translated by TTBR1, which maps the kernel.
pub(crate) const fn is_kernel_half(address: u64) -> bool {
    address >> 55 & 1 == 1
}

/// The address of an instruction, or of something that has a name: what the tool on the host finds a name for stands in a
/// token. In the lower half it is looked for in `program`, and so it is in both if that is a `whole` system: a guest, or the hypervisor.
pub(crate) struct Code<'a> {
    pub address: u64,
    pub program: &'a str,
    pub whole: bool,
}

impl fmt::Display for Code<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Code { address, program, whole } = *self;
        // These would end the token early, or break the line.
        let breaks = |c: char| matches!(c, ':' | '<' | '>') || c.is_control();
        match (is_kernel_half(address) && !whole, program) {
            (true, _) => write!(f, "[<{address:016x}>]"),
            (_, "") => write!(f, "{address:016x}"),
            (_, program) if program.contains(breaks) => write!(f, "{address:016x}"),
            (_, program) => write!(f, "[<{program}:{address:016x}>]"),
        }
    }
}
