//! What a hypervisor decides, apart from any machine: what a guest finds where it expects firmware and devices.
//!
//! Pure and without `unsafe`: nothing here reads a register or touches memory. The caller tells what trapped, and is
//! told what to do.
//!
//! | module | what it holds | begin with |
//! |---|---|---|
//! | [`smccc`] | HVC and SMC: what the guest takes for firmware | [`smccc::call`] |
//! | [`psci`] | the power calls among them: a vCPU on and off, the guest off | [`psci::call`] |
//! | [`sysreg`] | trapped system registers, and the ID registers a guest reads | [`sysreg::SystemRegisters::access`] |
//! | [`timer`] | the physical timer of a vCPU, which is emulated | [`timer::PhysicalTimer`] |
//! | [`mmio`] | a trapped load or store of a device | [`mmio::Access`] |
//! | [`pl011`] | the emulated UART | [`pl011::Pl011`] |
//! | [`console`] | the console that all guests share, and who is typed to | [`console::Screen`] |
//! | [`inject`] | an exception that the hypervisor has a guest take | [`inject::inject`] |
//! | [`config`] | which guests there are | [`config::guests`] |
//! | [`image`] | where a guest's image, device tree and initramfs go | [`image::plan`] |
//! | [`vgic`] | the virtual interrupt controller, and what goes into the List Registers | [`vgic::Vgic`] |
//! | [`aarch32`] | conditions of trapped AArch32 instructions | [`aarch32::condition_holds`] |
//! | [`service`] | SErrors for guests under test | [`service::Plan`] |
//! | [`ram`] | which RAM nobody has | [`ram::Free`] |
//! | [`result`] | what the host is told in the end | [`result::Summary`] |
#![no_std]
#![forbid(unsafe_code)]

extern crate alloc;
#[cfg(test)]
extern crate std;

pub mod aarch32;
pub mod config;
pub mod console;
pub mod image;
pub mod inject;
pub mod mmio;
pub mod pl011;
pub mod psci;
pub mod ram;
pub mod result;
pub mod service;
pub mod smccc;
pub mod sysreg;
pub mod timer;
pub mod vgic;
