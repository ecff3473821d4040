//! A report for people: `{report}` in full, `{report.brief()}` in a few lines.
//!
//! Addresses of code, and the instruction, stand in tokens that the tool on the host puts names, lines and assembler in
//! place of; without it they can be read as they are:
//!
//! | token | is |
//! |---|---|
//! | `[<ffffffc080001234>]` | an address in the kernel's image |
//! | `[<crash:0000000000400844>]` | an address in the program `crash`; of the hypervisor, in the guest of that name, or in itself: `hyp` |
//! | `[<insn:d65f03c0>]` | an instruction of A64 |

use crate::esr::Esr;
use crate::place::{Code, Count, Place, Printable};
use crate::pstate::{Mode, Pstate};
use crate::record::{CHAIN_DEPTH, Hex, Kind, Reached, Report, Running, Stack, Step};
use crate::signal::{code_name, signal_name};
use crate::slot::Slot;
use core::fmt::{self, Write};
use heapless::String;

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", Cause(self))?;
        what(self, f)?;
        if self.has_registers() {
            registers(self, f)?;
        }
        stacks(&self.stacks, f)?;
        chain(self, f)?;
        self.hints.iter().try_for_each(|hint| writeln!(f, "hint: {}", hint.words(self)))
    }
}

/// A report in a few lines.
#[derive(Clone, Copy, Debug)]
pub struct Brief<'a>(&'a Report);

impl Report {
    /// The report in two to four lines, for deaths that others live on after.
    pub fn brief(&self) -> Brief<'_> {
        Brief(self)
    }

    /// Whether x0..x30 are known: of a panic of Rust code only PC, SP and the frame pointer are.
    fn has_registers(&self) -> bool {
        self.slot.is_some() || self.signal.is_some()
    }

    fn code(&self, address: u64) -> Code<'_> {
        Code { address, program: &self.name, whole: self.kind == Kind::HypPanic }
    }

    /// The value of a general-purpose register by number, where 31 is SP.
    pub(crate) fn register(&self, number: u8) -> u64 {
        self.regs.get(usize::from(number)).unwrap_or(&self.sp).0
    }

    /// The instruction at PC, if it is one of A64, and it was an exception that stopped there.
    pub(crate) fn a64(&self) -> Option<u32> {
        let a64 = !matches!(Pstate(self.pstate.0).mode(), Mode::A32(_));
        self.instruction.filter(|_| a64 && self.slot.is_some()).map(|word| word.0 as u32)
    }
}

impl fmt::Display for Brief<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Brief(report) = *self;
        write!(f, "{}\n  at {}", Cause(report), report.code(report.pc.0))?;
        if let Some(word) = report.a64() {
            write!(f, ": {}", Instruction(word))?;
        }
        writeln!(f)?;
        if let Some(address) = report.fault_address() {
            writeln!(f, "  address {}", Address(address, report))?;
        }
        // The first is the most telling.
        report.hints.first().map_or(Ok(()), |hint| writeln!(f, "  hint: {}", hint.words(report)))
    }
}

/// What happened, in one sentence.
struct Cause<'a>(&'a Report);

impl fmt::Display for Cause<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Cause(report) = self;
        match (report.kind, report.signal) {
            (Kind::Death, Some(info)) => {
                let (signal, code) = (signal_name(info.signal), code_name(info.signal, info.code));
                write!(f, "{} killed by {signal} ({code})", Task(report))
            }
            (Kind::Death, None) => write!(f, "{} died", Task(report)),
            (Kind::Warning, _) => f.write_str("kernel warning"),
            (Kind::HypPanic, _) => f.write_str("hypervisor panic"),
            _ => f.write_str("kernel panic"),
        }?;
        write!(f, ": {}", Printable(&report.cause))
    }
}

/// The task, with its name if it has one.
struct Task<'a>(&'a Report);

impl fmt::Display for Task<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "task {}", self.0.task)?;
        match self.0.name.as_str() {
            "" => Ok(()),
            name => write!(f, " ({})", Printable(name)),
        }
    }
}

/// The instruction, for the tool on the host to disassemble.
struct Instruction(u32);

impl fmt::Display for Instruction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "[<insn:{:08x}>]", self.0)
    }
}

/// The fault address, and what is there.
struct Address<'a>(u64, &'a Report);

impl fmt::Display for Address<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Address(address, report) = *self;
        write!(f, "{}", Hex(address))?;
        report.place.map_or(Ok(()), |place| write!(f, ": {}", place.words(address, &report.name)))
    }
}

