//! HVC and SMC: the calls by which a guest speaks to what it takes for firmware (Arm DEN0028, "SMC Calling
//! Convention").
//!
//! The hypervisor is all the firmware that its guests see; none of their calls goes further. [`call`] says what becomes
//! of one that is the convention's own or nobody's; all others are for [`psci::call`](crate::psci::call).

use smccc::arch::error::{NOT_SUPPORTED, SUCCESS};
use smccc::arch::{
    SMCCC_ARCH_FEATURES, SMCCC_ARCH_WORKAROUND_1, SMCCC_ARCH_WORKAROUND_2, SMCCC_ARCH_WORKAROUND_3, SMCCC_VERSION,
    Version,
};

/// The version told to guests: the first that has SMCCC_ARCH_FEATURES, and nothing beyond that we would have to keep.
const VERSION: Version = Version { major: 1, minor: 1 };

/// The instruction that made a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Conduit {
    /// HVC: an exception *after* the instruction; ELR is where the guest goes on.
    Hvc,
    /// SMC, trapped by HCR_EL2.TSC *before* it is executed; ELR is the instruction itself.
    Smc,
}

impl Conduit {
    /// What to add to the guest's PC once the call is answered (Arm ARM D1, "preferred return address").
    pub const fn pc_step(self) -> u64 {
        match self {
            Conduit::Hvc => 0,
            Conduit::Smc => 4,
        }
    }
}

/// A call, as the guest's registers hold it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Call {
    /// The instruction.
    pub conduit: Conduit,
    /// Its immediate; calls of the convention have 0.
    pub immediate: u16,
    /// The function, w0 (DEN0028, "Function Identifiers").
    pub function: u32,
    /// The arguments, x1 to x3; of a 32-bit call w1 to w3.
    pub arguments: [u64; 3],
}

impl Call {
    /// The call that x0 to x3 hold. Bit 30 of the function says whether arguments are 64 bits wide; of a 32-bit call
    /// the upper halves are not the callee's to read (DEN0028, "Register use").
    #[inline]
    pub fn new(conduit: Conduit, immediate: u16, x: [u64; 4]) -> Call {
        let function = x[0] as u32;
        let wide = function >> 30 & 1 != 0;
        let [_, arguments @ ..] = x.map(|value| if wide { value } else { u64::from(value as u32) });
        Call { conduit, immediate, function, arguments }
    }
}

/// What SMCCC_ARCH_FEATURES says of an SMCCC_ARCH_WORKAROUND_n (DEN0028, the section of each).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(i8)]
pub enum Workaround {
    /// The call is there, and this CPU needs it.
    Required = 0,
    /// The call is there, and does nothing on this CPU: it is not affected.
    Unaffected = 1,
    /// There is no such call.
    NotSupported = NOT_SUPPORTED as i8,
}

/// What becomes of a call. Afterwards the guest goes on, [`Conduit::pc_step`] further, where not said otherwise.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Action {
    /// x0 becomes this; a negative value is an error, sign-extended as callers of either width read it.
    Return(i64),
    /// SMCCC_ARCH_WORKAROUND_2: the guest wants speculative store bypass mitigated, or not, while it runs. Returns 0.
    Mitigate(bool),
    /// CPU_ON: the vCPU of this index starts at `entry` with `context` in x0, as after a reset: EL1h, all masked, MMU
    /// off. It is [`AffinityState::OnPending`](smccc::psci::AffinityState) until it runs. Returns 0.
    CpuOn {
        /// Its index ([`psci::Guest::vcpu`](crate::psci::Guest::vcpu)).
        vcpu: usize,
        /// Its first instruction.
        entry: u64,
        /// Its x0.
        context: u64,
    },
    /// CPU_OFF: the caller stops until a CPU_ON; it does not return.
    CpuOff,
    /// CPU_SUSPEND: the caller waits for an interrupt, as by WFI. Returns 0.
    CpuSuspend,
    /// SYSTEM_OFF: the guest ends.
    SystemOff,
    /// SYSTEM_RESET: the guest starts anew.
    SystemReset,
    /// A function of the vendor's hypervisor services: for the hypervisor's own test service, if it is switched on;
    /// else [`NOT_SUPPORTED`](Action::NOT_SUPPORTED).
    Vendor,
}

impl Action {
    /// The answer to a call that nobody knows.
    pub const NOT_SUPPORTED: Action = Action::Return(NOT_SUPPORTED as i64);
    /// The answer to a call that was carried out, where that is all there is to say.
    pub const SUCCESS: Action = Action::Return(SUCCESS as i64);
}

/// What becomes of `call`, if it is not left to others. `workarounds`: which of SMCCC_ARCH_WORKAROUND_1, 2 and 3 there are.
#[inline]
pub fn call(call: &Call, workarounds: [Workaround; 3]) -> Option<Action> {
    let Call { immediate, function, arguments, .. } = *call;
    // Other immediates are for conventions that are not ours (DEN0028, "SMC and HVC immediate value").
    if immediate != 0 {
        return Some(Action::NOT_SUPPORTED);
    }
    Some(match function {
        SMCCC_VERSION => Action::Return(u32::from(VERSION).into()),
        SMCCC_ARCH_FEATURES => Action::Return(arch_feature(arguments[0] as u32, workarounds)),
        _ if is_vendor_hypervisor(function) => Action::Vendor,
        _ => match workaround(function, workarounds)? {
            Workaround::NotSupported => Action::NOT_SUPPORTED,
            _ if function == SMCCC_ARCH_WORKAROUND_2 => Action::Mitigate(arguments[0] != 0),
            // The branch predictor (1) and the branch history (3) are taken care of on each entry to the hypervisor, so
            // that the call itself was the workaround.
            _ => Action::SUCCESS,
        },
    })
}

