//! The sixteen slots of a vector table (Arm ARM D1, "Exception vectors"; VBAR_EL1).

use core::fmt;
use serde::{Deserialize, Serialize};

/// A vector slot: who was interrupted, and by what kind of exception. The discriminant is its index in the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
#[expect(missing_docs, reason = "each name is its meaning: the source and the kind, as kernel_ventry spells them")]
pub enum Slot {
    El1tSync,
    El1tIrq,
    El1tFiq,
    El1tError,
    El1hSync,
    El1hIrq,
    El1hFiq,
    El1hError,
    El0Sync,
    El0Irq,
    El0Fiq,
    El0Error,
    #[serde(rename = "el0_32_sync")]
    El032Sync,
    #[serde(rename = "el0_32_irq")]
    El032Irq,
    #[serde(rename = "el0_32_fiq")]
    El032Fiq,
    #[serde(rename = "el0_32_error")]
    El032Error,
}

impl Slot {
    /// All slots in table order.
    pub const ALL: [Slot; 16] = [
        Slot::El1tSync,
        Slot::El1tIrq,
        Slot::El1tFiq,
        Slot::El1tError,
        Slot::El1hSync,
        Slot::El1hIrq,
        Slot::El1hFiq,
        Slot::El1hError,
        Slot::El0Sync,
        Slot::El0Irq,
        Slot::El0Fiq,
        Slot::El0Error,
        Slot::El032Sync,
        Slot::El032Irq,
        Slot::El032Fiq,
        Slot::El032Error,
    ];

    /// Whether its exceptions write ESR: those that are synchronous, and SErrors. Interrupts leave it as it was.
    pub const fn has_syndrome(self) -> bool {
        matches!(self as u8 % 4, 0 | 3)
    }

    /// Whether its exceptions come from EL1.
    pub const fn from_el1(self) -> bool {
        (self as u8) < 8
    }

    /// The slot's name in the hypervisor's table, where a lower level is a guest and AArch32 is `compat`.
    pub const fn hyp_name(self) -> &'static str {
        match self {
            Slot::El1tSync => "hyp_t_sync",
            Slot::El1tIrq => "hyp_t_irq",
            Slot::El1tFiq => "hyp_t_fiq",
            Slot::El1tError => "hyp_t_error",
            Slot::El1hSync => "hyp_sync",
            Slot::El1hIrq => "hyp_irq",
            Slot::El1hFiq => "hyp_fiq",
            Slot::El1hError => "hyp_error",
            Slot::El0Sync => "guest_sync",
            Slot::El0Irq => "guest_irq",
            Slot::El0Fiq => "guest_fiq",
            Slot::El0Error => "guest_error",
            Slot::El032Sync => "guest_sync_compat",
            Slot::El032Irq => "guest_irq_compat",
            Slot::El032Fiq => "guest_fiq_compat",
            Slot::El032Error => "guest_error_compat",
        }
    }

    /// The slot's name in records and counters.
    pub const fn name(self) -> &'static str {
        match self {
            Slot::El1tSync => "el1t_sync",
            Slot::El1tIrq => "el1t_irq",
            Slot::El1tFiq => "el1t_fiq",
            Slot::El1tError => "el1t_error",
            Slot::El1hSync => "el1h_sync",
            Slot::El1hIrq => "el1h_irq",
            Slot::El1hFiq => "el1h_fiq",
            Slot::El1hError => "el1h_error",
            Slot::El0Sync => "el0_sync",
            Slot::El0Irq => "el0_irq",
            Slot::El0Fiq => "el0_fiq",
            Slot::El0Error => "el0_error",
            Slot::El032Sync => "el0_32_sync",
            Slot::El032Irq => "el0_32_irq",
            Slot::El032Fiq => "el0_32_fiq",
            Slot::El032Error => "el0_32_error",
        }
    }
}

impl fmt::Display for Slot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.name())
    }
}