/// What happened, where, and to whom.
fn what(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    writeln!(f, "  at           {}", report.code(report.pc.0))?;
    if let Some(word) = report.a64() {
        writeln!(f, "  instruction  {}", Instruction(word))?;
    }
    if let Some(address) = report.fault_address() {
        writeln!(f, "  address      {}", Address(address, report))?;
    }
    // Only a fault has an address; a signal that a task sent has not.
    if let Some(info) = report.signal.filter(|_| report.slot.is_some()) {
        writeln!(f, "  si_addr      {}", info.addr)?;
    }
    if !report.has_registers() {
        writeln!(f, "  SP           {}", report.sp)?;
    }
    writeln!(f, "  PSTATE       {}: {}", report.pstate, Pstate(report.pstate.0))?;
    write!(f, "  on           CPU {}, ", report.cpu)?;
    match (&report.running, report.kind) {
        (Some(Running { guest, name, vcpu, .. }), _) => write!(f, "guest {guest} ({}), vCPU {vcpu}", Printable(name))?,
        (None, Kind::HypPanic) => f.write_str("idle")?,
        (None, _) => write!(f, "{}", Task(report))?,
    }
    if let Some(irq) = report.irq {
        write!(f, ", handling interrupt {irq}")?;
    }
    writeln!(f, "{}", if report.window { ", with a user-access window open" } else { "" })?;
    if report.repeats > 0 {
        writeln!(f, "  repeats      handled {}, and came again", Count(report.repeats.into(), "time"))?;
    }
    if let Some(slot) = report.slot {
        write!(f, "exception: {}", SlotName(slot, report.kind))?;
        match report.syndrome() {
            Some(esr) => write!(f, ", ESR {}\n{}", report.esr, esr.table())?,
            None => writeln!(f)?,
        }
    }
    report.running.as_ref().map_or(Ok(()), |running| guest(running, f))
}

/// A slot of the kernel's table, or of the hypervisor's.
struct SlotName(Slot, Kind);

impl fmt::Display for SlotName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.1 == Kind::HypPanic { self.0.hyp_name() } else { self.0.name() })
    }
}

/// What the hypervisor ran, in the guest's own terms.
fn guest(running: &Running, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    let code = |address| Code { address, program: &running.name, whole: true };
    writeln!(f, "guest {} ({}), vCPU {}:", running.guest, Printable(&running.name), running.vcpu)?;
    writeln!(f, "  at           {}", code(running.pc.0))?;
    writeln!(f, "  PSTATE       {}: {}", running.pstate, Pstate(running.pstate.0))?;
    writeln!(f, "  ESR_EL1      {}: {}", running.esr, Esr(running.esr.0).sentence(None))?;
    writeln!(f, "  ELR_EL1      {}", code(running.elr.0))?;
    writeln!(f, "  HPFAR_EL2    {}", running.hpfar)
}

/// A general-purpose register by number, where 31 is SP.
pub(crate) struct Register(pub u8);

impl fmt::Display for Register {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            30 => f.pad("lr"),
            31 => f.pad("sp"),
            number => {
                let mut name = String::<4>::new();
                write!(name, "x{number}")?;
                f.pad(&name)
            }
        }
    }
}

/// The registers four a line, and what they point at.
fn registers(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    f.write_str("registers:\n")?;
    for (number, value) in (0..).zip(report.regs.iter().chain([&report.sp])) {
        write!(f, "{:>5} {:016x}{}", Register(number), value.0, if number % 4 == 3 { "\n" } else { "" })?;
    }
    report.pointers.iter().try_for_each(|pointer| {
        let value = report.register(pointer.register);
        let name = Register(pointer.register);
        match pointer.place {
            // The call is what it is about: behind it may be another function.
            Place::KernelText | Place::User { execute: true, .. }
                if pointer.register == 30 && value.is_multiple_of(4) =>
            {
                writeln!(f, "{name:>5} -> behind {}", report.code(value.wrapping_sub(4)))
            }
            place => writeln!(f, "{name:>5} -> {}", place.words(value, &report.name)),
        }
    })
}

fn stacks(stacks: &[Stack], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !stacks.is_empty() {
        f.write_str("stacks:\n")?;
    }
    for stack in stacks {
        write!(f, "  {:<9}  {:016x}..{:016x}", stack.name, stack.low.0, stack.high.0)?;
        f.write_str(if stack.in_use { "  in use" } else { "" })?;
        if stack.overrun > 0 {
            write!(f, "  OVERRUN by {}", Count(stack.overrun, "byte"))?;
        }
        writeln!(f)?;
    }
    Ok(())
}

/// The way there.
fn chain(report: &Report, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if !report.chain.is_empty() {
        f.write_str("the way there, from the inside out:\n")?;
    }
    for Step { address, reached, cycle, times } in &report.chain {
        if let Reached::Exception { slot, esr } = reached {
            write!(f, "  -- {}", SlotName(*slot, report.kind))?;
            esr.map_or(Ok(()), |esr| write!(f, ": {}", Esr(esr.0).sentence(None)))?;
            f.write_str(" --\n")?;
        }
        writeln!(f, "  {}", report.code(address.0))?;
        match cycle {
            0 => {}
            1 => writeln!(f, "    this step {times} times")?,
            _ => writeln!(f, "    the last {cycle} steps {times} times")?,
        }
    }
    f.write_str(if report.chain.len() == CHAIN_DEPTH { "  ...\n" } else { "" })
}
