//! One List Register, and how GICv2 and GICv3 write it.

/// Which GIC the machine has, and with it the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Version {
    /// GICv2 (IHI 0048).
    V2,
    /// GICv3 (IHI 0069), affinity routing on, one security state, no LPIs.
    V3,
}

/// The state of the interrupt in a List Register; the numbers are the hardware's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum State {
    /// The register holds no interrupt.
    #[default]
    Invalid = 0b00,
    /// To be acknowledged by the guest.
    Pending = 0b01,
    /// Acknowledged, not yet deactivated.
    Active = 0b10,
    /// Acknowledged, and pending once more. Forbidden with [`Link::Hw`]; the planner never writes it, see [`super`].
    PendingActive = 0b11,
}

impl State {
    /// Whether an occurrence waits to be acknowledged.
    pub const fn is_pending(self) -> bool {
        self as u8 & 0b01 != 0
    }

    /// Whether an occurrence waits to be deactivated.
    pub const fn is_active(self) -> bool {
        self as u8 & 0b10 != 0
    }

    const fn from_bits(bits: u64) -> State {
        match bits & 0b11 {
            0b00 => State::Invalid,
            0b01 => State::Pending,
            0b10 => State::Active,
            _ => State::PendingActive,
        }
    }
}

/// What happens when the guest deactivates the interrupt.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Link {
    /// HW = 1: the hardware deactivates the physical interrupt of this INTID.
    Hw(u32),
    /// HW = 0: nothing outside the register.
    Software {
        /// Raise the maintenance interrupt at the end of the interrupt.
        eoi: bool,
        /// GICv2 only: the CPU that an SGI came from.
        source: u8,
    },
}

/// One List Register, the same for GICH_LR (IHI 0048, 5.3.8) and ICH_LR_EL2 (IHI 0069, 12.4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ListRegister {
    /// The virtual INTID.
    pub intid: u32,
    /// The priority, of which the top five bits exist.
    pub priority: u8,
    /// In Group 1: an IRQ; else in Group 0.
    pub group1: bool,
    /// Pending, active, both or none.
    pub state: State,
    /// What its deactivation does.
    pub link: Link,
}

const fn field(value: u64, shift: u32, bits: u32) -> u64 {
    value >> shift & ((1 << bits) - 1)
}

impl ListRegister {
    /// The register as the hardware of `version` has it; 32 bits on GICv2.
    #[inline(always)]
    pub const fn encode(self, version: Version) -> u64 {
        let (state, group1, intid) = (self.state as u64, self.group1 as u64, self.intid as u64);
        match version {
            Version::V2 => {
                let link = match self.link {
                    Link::Hw(physical) => 1 << 31 | (physical as u64 & 0x3ff) << 10,
                    Link::Software { eoi, source } => (eoi as u64) << 19 | (source as u64 & 7) << 10,
                };
                link | group1 << 30 | state << 28 | (self.priority as u64 >> 3) << 23 | intid & 0x3ff
            }
            Version::V3 => {
                let link = match self.link {
                    Link::Hw(physical) => 1 << 61 | (physical as u64 & 0x1fff) << 32,
                    Link::Software { eoi, .. } => (eoi as u64) << 41,
                };
                link | state << 62 | group1 << 60 | (self.priority as u64) << 48 | intid
            }
        }
    }

    /// What the hardware of `version` holds.
    #[inline]
    pub const fn decode(version: Version, raw: u64) -> ListRegister {
        match version {
            Version::V2 => ListRegister {
                intid: field(raw, 0, 10) as u32,
                priority: (field(raw, 23, 5) << 3) as u8,
                group1: field(raw, 30, 1) != 0,
                state: State::from_bits(raw >> 28),
                link: match field(raw, 31, 1) {
                    0 => Link::Software { eoi: field(raw, 19, 1) != 0, source: field(raw, 10, 3) as u8 },
                    _ => Link::Hw(field(raw, 10, 10) as u32),
                },
            },
            Version::V3 => ListRegister {
                intid: field(raw, 0, 32) as u32,
                priority: field(raw, 48, 8) as u8,
                group1: field(raw, 60, 1) != 0,
                state: State::from_bits(raw >> 62),
                link: match field(raw, 61, 1) {
                    0 => Link::Software { eoi: field(raw, 41, 1) != 0, source: 0 },
                    _ => Link::Hw(field(raw, 32, 13) as u32),
                },
            },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn the_fields_are_where_the_hardware_has_them() {
        let timer = ListRegister { intid: 27, priority: 0xa0, group1: true, state: State::Pending, link: Link::Hw(27) };
        assert_eq!(timer.encode(Version::V2), 0xda00_6c1b);
        assert_eq!(timer.encode(Version::V3), 0x70a0_001b_0000_001b);
        let sgi = ListRegister {
            intid: 5,
            priority: 0x08,
            group1: false,
            state: State::Active,
            link: Link::Software { eoi: true, source: 3 },
        };
        assert_eq!(sgi.encode(Version::V2), 0x2088_0c05);
        assert_eq!(sgi.encode(Version::V3), 0x8008_0200_0000_0005);
    }

    proptest! {
        #[test]
        fn decode_undoes_encode(
            intid in 0u32..1020, priority: u8, group1: bool, state in 0u64..4,
            link in prop_oneof![
                (0u32..1020).prop_map(Link::Hw),
                (any::<bool>(), 0u8..8).prop_map(|(eoi, source)| Link::Software { eoi, source }),
            ],
        ) {
            let written = ListRegister { intid, priority: priority & 0xf8, group1, state: State::from_bits(state), link };
            prop_assert_eq!(ListRegister::decode(Version::V2, written.encode(Version::V2)), written);
            prop_assert!(written.encode(Version::V2) <= u32::MAX.into());
            let without_source = match link {
                Link::Software { eoi, .. } => ListRegister { link: Link::Software { eoi, source: 0 }, ..written },
                Link::Hw(_) => written,
            };
            prop_assert_eq!(ListRegister::decode(Version::V3, written.encode(Version::V3)), without_source);
        }

        #[test]
        fn any_bits_decode(raw: u64) {
            ListRegister::decode(Version::V2, raw);
            ListRegister::decode(Version::V3, raw);
        }
    }
}
