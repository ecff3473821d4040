//! The hypervisor: EL2, after Xen's arm64 trap path.
//!
//! Begin with [`traps`], which tells the life of one trap. Below it, in the order of who calls whom: [`control`], which guests
//! there are; [`guest`] and [`vcpu`], what runs; [`sched`], which of them runs; [`vgic`], their interrupts; [`uart`], their consoles;
//! [`gic`] and [`timer`], the machine's; [`stage2`], [`stacks`] and [`memory`]; [`ssbd`]; [`console`], [`report`] and [`power`].
//! [`trace`] watches them if it is asked to; [`service`] is for tests. [`boot`] starts it all. What can be decided without a CPU is
//! decided in the library of the same package.
#![no_std]
#![no_main]

extern crate alloc;

mod boot;
mod console;
mod control;
mod cpu;
mod gic;
mod guest;
#[cfg(feature = "made-up")]
mod made_up;
mod memory;
mod percpu;
mod power;
mod report;
mod sched;
mod service;
mod ssbd;
mod stacks;
mod stage2;
mod sync;
mod timer;
mod trace;
mod traps;
mod uart;
mod vcpu;
mod vgic;
