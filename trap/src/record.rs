//! What the machine tells tools: one type a record, each written as one JSON line.
//!
//! On the console a record is framed as RFC 7464 does it, ASCII RS (0x1e), the JSON text, LF, so that it can be told from
//! what programs print; the kernel never lets an RS from EL0 through.

use crate::esr::Esr;
pub use crate::hex::Hex;
use crate::hint::Hint;
use crate::place::{Place, StackKind};
use crate::signal::SigInfo;
use crate::slot::Slot;
use heapless::{String, Vec};
use serde::{Deserialize, Serialize};

/// Opens a record on the console (RFC 7464); LF closes it.
pub const RECORD_SEPARATOR: u8 = 0x1e;

/// The version of all records below.
pub const SCHEMA: u32 = 1;

/// No record is longer, in bytes of JSON without the frame.
pub const RECORD_MAX: usize = 16384;

/// Steps kept in a report.
pub const CHAIN_DEPTH: usize = 48;

/// The longest cycle of calls that [`Report::push_step`] finds.
const CYCLE_MAX: usize = 4;

/// Which record a line is; its field `kind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Kind {
    /// [`Report`]: the kernel stopped.
    Panic,
    /// [`Report`]: a task died of a signal.
    Death,
    /// [`Report`]: the kernel found something wrong and went on.
    Warning,
    /// [`Report`]: the hypervisor stopped.
    HypPanic,
    /// [`Counters`].
    Counters,
    /// [`Ktest`].
    Ktest,
    /// [`Cost`].
    Cost,
}

/// A kernel stack in a report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stack {
    /// Which.
    pub name: StackKind,
    /// Lowest address.
    pub low: Hex,
    /// One past the highest address.
    pub high: Hex,
    /// How many bytes SP had gone below `low`; 0 when this stack was not overrun.
    pub overrun: u64,
    /// Whether this is the stack that was in use.
    pub in_use: bool,
}

/// How an address got into a [`Report::chain`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reached {
    /// The instruction there called the function of the step before.
    Call,
    /// The instruction there was interrupted by an exception, whose handler is the step before.
    Exception {
        /// The slot it came through.
        slot: Slot,
        /// Its syndrome, where it has one.
        esr: Option<Hex>,
    },
}

/// One step of the way that led to a report, from the inside out. The first is the PC itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Step {
    /// The address of an instruction; below the kernel's half it is the program's.
    pub address: Hex,
    /// What happened there.
    pub reached: Reached,
    /// How many steps, this one the last of them, were gone through again and again: 0 for none. Those before this one may
    /// be cycles themselves, within this one.
    pub cycle: u32,
    /// How often these steps come in all, if `cycle` is not 0.
    pub times: u32,
}

/// What a register points at.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pointer {
    /// 0 to 30 for x0..x30, 31 for SP.
    pub register: u8,
    /// What is there.
    pub place: Place,
}

/// The vCPU that a CPU of the hypervisor ran, as it was when the hypervisor was entered from it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Running {
    /// Its guest's number, counted from 1.
    pub guest: u32,
    /// The guest's name.
    pub name: String<16>,
    /// Its number in the guest.
    pub vcpu: u32,
    /// Its PC.
    pub pc: Hex,
    /// Its PSTATE.
    pub pstate: Hex,
    /// Its ESR_EL1: of the last exception that it took itself.
    pub esr: Hex,
    /// Its ELR_EL1: where that is to return to.
    pub elr: Hex,
    /// HPFAR_EL2: of the last fault of stage 2.
    pub hpfar: Hex,
}

