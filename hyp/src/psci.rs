//! PSCI 1.1, the power calls of a guest (Arm DEN0022, "Power State Coordination Interface", where each has a
//! section of its name).
//!
//! A guest calls them by [`smccc`](crate::smccc), whose own functions come first. What is optional and
//! of no use to a guest is left out: there is no trusted OS to migrate, and nothing to suspend to.

use crate::smccc::{Action, Call};
use core::ops::Range;
use smccc::arch::SMCCC_VERSION;
use smccc::psci::error::{ALREADY_ON, INVALID_ADDRESS, INVALID_PARAMETERS, NOT_SUPPORTED, ON_PENDING, SUCCESS};
use smccc::psci::*;

const VERSION: Version = Version { major: 1, minor: 1 };

/// Bits of CPU_SUSPEND's `power_state` in the original format that must be 0; the others are StateID, StateType and
/// PowerLevel.
const POWER_STATE_RESERVED: u64 = !0x0301_ffff;

/// A vCPU, as the calls see it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Vcpu {
    /// Its affinity: MPIDR_EL1 without what is not Aff0 to Aff3.
    pub affinity: u64,
    /// Whether it is on.
    pub state: AffinityState,
}

/// The guest that calls, as far as answers depend on it.
pub trait Guest {
    /// Its vCPU of this index; they are numbered from 0 on.
    fn vcpu(&self, index: usize) -> Option<Vcpu>;

    /// Where its RAM is; a vCPU starts nowhere else.
    fn ram(&self) -> Range<u64>;
}

/// The answer to a call, of those that [`smccc::call`](crate::smccc::call) leaves to others, that depends on nothing else. This may be
/// asked first.
#[inline]
pub fn answer(call: &Call) -> Option<Action> {
    match call.function {
        PSCI_VERSION if call.immediate == 0 => Some(Action::Return(u32::from(VERSION).into())),
        _ => None,
    }
}

/// What becomes of a call that [`smccc::call`](crate::smccc::call) leaves to others.
pub fn call(call: &Call, caller: &impl Guest) -> Action {
    let Call { function, arguments: [first, second, third], .. } = *call;
    if let Some(action) = self::answer(call) {
        return action;
    }
    let answer = |code: i32| Action::Return(code.into());
    match function {
        PSCI_CPU_SUSPEND_32 | PSCI_CPU_SUSPEND_64 => match first as u32 as u64 & POWER_STATE_RESERVED {
            // Power-down may be carried out as standby, which returns to the caller (DEN0022, CPU_SUSPEND).
            0 => Action::CpuSuspend,
            _ => answer(INVALID_PARAMETERS),
        },
        PSCI_CPU_OFF => Action::CpuOff,
        PSCI_CPU_ON_32 | PSCI_CPU_ON_64 => cpu_on(first, second, third, caller).unwrap_or_else(answer),
        PSCI_AFFINITY_INFO_32 | PSCI_AFFINITY_INFO_64 => answer(affinity_info(first, second as u32, caller)),
        PSCI_MIGRATE_INFO_TYPE => answer(MigrateType::MigrationNotRequired as i32),
        PSCI_SYSTEM_OFF => Action::SystemOff,
        PSCI_SYSTEM_RESET => Action::SystemReset,
        PSCI_FEATURES => answer(feature(first as u32)),
        _ => Action::NOT_SUPPORTED,
    }
}

fn vcpus(guest: &impl Guest) -> impl Iterator<Item = Vcpu> {
    (0..).map_while(|index| guest.vcpu(index))
}

/// CPU_ON: the target must be off, and its entry point an instruction in the guest's RAM.
fn cpu_on(target: u64, entry: u64, context: u64, caller: &impl Guest) -> Result<Action, i32> {
    let found = vcpus(caller).enumerate().find(|(_, vcpu)| vcpu.affinity == target);
    let (vcpu, Vcpu { state, .. }) = found.ok_or(INVALID_PARAMETERS)?;
    match state {
        AffinityState::On => Err(ALREADY_ON),
        AffinityState::OnPending => Err(ON_PENDING),
        AffinityState::Off if !caller.ram().contains(&entry) || !entry.is_multiple_of(4) => Err(INVALID_ADDRESS),
        AffinityState::Off => Ok(Action::CpuOn { vcpu, entry, context }),
    }
}

