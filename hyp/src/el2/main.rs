//! The hypervisor: EL2, after Xen's arm64 trap path.
//!
//! Begin with [`traps`], which tells the life of one trap. Below it, in the order of who calls whom: [`guest`] and [`vcpu`], what
//! runs; [`sched`], which of them runs; [`vgic`], their interrupts; [`gic`] and [`timer`], the machine's; [`stage2`] and
//! [`memory`]; [`console`], [`report`] and [`power`]. [`trace`] watches them if it is asked to. [`boot`] starts it all. What can be decided without a CPU is decided in
//! the library of the same package.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod console;
mod cpu;
mod gic;
mod guest;
mod memory;
mod percpu;
mod power;
mod report;
mod sched;
mod stage2;
mod sync;
mod timer;
mod trace;
mod traps;
mod vcpu;
mod vgic;
