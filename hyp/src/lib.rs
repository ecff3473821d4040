//! The hypervisor's logic, apart from any machine. The program itself (`main.rs`) reads and writes registers and memory; what is
//! decided is decided here, and is tested on the host.
//!
//! | module | what it holds | begin with |
//! |---|---|---|
//! | [`result`] | what the host is told in the end | [`result::Summary`] |
#![no_std]
#![forbid(unsafe_code)]

#[cfg(test)]
extern crate std;

pub mod result;