/// A program, or the kernel, could not go on from an exception, or the kernel found something wrong: all that was seen.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Report {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Panic`], [`Kind::Death`], [`Kind::Warning`] or [`Kind::HypPanic`].
    pub kind: Kind,
    /// What went wrong, in one sentence.
    pub cause: String<192>,
    /// The vector slot of the exception; none when Rust code stopped by itself, or when a task sent the signal. Of the hypervisor,
    /// the slot in the same place of its table ([`Slot::hyp_name`]).
    pub slot: Option<Slot>,
    /// What the task died of.
    pub signal: Option<SigInfo>,
    /// The CPU, counted from 0.
    pub cpu: u32,
    /// The task's identifier; 0 is the idle task.
    pub task: u32,
    /// The task's name. Of the hypervisor, whose code PC is in: its own, `hyp`, or a guest's.
    pub name: String<16>,
    /// What the hypervisor ran.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub running: Option<Running>,
    /// The interrupt being handled.
    pub irq: Option<u32>,
    /// An interrupt that the controller has as active (acknowledged, not ended) though no handler runs for it.
    pub not_ended: Option<u32>,
    /// Syndrome.
    pub esr: Hex,
    /// Fault address; only meaningful where the syndrome says so.
    pub far: Hex,
    /// What is at the fault address.
    pub place: Option<Place>,
    /// The interrupted PC.
    pub pc: Hex,
    /// The instruction there, if it could be read.
    pub instruction: Option<Hex>,
    /// The interrupted PSTATE.
    pub pstate: Hex,
    /// The interrupted SP.
    pub sp: Hex,
    /// x0..x30.
    pub regs: [Hex; 31],
    /// Whether a window to user memory was open.
    pub window: bool,
    /// How often this very exception (PC, syndrome, fault address) was handled before it came again, with nothing in between.
    pub repeats: u32,
    /// The registers that point at something.
    pub pointers: Vec<Pointer, 32>,
    /// The stacks of this CPU and task.
    pub stacks: Vec<Stack, 4>,
    /// The way there, from the PC outwards.
    pub chain: Vec<Step, CHAIN_DEPTH>,
    /// What the rest shows that helps to find the mistake.
    pub hints: Vec<Hint, 3>,
}

impl Report {
    /// Nothing seen.
    pub const EMPTY: Report = Report {
        schema: SCHEMA,
        kind: Kind::Panic,
        cause: String::new(),
        slot: None,
        signal: None,
        cpu: 0,
        task: 0,
        name: String::new(),
        running: None,
        irq: None,
        not_ended: None,
        esr: Hex(0),
        far: Hex(0),
        place: None,
        pc: Hex(0),
        instruction: None,
        pstate: Hex(0),
        sp: Hex(0),
        regs: [Hex(0); 31],
        window: false,
        repeats: 0,
        pointers: Vec::new(),
        stacks: Vec::new(),
        chain: Vec::new(),
        hints: Vec::new(),
    };

    /// Appends a step to the chain; calls that come again and again, as in a recursion, only count. False when there is no
    /// room for more.
    pub fn push_step(&mut self, address: u64, reached: Reached) -> bool {
        if self.chain.push(Step { address: Hex(address), reached, cycle: 0, times: 0 }).is_err() {
            return false;
        }
        for cycle in 1..=CYCLE_MAX {
            let Some(start) = self.chain.len().checked_sub(2 * cycle) else { break };
            let (before, round) = self.chain[start..].split_at_mut(cycle);
            if goes_through_again(before, round) {
                let last = &mut before[cycle - 1];
                *last = Step { cycle: cycle as u32, times: last.times.max(1).saturating_add(1), ..*last };
                self.chain.truncate(start + cycle);
                break;
            }
        }
        true
    }

    /// The syndrome, if the exception has one.
    pub fn syndrome(&self) -> Option<Esr> {
        self.slot.filter(|slot| slot.has_syndrome()).map(|_| Esr(self.esr.0))
    }

    /// The fault address, if the exception has one.
    pub fn fault_address(&self) -> Option<u64> {
        self.syndrome().filter(|esr| esr.far_valid()).map(|_| self.far.0)
    }
}

/// Whether `round`, which ends in the step just added, goes through the calls of `before` once more. `before` is as long,
/// and may be a cycle already.
fn goes_through_again(before: &[Step], round: &[Step]) -> bool {
    let (Some((last, before)), Some((new, round))) = (before.split_last(), round.split_last()) else { return false };
    before == round
        && (last.address, last.reached) == (new.address, new.reached)
        && (last.cycle == 0 || last.cycle as usize == before.len() + 1)
        && new.reached == Reached::Call
        // A cycle that begins before the round is not part of it.
        && round.iter().zip(1..).all(|(step, length)| step.reached == Reached::Call && step.cycle <= length)
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

/// What an operation costs, as one of the programs found that are made for this.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Cost {
    /// [`SCHEMA`].
    pub schema: u32,
    /// [`Kind::Cost`].
    pub kind: Kind,
    /// Which operation.
    pub row: String<24>,
    /// How often it was done.
    pub count: u64,
    /// What that took: ticks of the counter; bytes, where memory is measured.
    pub ticks: u64,
}
