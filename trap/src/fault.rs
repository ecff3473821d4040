//! Why an abort happened (Arm ARM, ESR_EL1, "DFSC" and "IFSC"), and how bad an error is ("AET" and "SET").

use core::fmt;

/// The level of the translation table where a walk ended: -2 to 3, where 3 maps single pages.
pub type Level = i8;

/// A decoded DFSC or IFSC. The two share one encoding; an instruction abort uses a subset.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultStatus {
    /// The output address (or TTBR) has bits beyond the configured physical size.
    AddressSize(Level),
    /// No valid descriptor, or an address outside what the tables cover.
    Translation(Level),
    /// The descriptor's access flag is clear.
    AccessFlag(Level),
    /// The descriptor forbids the access.
    Permission(Level),
    /// Synchronous external abort by the access itself.
    External,
    /// Synchronous external abort while reading (or updating) the table of this level.
    ExternalOnWalk(Level),
    /// Parity or ECC error in the access itself.
    Parity,
    /// Parity or ECC error on a table walk.
    ParityOnWalk(Level),
    /// The address's logical tag and memory's allocation tag differ (MTE).
    TagCheck,
    /// Unaligned where alignment is needed.
    Alignment,
    /// A debug event: breakpoints, watchpoints and steps carry this.
    Debug,
    /// The physical page belongs to another security state (RME).
    GranuleProtection,
    /// A table lies in another security state's memory. Level -2 shares its code with [`Debug`](FaultStatus::Debug).
    GranuleProtectionOnWalk(Level),
    /// Two TLB entries match one address.
    TlbConflict,
    /// The descriptor cannot be updated atomically by hardware.
    UnsupportedAtomicUpdate,
    /// Implementation defined: lockdown.
    Lockdown,
    /// Implementation defined: exclusive or atomic access to memory that cannot do it.
    UnsupportedExclusive,
    /// AArch32 domain fault in a section (`false`) or page (`true`); only PAR_EL1 reports it.
    Domain(bool),
    /// A code that the architecture does not allocate, kept as it was.
    Reserved(u8),
}

impl FaultStatus {
    /// Decodes the six bits of DFSC or IFSC; the upper two bits of `code` are ignored.
    #[inline(always)]
    pub const fn decode(code: u8) -> FaultStatus {
        use FaultStatus::*;
        let code = code & 0x3f;
        let level = (code & 3) as Level;
        match code {
            0x00..=0x03 => AddressSize(level),
            0x04..=0x07 => Translation(level),
            0x08..=0x0b => AccessFlag(level),
            0x0c..=0x0f => Permission(level),
            0x10 => External,
            0x11 => TagCheck,
            0x12 => ExternalOnWalk(-2),
            0x13 => ExternalOnWalk(-1),
            0x14..=0x17 => ExternalOnWalk(level),
            0x18 => Parity,
            0x1b => ParityOnWalk(-1),
            0x1c..=0x1f => ParityOnWalk(level),
            0x21 => Alignment,
            0x22 => Debug,
            0x23 => GranuleProtectionOnWalk(-1),
            0x24..=0x27 => GranuleProtectionOnWalk(level),
            0x28 => GranuleProtection,
            0x29 => AddressSize(-1),
            0x2a => Translation(-2),
            0x2b => Translation(-1),
            0x2c => AddressSize(-2),
            0x30 => TlbConflict,
            0x31 => UnsupportedAtomicUpdate,
            0x34 => Lockdown,
            0x35 => UnsupportedExclusive,
            0x3d => Domain(false),
            0x3e => Domain(true),
            _ => Reserved(code),
        }
    }

    /// Whether it is for what the tables hold, which changing them can mend: a translation, access flag or permission fault.
    pub const fn is_of_mapping(self) -> bool {
        matches!(self, FaultStatus::Translation(_) | FaultStatus::AccessFlag(_) | FaultStatus::Permission(_))
    }

    /// The table level, where the status has one.
    pub const fn level(self) -> Option<Level> {
        use FaultStatus::*;
        match self {
            AddressSize(level) | Translation(level) | AccessFlag(level) | Permission(level) => Some(level),
            ExternalOnWalk(level) | ParityOnWalk(level) | GranuleProtectionOnWalk(level) => Some(level),
            _ => None,
        }
    }
}

