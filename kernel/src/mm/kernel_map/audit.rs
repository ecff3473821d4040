//! The kernel's own tables as the CPU walks them.

use super::{KERNEL_MAP, sections};
use crate::mm::audit::{Entry, bits, walk};
use crate::mm::frames::audit::Census;
use crate::mm::{DEVICES_BASE, LINEAR_BASE, STACKS_BASE};

/// Enters the kernel's tables and stacks.
///
/// # Panics
/// EL0 can reach something, or something can be written to and executed, by whatever addresses.
pub fn check(census: &mut Census<'_>) {
    let guard = KERNEL_MAP.lock();
    let mapping = &guard.as_ref().expect("the kernel map stands").mapping;
    let [text, rodata, ..] = sections();
    let code = mapping.translation().image..mapping.translation().image + (rodata - text) as u64;
    walk(mapping.root_address().0 as u64, LINEAR_BASE, &mut |entry| match entry {
        Entry::Table(table) => census.sole(table, "a table of the kernel's"),
        Entry::Leaf { descriptor, .. } if descriptor & bits::VALID == 0 => {}
        Entry::Leaf { start, size, physical, descriptor } => {
            let has = |bit| descriptor & bit != 0;
            assert!(!has(bits::USER) && has(bits::UXN), "audit: EL0 can reach the kernel's {start:#x}");
            let is_code = physical < code.end && code.start < physical + size as u64;
            assert!(has(bits::PXN) || is_code, "audit: the kernel's {start:#x} can be executed, and is no code");
            assert!(has(bits::READ_ONLY) || !is_code, "audit: the kernel's code can be written to, at {start:#x}");
            if (STACKS_BASE..DEVICES_BASE).contains(&start) {
                census.sole(physical, "of a kernel stack");
            }
        }
    });
}
