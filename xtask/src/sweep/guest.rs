//! The same under the hypervisor.

/// The scenario's name.
pub const NAME: &str = "el2";
