//! Translation tables as the CPU walks them, for the audit (`ktest/audit.rs`): by their words, not by those who wrote them.

use super::{PAGE_SIZE, phys_to_virt};

/// Descriptor bits (Arm ARM D8, "VMSAv8-64 translation table format descriptors").
pub mod bits {
    /// The CPU goes on by it.
    pub const VALID: u64 = 1;
    /// EL0 may access it: AP\[1\].
    pub const USER: u64 = 1 << 6;
    /// Nobody may write: AP\[2\].
    pub const READ_ONLY: u64 = 1 << 7;
    /// It belongs to an ASID.
    pub const NON_GLOBAL: u64 = 1 << 11;
    /// Never executed at EL1.
    pub const PXN: u64 = 1 << 53;
    /// Never executed at EL0.
    pub const UXN: u64 = 1 << 54;
}

/// What is met on a walk.
pub enum Entry {
    /// A table at this physical address.
    Table(u64),
    /// A page or a block, valid or not.
    Leaf {
        /// Its first address.
        start: usize,
        /// Bytes.
        size: usize,
        /// Where it leads.
        physical: u64,
        /// The whole word.
        descriptor: u64,
    },
}

/// Visits the table of level 1 at `root`, which maps the addresses from `base` on, and all that is below it.
pub fn walk(root: u64, base: usize, visit: &mut dyn FnMut(Entry)) {
    visit_table(root, 1, base, visit);
}

fn visit_table(table: u64, level: usize, base: usize, visit: &mut dyn FnMut(Entry)) {
    visit(Entry::Table(table));
    let size = PAGE_SIZE << (9 * (3 - level));
    for index in 0..512 {
        // SAFETY: a word of a table in use, which the linear map holds.
        let descriptor = unsafe { phys_to_virt::<u64>(table).add(index).read_volatile() };
        // A page of a program that has no rights is invalid, and its own all the same.
        if descriptor == 0 || level < 3 && descriptor & bits::VALID == 0 {
            continue;
        }
        let (start, physical) = (base + index * size, descriptor & 0xffff_ffff_f000);
        if level < 3 && descriptor & 2 != 0 {
            visit_table(physical, level + 1, start, visit);
        } else {
            visit(Entry::Leaf { start, size, physical, descriptor });
        }
    }
}
