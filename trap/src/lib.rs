//! What an exception *is*, apart from any machine: the register frame, the syndrome and its words, the signal it becomes,
//! and the records that reports are made of.
//!
//! Pure and without `unsafe`, so that the kernel, the tools on the host and the tests share one copy. Nothing here reads a
//! register: callers pass in what they read.
//!
//! | module | what it holds | begin with |
//! |---|---|---|
//! | [`slot`] | the sixteen slots of the vector table | [`slot::Slot`] |
//! | [`frame`] | the saved registers, byte for byte | [`frame::PtRegs`] |
//! | [`pattern`] | register contents for tests | [`pattern::registers`] |
//! | [`pstate`] | the saved PSTATE, in words | [`pstate::Pstate`] |
//! | [`esr`] | the syndrome: its class, which the hot path compares, and the class's name in counters | [`esr::Esr::ec`] |
//! | [`exception`] | the syndrome as types | [`esr::Esr::decode`] |
//! | [`fault`] | why an abort happened, and how bad an error is | [`fault::FaultStatus`] |
//! | [`fields`] | where each field lies, and what its values mean | [`esr::Esr::fields`] |
//! | [`instruction`] | instruction words | [`instruction::mrs`] |
//! | [`sysreg`] | names of system registers | [`sysreg::SystemRegister`] |
//! | [`words`] | the syndrome in one sentence | [`esr::Esr::sentence`] |
//! | [`signal`] | the signal that a program's fault becomes | [`signal::signal_of`] |
//! | [`record`] | what the machine tells tools, as JSON | [`record::Report`] |
//! | [`trace`] | what is written down of every event while the kernel is traced | [`trace::Event`] |
//! | [`place`] | what an address belongs to | [`place::Place`] |
//! | [`hint`], [`rules`] | what a report shows that helps to find the mistake | [`rules::hints`] |
//! | [`report`] | a report for people | [`record::Report::brief`] |
//!
//! ```
//! use trap::esr::{Ec, Esr};
//!
//! let esr = Esr(0x9600_0045);
//! assert!(esr.ec() == Ec::DATA_ABORT_CURRENT);
//! assert_eq!(
//!     esr.sentence(Some(0xdead_0000)).to_string(),
//!     "data abort from EL1: translation fault, level 1, while writing, at 0xdead0000"
//! );
//! ```
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod esr;
pub mod exception;
pub mod fault;
pub mod fields;
pub mod frame;
pub mod hex;
pub mod hint;
pub mod instruction;
pub mod pattern;
pub mod place;
pub mod pstate;
pub mod record;
pub mod report;
pub mod rules;
pub mod signal;
pub mod slot;
pub mod sysreg;
pub mod trace;
pub mod words;