/// SMCCC_ARCH_FEATURES. SMCCC_ARCH_SOC_ID is among those that are not there: no guest's business.
fn arch_feature(function: u32, workarounds: [Workaround; 3]) -> i64 {
    match function {
        SMCCC_VERSION | SMCCC_ARCH_FEATURES => SUCCESS.into(),
        _ => workaround(function, workarounds).unwrap_or(Workaround::NotSupported) as i64,
    }
}

/// The workaround that `function` is, if it is one.
fn workaround(function: u32, workarounds: [Workaround; 3]) -> Option<Workaround> {
    let number = match function {
        SMCCC_ARCH_WORKAROUND_1 => 0,
        SMCCC_ARCH_WORKAROUND_2 => 1,
        SMCCC_ARCH_WORKAROUND_3 => 2,
        _ => return None,
    };
    Some(workarounds[number])
}

/// Whether the function is a fast call of the owner "vendor specific hypervisor service", of either width (DEN0028,
/// "Function Identifier Ranges").
const fn is_vendor_hypervisor(function: u32) -> bool {
    function & !(1 << 30) & 0xffff_0000 == 0x8600_0000
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use smccc::arch::SMCCC_ARCH_SOC_ID;

    const WORKAROUNDS: [Workaround; 3] = [Workaround::Required, Workaround::Unaffected, Workaround::NotSupported];

    /// What becomes of an HVC #0 with these registers.
    fn hvc(function: u32, x1: u64, x2: u64, x3: u64) -> Option<Action> {
        call(&Call::new(Conduit::Hvc, 0, [function.into(), x1, x2, x3]), WORKAROUNDS)
    }

    #[test]
    fn arch_calls() {
        assert_eq!(hvc(SMCCC_VERSION, 0, 0, 0), Some(Action::Return(0x1_0001)));
        for (function, feature) in [
            (SMCCC_VERSION, 0),
            (SMCCC_ARCH_FEATURES, 0),
            (SMCCC_ARCH_WORKAROUND_1, 0),
            (SMCCC_ARCH_WORKAROUND_2, 1),
            (SMCCC_ARCH_WORKAROUND_3, -1),
            (SMCCC_ARCH_SOC_ID, -1),
            (0x8400_0000, -1),
        ] {
            let told = hvc(SMCCC_ARCH_FEATURES, function.into(), 0, 0);
            assert_eq!(told, Some(Action::Return(feature)), "{function:#x}");
        }
        assert_eq!(hvc(SMCCC_ARCH_WORKAROUND_1, 0, 0, 0), Some(Action::SUCCESS));
        assert_eq!(hvc(SMCCC_ARCH_WORKAROUND_2, 1, 0, 0), Some(Action::Mitigate(true)));
        assert_eq!(hvc(SMCCC_ARCH_WORKAROUND_2, 1 << 32, 0, 0), Some(Action::Mitigate(false)), "w1 is the argument");
        assert_eq!(hvc(SMCCC_ARCH_WORKAROUND_3, 0, 0, 0), Some(Action::NOT_SUPPORTED));
        assert_eq!(hvc(SMCCC_ARCH_SOC_ID, 0, 0, 0), None);
    }

    #[test]
    fn vendor_services_are_the_callers() {
        for (function, ours) in [
            (0x8600_0000, true),
            (0xc600_ff01, true),
            (0x8601_0000, false),
            (0x0600_0000, false),
            (0x8500_0000, false),
            (0x8700_0000, false),
        ] {
            assert_eq!(hvc(function, 0, 0, 0), ours.then_some(Action::Vendor), "{function:#x}");
        }
    }

    #[test]
    fn the_pc_goes_on_after_either_instruction() {
        assert_eq!((Conduit::Hvc.pc_step(), Conduit::Smc.pc_step()), (0, 4));
    }

    #[test]
    fn an_immediate_is_no_call_of_ours() {
        let registers = [SMCCC_VERSION.into(), 0, 0, 0];
        assert_eq!(call(&Call::new(Conduit::Hvc, 1, registers), WORKAROUNDS), Some(Action::NOT_SUPPORTED));
        assert_eq!(call(&Call::new(Conduit::Smc, 0, registers), WORKAROUNDS), Some(Action::Return(0x1_0001)));
    }

    proptest! {
        #[test]
        fn a_32_bit_call_reads_no_upper_half(function: u32, x: [u64; 3], upper: u32) {
            let narrow = function & !(1 << 30);
            let registers = [u64::from(upper) << 32 | u64::from(narrow), x[0], x[1], x[2]];
            let call = Call::new(Conduit::Hvc, 0, registers);
            prop_assert_eq!((call.function, call.arguments), (narrow, x.map(|value| value & 0xffff_ffff)));
            let wide = Call::new(Conduit::Hvc, 0, [(function | 1 << 30).into(), x[0], x[1], x[2]]);
            prop_assert_eq!(wide.arguments, x);
        }
    }
}
