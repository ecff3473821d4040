//! What an exception *is*, apart from any machine: the register frame, the syndrome and its words, the signal it becomes,
//! and the records that reports are made of.
//!
//! Pure and without `unsafe`, so that the kernel, the tools on the host and the tests share one copy. Nothing here reads a
//! register: callers pass in what they read.
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod esr;
pub mod fault;
pub mod fields;
pub mod frame;
pub mod pstate;
pub mod record;
pub mod signal;
pub mod slot;
pub mod sysreg;
