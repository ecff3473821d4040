//! What AArch32 has that AArch64 has not: conditions. A guest's EL1 is AArch64, its programs need not be.
//!
//! A CPU may trap an instruction whose condition fails, which does nothing: it is to be stepped over. And the IT block that an
//! instruction of T32 is in goes on behind it (Arm ARM, "Conditional execution"; `ConditionHolds`, `AArch32.ITAdvance`).

use trap::esr::Esr;

/// Where SPSR_EL2 has IT\[7:2\] and IT\[1:0\].
const IT_HIGH: u64 = 0x3f << 10;
const IT_LOW: u64 = 0b11 << 25;
const THUMB: u64 = 1 << 5;

/// Whether the trapped instruction does anything: of a class that can be conditional, its condition holds.
pub fn condition_holds(esr: Esr, pstate: u64) -> bool {
    // WFx, coprocessors 10, 14 and 15, floating point; SMC. The others are trapped only when they are executed.
    if !matches!(esr.ec().number(), 0x01 | 0x03..=0x08 | 0x0c | 0x13) {
        return true;
    }
    // SMC: CCKNOWNPASS is 0 if it is known to hold.
    if esr.ec().number() == 0x13 && esr.0 >> 19 & 1 == 0 {
        return true;
    }
    let condition = match (esr.0 >> 24 & 1 != 0, it(pstate)) {
        (true, _) => esr.0 >> 20 & 0xf,
        // The syndrome does not tell: it is the IT block's, outside of which nothing of T32 that traps is conditional.
        (false, 0) => return true,
        (false, it) => it >> 4,
    };
    let [n, z, c, v] = [31, 30, 29, 28].map(|bit| pstate >> bit & 1 != 0);
    let holds = match condition >> 1 {
        0 => z,
        1 => c,
        2 => n,
        3 => v,
        4 => c && !z,
        5 => n == v,
        6 => n == v && !z,
        _ => return true,
    };
    holds != (condition & 1 != 0)
}

/// PSTATE behind the instruction: the next one of its IT block, if it is in one.
pub const fn advance_it(pstate: u64) -> u64 {
    let it = it(pstate);
    if pstate & THUMB == 0 || it == 0 {
        return pstate;
    }
    let next = if it & 0b111 == 0 { 0 } else { it & 0xe0 | it << 1 & 0x1f };
    pstate & !(IT_HIGH | IT_LOW) | next >> 2 << 10 | (next & 0b11) << 25
}

/// IT\[7:0\].
const fn it(pstate: u64) -> u64 {
    (pstate & IT_HIGH) >> 10 << 2 | (pstate & IT_LOW) >> 25
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const N: u64 = 1 << 31;
    const Z: u64 = 1 << 30;
    const C: u64 = 1 << 29;
    const V: u64 = 1 << 28;

    /// A trapped MRC with this condition.
    fn mrc(condition: u64) -> Esr {
        Esr(0x03 << 26 | 1 << 24 | condition << 20)
    }

    fn pstate_of(it: u64) -> u64 {
        THUMB | it >> 2 << 10 | (it & 3) << 25
    }

    #[test]
    fn conditions() {
        // EQ, CS, MI, VS, HI, GE, GT: where they hold, and where not.
        for (condition, holds, fails) in [
            (0, [Z, Z | N], [0, N | C | V]),
            (2, [C, C | Z], [0, N | Z | V]),
            (4, [N, N | V], [0, Z | C | V]),
            (6, [V, V | N], [0, N | Z | C]),
            (8, [C, C | N], [0, C | Z]),
            (10, [N | V, Z], [N, V]),
            (12, [N | V, 0], [Z, N]),
        ] {
            for flags in holds {
                assert!(condition_holds(mrc(condition), flags), "{condition} {flags:#x}");
                assert!(!condition_holds(mrc(condition + 1), flags), "{} {flags:#x}", condition + 1);
            }
            for flags in fails {
                assert!(!condition_holds(mrc(condition), flags), "{condition} {flags:#x}");
                assert!(condition_holds(mrc(condition + 1), flags), "{} {flags:#x}", condition + 1);
            }
        }
        assert!(condition_holds(mrc(14), 0) && condition_holds(mrc(15), N | Z | C | V), "always");
    }

    #[test]
    fn where_the_syndrome_does_not_tell_the_it_block_does() {
        let mrc = Esr(0x03 << 26);
        // NE, of which two more instructions come.
        assert!(condition_holds(mrc, pstate_of(0x14)));
        assert!(!condition_holds(mrc, pstate_of(0x14) | Z));
        assert!(condition_holds(mrc, THUMB), "outside of a block");
    }

    #[test]
    fn what_is_not_conditional() {
        // EQ fails: of a data abort, an HVC, and an SMC that is known to pass.
        for esr in [0x24 << 26 | 1 << 24, 0x12 << 26 | 1 << 24, 0x13 << 26 | 1 << 24] {
            assert!(condition_holds(Esr(esr), 0), "{esr:#x}");
        }
        assert!(!condition_holds(Esr(0x13 << 26 | 1 << 24 | 1 << 19), 0), "an SMC that need not pass");
    }

    #[test]
    fn an_it_block_ends() {
        // ITTE NE: NE, NE, EQ.
        let mut pstate = pstate_of(0x16) | N;
        for it in [0x0c, 0x18, 0, 0] {
            pstate = advance_it(pstate);
            assert_eq!(pstate, pstate_of(it) | N);
        }
        assert_eq!(advance_it(0x10 | IT_LOW), 0x10 | IT_LOW, "A32 has none");
    }

    proptest! {
        #[test]
        fn nothing_else_changes(pstate: u64) {
            prop_assert_eq!(advance_it(pstate) & !(IT_HIGH | IT_LOW), pstate & !(IT_HIGH | IT_LOW));
        }

        #[test]
        fn opposite_conditions(condition in 0_u64..7, flags: u64) {
            prop_assert_ne!(condition_holds(mrc(condition * 2), flags), condition_holds(mrc(condition * 2 + 1), flags));
        }
    }
}