/// AFFINITY_INFO: the state of all vCPUs whose affinity is `target` from field `lowest_level` on.
fn affinity_info(target: u64, lowest_level: u32, caller: &impl Guest) -> i32 {
    let ignored = match lowest_level {
        0 => 0,
        1 => 0xff,
        2 => 0xffff,
        3 => 0xff_ffff,
        _ => return INVALID_PARAMETERS,
    };
    let matches = |vcpu: &Vcpu| vcpu.affinity | ignored == target | ignored;
    // One that is on counts before one that is on its way, and that before those that are off.
    let rank =
        |state| [AffinityState::Off, AffinityState::OnPending, AffinityState::On].iter().position(|&s| s == state);
    let state = vcpus(caller).filter(matches).map(|vcpu| vcpu.state).max_by_key(|&state| rank(state));
    state.map_or(INVALID_PARAMETERS, |state| state as i32)
}

/// PSCI_FEATURES. By SMCCC_VERSION being among them a caller learns that there is more than version 1.0 of the
/// convention (DEN0028, "Discovery").
fn feature(function: u32) -> i32 {
    match function {
        // For CPU_SUSPEND 0 also says: the original format of power_state, and no OS-initiated mode.
        PSCI_VERSION
        | PSCI_CPU_SUSPEND_32
        | PSCI_CPU_SUSPEND_64
        | PSCI_CPU_OFF
        | PSCI_CPU_ON_32
        | PSCI_CPU_ON_64
        | PSCI_AFFINITY_INFO_32
        | PSCI_AFFINITY_INFO_64
        | PSCI_MIGRATE_INFO_TYPE
        | PSCI_SYSTEM_OFF
        | PSCI_SYSTEM_RESET
        | PSCI_FEATURES
        | SMCCC_VERSION => SUCCESS,
        _ => NOT_SUPPORTED,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::smccc::{self, Conduit, Workaround};
    use proptest::prelude::*;

    const VCPUS: [Vcpu; 4] = [
        Vcpu { affinity: 0, state: AffinityState::On },
        Vcpu { affinity: 1, state: AffinityState::Off },
        Vcpu { affinity: 0x100, state: AffinityState::OnPending },
        Vcpu { affinity: 0x1_0000_0000, state: AffinityState::Off },
    ];

    struct Caller;

    impl Guest for Caller {
        fn vcpu(&self, index: usize) -> Option<Vcpu> {
            VCPUS.get(index).copied()
        }

        fn ram(&self) -> Range<u64> {
            0x4000_0000..0x8000_0000
        }
    }

    /// What becomes of an HVC #0 with these registers.
    fn hvc(function: u32, x1: u64, x2: u64, x3: u64) -> Action {
        let call = Call::new(Conduit::Hvc, 0, [function.into(), x1, x2, x3]);
        smccc::call(&call, [Workaround::Unaffected; 3]).unwrap_or_else(|| super::call(&call, &Caller))
    }

    const ENTRY: u64 = 0x4020_0000;

    fn code(code: i32) -> Action {
        Action::Return(code.into())
    }

    #[test]
    fn cpu_on_checks_target_state_and_address() {
        for (target, entry, action) in [
            (1, ENTRY, Action::CpuOn { vcpu: 1, entry: ENTRY, context: 7 }),
            (0x1_0000_0000, ENTRY, Action::CpuOn { vcpu: 3, entry: ENTRY, context: 7 }),
            (0, ENTRY, code(ALREADY_ON)),
            (0x100, ENTRY, code(ON_PENDING)),
            (2, ENTRY, code(INVALID_PARAMETERS)),
            (1 << 31 | 1, ENTRY, code(INVALID_PARAMETERS)),
            (1, 0x3fff_fffc, code(INVALID_ADDRESS)),
            (1, 0x8000_0000, code(INVALID_ADDRESS)),
            (1, ENTRY + 2, code(INVALID_ADDRESS)),
            (1, u64::MAX, code(INVALID_ADDRESS)),
        ] {
            assert_eq!(hvc(PSCI_CPU_ON_64, target, entry, 7), action, "{target:#x} {entry:#x}");
        }
        // Of the 32-bit call only the lower halves count.
        let action = hvc(PSCI_CPU_ON_32, 0x1_0000_0001, ENTRY | 1 << 40, 7 | 1 << 40);
        assert_eq!(action, Action::CpuOn { vcpu: 1, entry: ENTRY, context: 7 });
    }

    #[test]
    fn affinity_info_joins_what_it_was_asked_for() {
        for (target, level, state) in [
            (0, 0, AffinityState::On as i32),
            (1, 0, AffinityState::Off as i32),
            (0x100, 0, AffinityState::OnPending as i32),
            (0x1ff, 0, INVALID_PARAMETERS),
            // Aff1 = 0: one is on, one off.
            (0xff, 1, AffinityState::On as i32),
            (0x1ff, 1, AffinityState::OnPending as i32),
            (0xffff, 2, AffinityState::On as i32),
            (0x1_0012_3456, 3, AffinityState::Off as i32),
            (0x2_0000_0000, 3, INVALID_PARAMETERS),
            (0, 4, INVALID_PARAMETERS),
        ] {
            assert_eq!(hvc(PSCI_AFFINITY_INFO_64, target, level, 0), code(state), "{target:#x} {level}");
        }
        assert_eq!(hvc(PSCI_AFFINITY_INFO_32, 0x1_0000_0001, 0, 0), code(AffinityState::Off as i32));
    }

    #[test]
    fn the_others() {
        for (function, first, action) in [
            (PSCI_VERSION, 0, Action::Return(0x1_0001)),
            (PSCI_CPU_OFF, 0, Action::CpuOff),
            (PSCI_CPU_SUSPEND_32, 0, Action::CpuSuspend),
            (PSCI_CPU_SUSPEND_64, 0x0301_ffff, Action::CpuSuspend),
            (PSCI_CPU_SUSPEND_64, 0x0002_0000, code(INVALID_PARAMETERS)),
            (PSCI_CPU_SUSPEND_64, 0x8000_0000, code(INVALID_PARAMETERS)),
            (PSCI_MIGRATE_INFO_TYPE, 0, Action::Return(2)),
            (PSCI_SYSTEM_OFF, 0, Action::SystemOff),
            (PSCI_SYSTEM_RESET, 0, Action::SystemReset),
            (PSCI_SYSTEM_RESET2_64, 0, Action::NOT_SUPPORTED),
            (PSCI_SYSTEM_SUSPEND_64, 0, Action::NOT_SUPPORTED),
            (PSCI_MIGRATE_64, 0, Action::NOT_SUPPORTED),
            (PSCI_FEATURES, SMCCC_VERSION.into(), Action::SUCCESS),
            // SYSTEM_OFF exists as a 32-bit call only.
            (PSCI_SYSTEM_OFF | 1 << 30, 0, Action::NOT_SUPPORTED),
        ] {
            assert_eq!(hvc(function, first, 0, 0), action, "{function:#x}");
        }
    }

    #[test]
    fn features_are_the_calls_there_are() {
        for function in (0x8400_0000..0x8400_0020).chain(0xc400_0000..0xc400_0020) {
            let call = Call::new(Conduit::Hvc, 0, [function.into(), 0, 0, 0]);
            let there = super::call(&call, &Caller) != Action::NOT_SUPPORTED || function == PSCI_FEATURES;
            let told = hvc(PSCI_FEATURES, function.into(), 0, 0);
            assert_eq!(told, if there { Action::SUCCESS } else { Action::NOT_SUPPORTED }, "{function:#x}");
        }
    }

    proptest! {
        #[test]
        fn any_call_has_an_answer(owner in 0_u32..64, number: u32, fast: bool, wide: bool, x: [u64; 3]) {
            let function = u32::from(fast) << 31 | u32::from(wide) << 30 | owner << 24 | number & 0xff;
            let action = hvc(function, x[0], x[1], x[2]);
            if !fast {
                prop_assert_eq!(action, Action::NOT_SUPPORTED);
            }
        }

        #[test]
        fn a_vcpu_starts_only_in_ram_and_only_when_off(target in 0_u64..0x200, entry: u64, context: u64) {
            if let Action::CpuOn { vcpu, entry: at, context: x0 } = hvc(PSCI_CPU_ON_64, target, entry, context) {
                prop_assert_eq!(VCPUS[vcpu], Vcpu { affinity: target, state: AffinityState::Off });
                prop_assert!(Caller.ram().contains(&at) && at == entry && x0 == context);
            }
        }
    }
}