impl fmt::Display for FaultStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        use FaultStatus::*;
        f.write_str(match self {
            AddressSize(_) => "address size fault",
            Translation(_) => "translation fault",
            AccessFlag(_) => "access flag fault",
            Permission(_) => "permission fault",
            External => "external abort",
            ExternalOnWalk(_) => "external abort on a table walk",
            Parity => "parity or ECC error",
            ParityOnWalk(_) => "parity or ECC error on a table walk",
            TagCheck => "tag check fault",
            Alignment => "alignment fault",
            Debug => "debug event",
            GranuleProtection => "granule protection fault",
            GranuleProtectionOnWalk(_) => "granule protection fault on a table walk",
            TlbConflict => "TLB conflict",
            UnsupportedAtomicUpdate => "unsupported atomic hardware update",
            Lockdown => "lockdown fault",
            UnsupportedExclusive => "unsupported exclusive or atomic access",
            Domain(false) => "section domain fault",
            Domain(true) => "page domain fault",
            Reserved(code) => return write!(f, "fault of reserved status {code:#04x}"),
        })?;
        self.level().map_or(Ok(()), |level| write!(f, ", level {level}"))
    }
}

/// How bad an error is (Arm RAS extension; ISS.AET, ISS.SET).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    /// UC: it may have spread anywhere.
    Uncontainable,
    /// UEU: this context cannot go on.
    Unrecoverable,
    /// UEO: this context can go on as it is.
    Restartable,
    /// UER: this context can go on once software has repaired what it lost.
    Recoverable,
    /// CE: nothing was lost.
    Corrected,
    /// DFSC 0: the CPU does not say.
    Uncategorised,
    /// IDS: the syndrome is the implementation's own.
    ImplementationDefined,
    /// A value that the architecture does not allocate.
    Reserved,
}

impl Severity {
    /// Whether the interrupted program may be resumed without repair.
    pub const fn may_resume(self) -> bool {
        matches!(self, Severity::Corrected | Severity::Restartable)
    }

    /// Decodes ISS.AET of an SError, 3 bits.
    pub(crate) const fn from_aet(aet: u8) -> Severity {
        match aet {
            0 => Severity::Uncontainable,
            1 => Severity::Unrecoverable,
            2 => Severity::Restartable,
            3 => Severity::Recoverable,
            6 => Severity::Corrected,
            _ => Severity::Reserved,
        }
    }

    /// Decodes ISS.SET of a synchronous external abort, 2 bits.
    pub(crate) const fn from_set(set: u8) -> Severity {
        match set {
            0 => Severity::Recoverable,
            2 => Severity::Uncontainable,
            3 => Severity::Restartable,
            _ => Severity::Reserved,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::FaultStatus::{self, *};
    use std::{collections::BTreeSet, string::ToString};

    #[test]
    fn levels_and_lone_codes() {
        for (code, status, words) in [
            (0x00, AddressSize(0), "address size fault, level 0"),
            (0x07, Translation(3), "translation fault, level 3"),
            (0x09, AccessFlag(1), "access flag fault, level 1"),
            (0x0e, Permission(2), "permission fault, level 2"),
            (0x10, External, "external abort"),
            (0x11, TagCheck, "tag check fault"),
            (0x13, ExternalOnWalk(-1), "external abort on a table walk, level -1"),
            (0x17, ExternalOnWalk(3), "external abort on a table walk, level 3"),
            (0x18, Parity, "parity or ECC error"),
            (0x1c, ParityOnWalk(0), "parity or ECC error on a table walk, level 0"),
            (0x21, Alignment, "alignment fault"),
            (0x22, Debug, "debug event"),
            (0x28, GranuleProtection, "granule protection fault"),
            (0x29, AddressSize(-1), "address size fault, level -1"),
            (0x2b, Translation(-1), "translation fault, level -1"),
            (0x30, TlbConflict, "TLB conflict"),
            (0x31, UnsupportedAtomicUpdate, "unsupported atomic hardware update"),
            (0x34, Lockdown, "lockdown fault"),
            (0x35, UnsupportedExclusive, "unsupported exclusive or atomic access"),
            (0x3f, Reserved(0x3f), "fault of reserved status 0x3f"),
        ] {
            assert_eq!(FaultStatus::decode(code), status);
            assert_eq!(FaultStatus::decode(code | 0xc0), status, "only six bits count");
            assert_eq!(status.to_string(), words);
        }
    }

    #[test]
    fn all_64_codes_mean_different_things() {
        let words: BTreeSet<_> = (0..64).map(|code| FaultStatus::decode(code).to_string()).collect();
        assert_eq!(words.len(), 64);
    }

    #[test]
    fn reserved_codes_are_kept() {
        let reserved = (0..64).filter(|&code| matches!(FaultStatus::decode(code), Reserved(raw) if raw == code));
        assert!(
            reserved.eq([0x19, 0x1a, 0x20, 0x2d, 0x2e, 0x2f, 0x32, 0x33].into_iter().chain(0x36..=0x3c).chain([0x3f]))
        );
    }
}
