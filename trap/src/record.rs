//! What the machine tells tools: one type a record, each written as one JSON line.
//!
//! On the console a record is framed as RFC 7464 does it, ASCII RS (0x1e), the JSON text, LF, so that it can be told from
//! what programs print; the kernel never lets an RS from EL0 through.

use crate::slot::Slot;
use core::fmt;
use heapless::{String, Vec};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error as _};

/// Opens a record on the console (RFC 7464); LF closes it.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// The version of all records below.
pub const SCHEMA: u32 = 1;

/// Return addresses kept in a report.
pub const BACKTRACE_DEPTH: usize = 48;

/// A 64-bit value, written in JSON as a string `"0x..."`: a JSON number holds 53 bits in many tools.
#[derive(Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Hex(pub u64);

impl fmt::Display for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:#018x}", self.0)
    }
}

impl fmt::Debug for Hex {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Hex {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Hex {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = <String<18>>::deserialize(deserializer)?;
        let digits = text.strip_prefix("0x").ok_or_else(|| D::Error::custom("a hexadecimal string begins with 0x"))?;
        if digits.starts_with('+') {
            return Err(D::Error::custom("a hexadecimal string has no sign"));
        }
        u64::from_str_radix(digits, 16).map(Hex).map_err(D::Error::custom)
    }
}

/// Which record a line is; its field `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Panic`].
    Panic,
    /// [`Death`].
    Death,
    /// [`Counters`].
    Counters,
    /// [`Ktest`].
    Ktest,
}

/// A kernel stack in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// `task`, `irq`, `overflow`, or `boot`.
    pub name: String<16>,
    /// Lowest address.
    pub low: Hex,
    /// One past the highest address.
    pub high: Hex,
    /// How many bytes SP had gone below `low`; 0 when this stack was not overrun.
    pub overrun: u64,
    /// Whether this is the stack that was in use.
    pub in_use: bool,
}

/// The kernel stopped: what its report says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Panic {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Panic`].
    pub kind: Kind,
    /// What went wrong, in one sentence.
    pub cause: String<192>,
    /// The vector slot of the exception; none when Rust code panicked.
    pub slot: Option<Slot>,
    /// The CPU, counted from 0.
    pub cpu: u32,
    /// The task's identifier; 0 is the idle task.
    pub task: u32,
    /// The task's name.
    pub name: String<16>,
    /// Syndrome.
    pub esr: Hex,
    /// Fault address; only meaningful where the syndrome says so.
    pub far: Hex,
    /// The interrupted PC.
    pub pc: Hex,
    /// The interrupted PSTATE.
    pub pstate: Hex,
    /// The interrupted SP.
    pub sp: Hex,
    /// x0..x30.
    pub regs: [Hex; 31],
    /// The stacks of this CPU and task.
    pub stacks: Vec<Stack, 4>,
    /// Return addresses, innermost first.
    pub backtrace: Vec<Hex, BACKTRACE_DEPTH>,
}

/// A task died of a signal.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Death {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Death`].
    pub kind: Kind,
    /// The task's identifier.
    pub task: u32,
    /// The task's name.
    pub name: String<16>,
    /// Signal number.
    pub signal: u32,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`.
    pub addr: Hex,
    /// Syndrome of the fault; 0 when a signal was sent by a task.
    pub esr: Hex,
    /// The task's PC.
    pub pc: Hex,
    /// The cause, in one sentence.
    pub cause: String<192>,
}

/// How often one kind of exception was taken.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Count {
    /// The vector slot.
    pub slot: Slot,
    /// ESR_ELx.EC, for the synchronous slots.
    pub ec: Option<u8>,
    /// How often.
    pub count: u64,
}

/// What the machine counted, written when it powers off.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Counters {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Counters`].
    pub kind: Kind,
    /// Exceptions taken, by slot and class; those never taken are left out.
    pub exceptions: Vec<Count, 80>,
    /// System calls made.
    pub syscalls: u64,
    /// Timer ticks.
    pub ticks: u64,
    /// Interrupts acknowledged as spurious (INTID 1020..1023).
    pub spurious: u64,
    /// Interrupts that nobody had asked for.
    pub unexpected: u64,
    /// Switches from one task to another.
    pub switches: u64,
    /// Of these, the ones that the running task did not ask for.
    pub preemptions: u64,
}

/// The verdict of an in-kernel test that came back.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ktest {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Ktest`].
    pub kind: Kind,
    /// The test's name.
    pub name: String<32>,
    /// Whether it held.
    pub passed: bool,
    /// What failed, in words; empty when it passed.
    pub why: String<192>,
}
