//! Address spaces against the tables that the CPU walks.

use super::{AddressSpace, PAGE_SIZE, USER_END, USER_START};
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
        let mut pages = 0;
        walk(self.tables.root(), 0, &mut |entry| match entry {
            Entry::Table(table) => census.sole(table, "a program's table"),
            Entry::Leaf { start, physical, descriptor, .. } => {
                pages += 1;
                census.page(physical);
                self.audit_leaf(start, descriptor, census.is_shared(physical));
            }
        });
        pages
    }

    fn audit_leaf(&self, page: usize, descriptor: u64, is_shared: bool) {
        let rights = self.area(page).map(|area| area.rights);
        assert!(rights.is_some(), "audit: page {page:#x} is in no area");
        let has = |bit| descriptor & bit != 0;
        if !has(bits::VALID) {
            return;
        }
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
