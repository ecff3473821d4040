//! What an address belongs to, as far as the one who looked could tell: the kernel knows its own map and that of the task.

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
        physical: crate::record::Hex,
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
