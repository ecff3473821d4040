//! Translation tables of a program (TTBR0): three levels of 512 descriptors, 39 bits of address.
//!
//! They are the one record of which frame is behind which page: a descriptor owns the frame that it names, and one that leads to a
//! table owns that. A page that has a frame and no rights has an invalid descriptor, which names the frame all the same.

use super::frames::{self, Frame};
use super::kernel_map::ROOT_LEVEL;
use super::numbers::Numbers;
use super::stacks::MAX_STACKS;
use super::{OutOfMemory, PAGE_SIZE, phys_to_virt};
use crate::sync::IrqLock;
use aarch64_cpu::registers::{Readable, TCR_EL1};
use aarch64_paging::descriptor::El1Attributes as Attributes;
use core::arch::asm;
use core::marker::PhantomData;
use core::mem::ManuallyDrop;
use core::ops::Range;

/// Level of the tables whose descriptors are of pages.
const LEAF: usize = 3;
/// Descriptors in a table.
const ENTRIES: usize = 512;
/// Descriptors that are looked at together: most are 0.
const GROUP: usize = 16;
/// The address in a descriptor.
const ADDRESS: u64 = 0xffff_ffff_f000;
/// The type of a descriptor that leads to a table (Arm ARM D8, "VMSAv8-64 translation table format descriptors").
const TABLE: u64 = 0b11;

/// Bytes that a descriptor in a table of `level` maps.
const fn span(level: usize) -> usize {
    PAGE_SIZE << (ENTRIES.trailing_zeros() as usize * (LEAF - level))
}

/// Identifiers of address spaces, for two of each program: while it becomes another one it has both. 0 is the empty table's; only
/// even ones are given out, so that a kernel that hides itself from EL0 can use the odd ones.
static ASIDS: IrqLock<Numbers<{ 2 * MAX_STACKS }>> = IrqLock::new(Numbers::new());

/// One of them.
struct Asid(u64);

impl Asid {
    fn new() -> Result<Self, OutOfMemory> {
        // The boot code has them 16 bits wide where the CPU can; 8 bits are always there.
        let bits = if TCR_EL1.is_set(TCR_EL1::AS) { 16 } else { 8 };
        let number = ASIDS.lock().take((1 << bits) / 2 - 1).ok_or(OutOfMemory)?;
        Ok(Asid(2 * (number as u64 + 1)))
    }
}

impl Drop for Asid {
    fn drop(&mut self) {
        // SAFETY: drops every translation that the TLBs of all CPUs hold for this ASID, before it can be used again.
        unsafe {
            asm!("dsb ishst", "tlbi aside1is, {}", "dsb ish", "isb", in(reg) self.0 << 48, options(nostack, preserves_flags))
        };
        ASIDS.lock().give_back((self.0 / 2 - 1) as usize);
    }
}

/// How many identifiers of address spaces are in use.
#[cfg(feature = "ktest")]
pub fn asids() -> usize {
    ASIDS.lock().in_use()
}

/// A descriptor in its table.
#[derive(Clone, Copy)]
struct Place(*mut u64);

impl Place {
    /// The descriptor for `address` in a table of `level`, which another descriptor, or the root's address, leads to.
    fn new(table: u64, level: usize, address: usize) -> Self {
        Place(phys_to_virt::<u64>(table & ADDRESS).wrapping_add(address / span(level) % ENTRIES))
    }

    fn get(self) -> u64 {
        // SAFETY: in a table, which is in the linear map.
        unsafe { self.0.read_volatile() }
    }

    /// Those from here on, where that is a multiple of [`GROUP`].
    fn group(self) -> [u64; GROUP] {
        // SAFETY: as above; the table has whole groups.
        unsafe { self.0.cast::<[u64; GROUP]>().read() }
    }

    fn set(self, descriptor: u64) {
        // SAFETY: as above, and who made `self` has the tables to itself.
        unsafe { self.0.write_volatile(descriptor) };
        // SAFETY: a barrier. The next access finds it; what was 0 is in no TLB.
        unsafe { asm!("dsb ishst", "isb", options(nostack, preserves_flags)) };
    }
}

/// Drops what the TLBs of all CPUs hold of a page, and of the tables that lead there.
fn forget(asid: u64, page: usize) {
    let operand = asid << 48 | (page / PAGE_SIZE) as u64;
    // SAFETY: what is dropped is found again in the tables.
    unsafe { asm!("tlbi vae1is, {}", "dsb ish", "isb", in(reg) operand, options(nostack, preserves_flags)) };
}

/// The descriptor of a page; without attributes nobody may use it.
fn descriptor(frame: u64, attributes: Option<Attributes>) -> u64 {
    // Not 0, be the frame at address 0.
    frame | attributes.unwrap_or(Attributes::SWFLAG_0).bits() as u64
}

/// A page that has a frame.
pub struct Page<'a> {
    place: Place,
    address: usize,
    asid: u64,
    tables: PhantomData<&'a mut Tables>,
}

impl Page<'_> {
    /// Its address.
    pub fn address(&self) -> usize {
        self.address
    }

    /// Its frame, which it keeps.
    pub fn frame(&self) -> ManuallyDrop<Frame> {
        // SAFETY: the descriptor owns it, and the copy of it is not dropped.
        ManuallyDrop::new(unsafe { Frame::from_raw(self.place.get() & ADDRESS) })
    }

    /// Gives it the rights of these attributes, or none.
    pub fn protect(&mut self, attributes: Option<Attributes>) {
        let old = self.place.get();
        let new = descriptor(old & ADDRESS, attributes);
        if new != old {
            self.place.set(new);
            forget(self.asid, self.address);
        }
    }

    /// Gives it another frame.
    pub fn replace(&mut self, frame: Frame, attributes: Option<Attributes>) {
        // No descriptor of another frame while a TLB may hold this one (Arm ARM D8, "break-before-make").
        self.protect(None);
        let old = self.frame();
        self.place.set(descriptor(frame.into_raw(), attributes));
        drop(ManuallyDrop::into_inner(old));
    }
}

