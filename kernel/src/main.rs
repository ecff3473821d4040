//! The kernel: EL1, after Linux arm64.
//!
//! Begin with [`exception`], which tells the life of one exception. Below it, in the order of who calls whom:
//! [`syscall`], [`process`], [`signal`] and [`irq`]; [`report`]; [`sched`]; [`fs`], [`mm`] and [`uaccess`]; [`percpu`], [`console`] and
//! [`sync`]. [`boot`] starts it all.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod bug;
mod console;
mod counters;
mod exception;
mod extable;
mod fs;
mod irq;
#[cfg(feature = "ktest")]
mod ktest;
mod mm;
mod percpu;
mod power;
mod process;
mod random;
mod report;
mod sched;
mod signal;
mod site;
mod sync;
mod syscall;
mod trace;
mod uaccess;
