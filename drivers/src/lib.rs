//! What EL1 and EL2 share of the machine: the interrupt controller, the UART, the device tree and the boot arguments.
#![no_std]

pub mod bootargs;
