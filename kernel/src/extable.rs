//! The exception table: the instructions that may fault, and where to go on when they do. Whoever has such an instruction puts
//! it into the section `.ex_table`; the EL1 abort handler looks it up.

use core::ptr::{addr_of, with_exposed_provenance_mut};

unsafe extern "C" {
    static _ex_table: Entry;
    static _ex_table_end: Entry;
}

/// What a fixup is for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
#[repr(u32)]
pub enum Kind {
    /// An access to user memory, which may be served, and then is tried again.
    User,
    /// An access to whatever address, that nobody serves.
    Kernel,
}

/// An instruction that may fault, and where to go on; both relative to their own place, so that the table is the same
/// wherever the kernel is linked (Linux: `struct exception_table_entry`).
#[repr(C)]
#[derive(Clone, Copy)]
struct Entry {
    instruction: i32,
    fixup: i32,
    kind: Kind,
}

/// Where an entry's offset at `place` leads.
pub fn target(place: *const i32) -> usize {
    // SAFETY: a field of an entry of the table.
    place.addr().wrapping_add_signed(unsafe { *place } as isize)
}

impl Entry {
    fn instruction(&self) -> usize {
        target(&self.instruction)
    }

    fn fixup(&self) -> usize {
        target(&self.fixup)
    }
}

/// Where to go on after an abort at `pc`, if one was expected to be possible there, and what for.
pub fn fixup(pc: usize) -> Option<(usize, Kind)> {
    let start = addr_of!(_ex_table);
    // SAFETY: the linker lays the entries out between the two symbols; they are written only by `init`.
    let table = unsafe { core::slice::from_raw_parts(start, addr_of!(_ex_table_end).offset_from_unsigned(start)) };
    let index = table.binary_search_by_key(&pc, Entry::instruction).ok()?;
    Some((table[index].fixup(), table[index].kind))
}

/// Sorts the exception table by the address of its instructions.
///
/// # Safety
/// While booting, when rodata is writable.
pub unsafe fn sort() {
    let start = with_exposed_provenance_mut::<Entry>(addr_of!(_ex_table).expose_provenance());
    // SAFETY: as in `fixup`; nobody reads the table yet.
    let table = unsafe {
        core::slice::from_raw_parts_mut(start, addr_of!(_ex_table_end).offset_from_unsigned(start.cast_const()))
    };
    // Offsets count from the entry's place, and so change with it: an entry moves down by one as often as it must.
    for end in 1..table.len() {
        for at in (1..=end).rev() {
            let [low, high] = &mut table[at - 1..=at] else { unreachable!("two entries") };
            if low.instruction() <= high.instruction() {
                break;
            }
            core::mem::swap(low, high);
            let moved = size_of::<Entry>() as i32;
            (low.instruction, low.fixup) = (low.instruction + moved, low.fixup + moved);
            (high.instruction, high.fixup) = (high.instruction - moved, high.fixup - moved);
        }
    }
}
