//! What the hypervisor thinks, without a CPU: the logic of EL2 that the host can test.
//!
//! - [`vgic`]: the interrupt controller that a guest sees, and which of its interrupts are in the List Registers.
#![no_std]
#![forbid(unsafe_code)]

pub mod vgic;
