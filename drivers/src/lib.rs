//! What EL1 and EL2 share of the machine: the interrupt controller, the device tree and the boot arguments.
#![no_std]

pub mod bootargs;
pub mod dt;
#[cfg(target_arch = "aarch64")]
pub mod gic;
