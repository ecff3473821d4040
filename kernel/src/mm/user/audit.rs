//! Address spaces against the tables that the CPU walks.

use super::{ASIDS, AddressSpace, PAGE_SIZE, USER_END, USER_START};
use crate::mm::audit::{Entry, bits, walk};
use crate::mm::frames::audit::Census;

impl AddressSpace {
    /// Looks at areas, pages and tables; returns how many pages it has.
    ///
    /// # Panics
    /// They do not fit each other.
    pub fn audit(&self, census: &mut Census<'_>) -> usize {
        let mut reached = USER_START;
        for area in &self.areas {
            let whole = area.start.is_multiple_of(PAGE_SIZE) && area.end.is_multiple_of(PAGE_SIZE);
            let sound = whole && reached <= area.start && area.start < area.end && area.end <= USER_END;
            assert!(sound, "audit: area {:#x}..{:#x} overlaps another, or is none", area.start, area.end);
            reached = area.end;
        }
        for frame in &*self.mapping.translation().spare.borrow() {
            census.sole(frame.address(), "a spare table");
        }
        for (&page, frame) in &self.pages {
            assert!(self.area(page).is_some(), "audit: page {page:#x} is in no area");
            census.page(frame.address());
        }
        walk(self.mapping.root_address().0 as u64, 0, &mut |entry| match entry {
            Entry::Table(table) => census.sole(table, "a program's table"),
            Entry::Leaf { start, physical, descriptor, .. } => {
                self.audit_leaf(start, physical, descriptor, census.is_shared(physical));
            }
        });
        self.pages.len()
    }

    fn audit_leaf(&self, page: usize, physical: u64, descriptor: u64, is_shared: bool) {
        assert!(
            self.pages.get(&page).is_some_and(|frame| frame.address() == physical),
            "audit: address {page:#x} is mapped to {physical:#x}, which is not its frame"
        );
        let rights = self.area(page).map(|area| area.rights);
        let has = |bit| descriptor & bit != 0;
        assert!(
            has(bits::USER) && has(bits::PXN) && has(bits::NON_GLOBAL),
            "audit: page {page:#x} has descriptor {descriptor:#x}: the kernel's, or executable by it"
        );
        assert!(
            has(bits::UXN) || rights.is_some_and(|rights| rights.execute),
            "audit: page {page:#x} can be executed, against its rights"
        );
        assert!(
            has(bits::READ_ONLY) || rights.is_some_and(|rights| rights.write) && !is_shared,
            "audit: page {page:#x} can be written to, against its rights or others'"
        );
    }
}

/// How many identifiers of address spaces are in use.
pub fn asids() -> usize {
    ASIDS.lock()[1..].iter().filter(|used| **used).count()
}
