//! The test service: a guest is given SErrors where a machine would have none, so that what it makes of them can be seen.
//!
//! Off unless the guest's description has the key `service`. A guest that knows of it calls (vendor's hypervisor services,
//! `0xc600_0000` on); for one that does not, the description itself holds a [`Plan`].
//!
//! ```
//! let plan = hyp::service::Plan::parse("after=1000 at=0xffffffc080200000 iss=0x11 every=50000").unwrap();
//! assert_eq!((plan.after, plan.at, plan.iss, plan.every), (Some(1000), Some(0xffff_ffc0_8020_0000), 0x11, Some(50000)));
//! assert_eq!(hyp::service::Plan::parse("on"), Some(hyp::service::Plan::default()));
//! ```

use core::fmt;

/// Plans an SError for the calling vCPU. x1: in how many ticks of the counter, or 0; x2: once the vCPU comes to this address,
/// or 0; x3: the ISS. With x1 and x2 0 it is pending when the call returns. Returns 0, or [`INVALID`].
pub const PLAN_SERROR: u32 = 0xc600_0000;

/// A hypervisor for tests alone (the feature `made-up`). Makes up physical SErrors. x1: the window for an SError that the guest left
/// pending in which they come, 1 for the next; x2: how many; x3: a [`MadeUp`] place. Returns how many windows there have been.
pub const MAKE_UP: u32 = 0xc600_ff00;

/// The same hypervisor overruns the stack of the calling vCPU.
pub const OVERRUN: u32 = 0xc600_ff01;

/// The same hypervisor enters the slot x1 of its vector table, of which nothing but the number is looked at.
pub const ENTER_SLOT: u32 = 0xc600_ff02;

/// An argument is none of those.
pub const INVALID: i64 = -3;

/// Where a made-up SError interrupts the hypervisor, by the last argument of [`MAKE_UP`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u64)]
pub enum MadeUp {
    /// Before the instruction in the window.
    Before = 0,
    /// Behind it.
    Behind = 1,
    /// Outside of it.
    Outside = 2,
    /// Not the hypervisor: the guest, before the instruction that trapped (no HVC).
    Guest = 3,
}

/// The bits of an ISS.
const ISS: u32 = 0x1ff_ffff;

/// SErrors for one vCPU.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Plan {
    /// `after`: ticks of the counter from now, or from when the guest begins.
    pub after: Option<u64>,
    /// `at`: from then on, when the vCPU comes to this address; in hexadecimal.
    pub at: Option<u64>,
    /// `iss`: what ESR_EL1 tells of it, on a CPU that has VSESR_EL2 (RAS); in hexadecimal.
    pub iss: u32,
    /// `every`: again, this many ticks after the last one came due.
    pub every: Option<u64>,
}

impl Plan {
    /// Reads `on`, which plans nothing, or words of the form `key=value`.
    pub fn parse(text: &str) -> Option<Plan> {
        let mut plan = Plan::default();
        if text == "on" {
            return Some(plan);
        }
        for word in text.split(' ') {
            let (key, value) = word.split_once('=')?;
            let hex = || u64::from_str_radix(value.strip_prefix("0x")?, 16).ok();
            match key {
                "after" if plan.after.is_none() => plan.after = Some(value.parse().ok()?),
                "at" if plan.at.is_none() => plan.at = Some(hex()?),
                "iss" if plan.iss == 0 => plan.iss = hex()?.try_into().ok().filter(|iss| iss & !ISS == 0)?,
                "every" if plan.every.is_none() => plan.every = Some(value.parse().ok().filter(|&ticks| ticks > 0)?),
                _ => return None,
            }
        }
        (plan.is_some()).then_some(plan)
    }

    /// The plan that the arguments of [`PLAN_SERROR`] say.
    pub fn from_call([after, at, iss]: [u64; 3]) -> Option<Plan> {
        let iss = u32::try_from(iss).ok().filter(|iss| iss & !ISS == 0)?;
        Some(Plan { after: Some(after), at: (at != 0).then_some(at), iss, every: None })
    }

    /// Whether there is an SError in it.
    pub const fn is_some(&self) -> bool {
        self.after.is_some() || self.at.is_some() || self.every.is_some()
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.is_some() {
            return f.write_str("on");
        }
        write!(f, "after={}", self.after.unwrap_or(0))?;
        self.at.map_or(Ok(()), |at| write!(f, " at={at:#x}"))?;
        write!(f, " iss={:#x}", self.iss)?;
        self.every.map_or(Ok(()), |every| write!(f, " every={every}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::string::ToString;

    #[test]
    fn what_is_no_plan() {
        for text in [
            "",
            "off",
            "after",
            "after=x",
            "at=1",
            "at=0xg",
            "iss=0x2000000",
            "iss=0x1",
            "every=0",
            "after=1 after=2",
            "a=1",
        ] {
            assert_eq!(Plan::parse(text), None, "{text:?}");
        }
        assert_eq!(Plan::from_call([0, 0, 1 << 25]), None);
        assert_eq!(Plan::from_call([0, 0, 1 << 32]), None);
    }

    #[test]
    fn a_call_is_a_plan() {
        let now = Plan { after: Some(0), ..Plan::default() };
        assert_eq!(Plan::from_call([0, 0, 0]), Some(now));
        assert_eq!(Plan::from_call([7, 8, 9]), Some(Plan { after: Some(7), at: Some(8), iss: 9, every: None }));
    }

    proptest! {
        #[test]
        fn what_is_written_is_read(after: u64, at: Option<u64>, iss in 0..=ISS, every in prop::option::of(1_u64..)) {
            let plan = Plan { after: Some(after), at, iss, every };
            prop_assert_eq!(Plan::parse(&plan.to_string()), Some(plan));
        }
    }
}
