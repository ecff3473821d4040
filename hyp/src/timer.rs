//! The EL1 physical timer of a vCPU, emulated: CNTP_CTL_EL0, CNTP_CVAL_EL0 and CNTP_TVAL_EL0 (Arm ARM, "The Generic
//! Timer").
//!
//! The guest owns the virtual timer; the physical one is the hypervisor's, so the guest's accesses are trapped
//! (CNTHCTL_EL2) and come here. The caller makes the interrupt, level-sensitive, from [`line`](PhysicalTimer::line),
//! and has itself woken at [`deadline`](PhysicalTimer::deadline).

/// A register of the physical timer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Register {
    /// CNTP_CTL_EL0.
    Ctl,
    /// CNTP_CVAL_EL0: the count at which the condition is met.
    Cval,
    /// CNTP_TVAL_EL0: the same, as a signed 32-bit distance from now.
    Tval,
}

const ENABLE: u64 = 1 << 0;
const IMASK: u64 = 1 << 1;
const ISTATUS: u64 = 1 << 2;

/// The timer of one vCPU; `now` is always the guest's CNTPCT_EL0.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct PhysicalTimer {
    /// ENABLE and IMASK.
    ctl: u64,
    cval: u64,
}

impl PhysicalTimer {
    /// What a read gives.
    pub const fn read(&self, register: Register, now: u64) -> u64 {
        match register {
            // ISTATUS means something only while the timer is enabled.
            Register::Ctl if self.ctl & ENABLE != 0 && now >= self.cval => self.ctl | ISTATUS,
            Register::Ctl => self.ctl,
            Register::Cval => self.cval,
            Register::Tval => self.cval.wrapping_sub(now) as u32 as u64,
        }
    }

    /// Carries out a write.
    pub const fn write(&mut self, register: Register, value: u64, now: u64) {
        match register {
            Register::Ctl => self.ctl = value & (ENABLE | IMASK),
            Register::Cval => self.cval = value,
            Register::Tval => self.cval = now.wrapping_add_signed(value as i32 as i64),
        }
    }

    /// Whether the interrupt is asserted.
    pub const fn line(&self, now: u64) -> bool {
        self.read(Register::Ctl, now) == ENABLE | ISTATUS
    }

    /// The count at which the interrupt will be asserted, or was; none while it cannot be.
    pub const fn deadline(&self) -> Option<u64> {
        if self.ctl == ENABLE { Some(self.cval) } else { None }
    }
}

#[cfg(test)]
mod tests {
    use super::Register::*;
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn one_shot() {
        let mut timer = PhysicalTimer::default();
        timer.write(Tval, 100, 1000);
        assert_eq!((timer.deadline(), timer.read(Cval, 0)), (None, 1100), "not enabled");
        assert_eq!(timer.read(Ctl, 2000), 0);
        timer.write(Ctl, !IMASK, 1000);
        assert_eq!(timer.deadline(), Some(1100));
        assert_eq!((timer.read(Ctl, 1099), timer.line(1099)), (1, false));
        assert_eq!((timer.read(Ctl, 1100), timer.line(1100)), (5, true));
        assert_eq!((timer.read(Tval, 1099), timer.read(Tval, 1101)), (1, 0xffff_ffff));
        timer.write(Ctl, 3, 1100);
        assert_eq!((timer.read(Ctl, 1100), timer.line(1100), timer.deadline()), (7, false, None), "masked");
        timer.write(Tval, 0xffff_ffff, 1100);
        assert_eq!(timer.read(Cval, 0), 1099, "TVAL is signed");
    }

    proptest! {
        #[test]
        fn the_line_is_asserted_from_the_deadline_on(ctl in 0_u64..8, cval: u64, now: u64) {
            let mut timer = PhysicalTimer::default();
            timer.write(Ctl, ctl, now);
            timer.write(Cval, cval, now);
            prop_assert_eq!(timer.line(now), timer.deadline().is_some_and(|deadline| now >= deadline));
            prop_assert_eq!(timer.read(Ctl, now) & 3, ctl & 3);
        }

        #[test]
        fn tval_is_a_view_of_cval(distance: i32, now: u64) {
            let mut timer = PhysicalTimer::default();
            timer.write(Tval, distance as u32 as u64, now);
            prop_assert_eq!(timer.read(Tval, now), distance as u32 as u64);
            prop_assert_eq!(timer.read(Cval, now), now.wrapping_add(distance as i64 as u64));
        }
    }
}