/// What [`walk`] calls for a descriptor: its place, its level and the address it is for.
type Visit<'a> = &'a mut dyn FnMut(Place, usize, usize) -> Result<(), OutOfMemory>;

/// Calls `visit` for all descriptors but 0 of pages in `range`, in order, and behind those of a table for the one that leads to it,
/// if the whole of the table is for `range`. The table, of `level`, is for the addresses from `base` on.
fn walk(table: u64, level: usize, base: usize, range: &Range<usize>, visit: Visit<'_>) -> Result<(), OutOfMemory> {
    let span = span(level);
    let end = range.end.min(base + ENTRIES * span);
    let mut address = base.max(range.start) / span * span;
    while address < end {
        let place = Place::new(table, level, address);
        if (address / span).is_multiple_of(GROUP) && place.group().iter().fold(0, |all, one| all | one) == 0 {
            address += GROUP * span;
            continue;
        }
        let descriptor = place.get();
        if descriptor != 0 {
            if level < LEAF {
                walk(descriptor, level + 1, address, range, visit)?;
            }
            if range.start <= address && address + span <= range.end {
                visit(place, level, address)?;
            }
        }
        address += span;
    }
    Ok(())
}

/// The tables of one program.
pub struct Tables {
    root: Frame,
    asid: Asid,
}

impl Tables {
    /// Tables without a page.
    pub fn new() -> Result<Self, OutOfMemory> {
        Ok(Tables { asid: Asid::new()?, root: frames::alloc_zeroed()? })
    }

    /// TTBR0_EL1.
    pub fn ttbr0(&self) -> u64 {
        self.root.address() | self.asid.0 << 48
    }

    /// The table of level 1.
    #[cfg(feature = "ktest")]
    pub fn root(&self) -> u64 {
        self.root.address()
    }

    /// Where the descriptor of a page that has a frame is.
    fn place(&self, page: usize) -> Option<Place> {
        let mut table = self.root.address();
        for level in ROOT_LEVEL..LEAF {
            table = Place::new(table, level, page).get();
            if table == 0 {
                return None;
            }
        }
        Some(Place::new(table, LEAF, page)).filter(|place| place.get() != 0)
    }

    fn page(&self, place: Place, address: usize) -> Page<'_> {
        Page { place, address, asid: self.asid.0, tables: PhantomData }
    }

    /// The frame of a page.
    pub fn frame(&self, page: usize) -> Option<ManuallyDrop<Frame>> {
        self.place(page).map(|place| self.page(place, page).frame())
    }

    /// A page, if it has a frame.
    pub fn get(&mut self, page: usize) -> Option<Page<'_>> {
        self.place(page).map(|place| self.page(place, page))
    }

    /// Gives a page that has none a frame.
    pub fn insert(&mut self, page: usize, frame: Frame, attributes: Option<Attributes>) -> Result<(), OutOfMemory> {
        let mut table = self.root.address();
        for level in ROOT_LEVEL..LEAF {
            let place = Place::new(table, level, page);
            table = place.get();
            if table == 0 {
                table = frames::alloc_zeroed()?.into_raw() | TABLE;
                // Zeroes before what leads there, for walks of other CPUs.
                // SAFETY: a barrier.
                unsafe { asm!("dmb ishst", options(nostack, preserves_flags)) };
                place.set(table);
            }
        }
        Place::new(table, LEAF, page).set(descriptor(frame.into_raw(), attributes));
        Ok(())
    }

    /// Calls `visit` for each page of `range` that has a frame, in order, until that fails.
    pub fn pages(
        &mut self,
        range: Range<usize>,
        mut visit: impl FnMut(Page<'_>) -> Result<(), OutOfMemory>,
    ) -> Result<(), OutOfMemory> {
        walk(self.root.address(), ROOT_LEVEL, 0, &range, &mut |place, level, address| match level {
            LEAF => visit(self.page(place, address)),
            _ => Ok(()),
        })
    }

    /// Takes the frames of all pages of `range` away, and the tables that are for nothing else.
    pub fn remove(&mut self, range: Range<usize>) {
        let asid = self.asid.0;
        self.take(&range, |place, address| {
            place.set(0);
            forget(asid, address);
        });
    }

    /// Drops what the descriptors for `range` own, each when `unlink` has seen to it that no CPU goes that way any more.
    fn take(&mut self, range: &Range<usize>, mut unlink: impl FnMut(Place, usize)) {
        // Nothing in it fails.
        let _ = walk(self.root.address(), ROOT_LEVEL, 0, range, &mut |place, _, address| {
            let owned = place.get() & ADDRESS;
            unlink(place, address);
            // SAFETY: the descriptor owned it, and neither tables nor a TLB have it any more.
            drop(unsafe { Frame::from_raw(owned) });
            Ok(())
        });
    }
}

impl Drop for Tables {
    fn drop(&mut self) {
        // No CPU has them in TTBR0 any more, and what TLBs hold of the ASID goes before it is used again.
        self.take(&(0..ENTRIES * span(ROOT_LEVEL)), |_, _| ());
    }
}
