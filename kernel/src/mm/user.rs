//! Address spaces of tasks (TTBR0): which addresses a program may use, and the frames behind them.
//!
//! A program's memory is a list of areas with rights. A page gets its frame when it is first touched, and one of its own when it is
//! first written to after a `fork`, in [`AddressSpace::serve`], which both the EL0 abort handler and the copy routines call before anything is called a fault.

#[cfg(feature = "ktest")]
pub mod audit;

use super::kernel_map::{NORMAL, ROOT_LEVEL};
use super::{OutOfMemory, PAGE_SIZE, USER_END, frames, page_down, phys_to_virt};
use crate::sync::IrqLock;
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El1Attributes as Attributes, PhysicalAddress, UpdatableDescriptor};
use aarch64_paging::paging::{El1And0, MemoryRegion, PageTable, Translation, VaRange};
use alloc::collections::BTreeMap;
use alloc::vec::Vec;
use core::arch::asm;
use core::cell::RefCell;
use core::ops::Range;
use core::ptr::NonNull;
use frames::Frame;
use trap::esr::Esr;
use trap::frame::PtRegs;
use trap::place::{self, Place};
use trap::signal::Mapping as Held;

/// What a program may do with an area. Nothing is executable and writable unless the program asked for both.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Rights {
    /// Loads.
    pub read: bool,
    /// Stores; on Arm that lets loads through as well.
    pub write: bool,
    /// Instruction fetches; on Arm that lets loads through as well.
    pub execute: bool,
}

/// How an address was used.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Access {
    /// Load.
    Read,
    /// Store.
    Write,
    /// Instruction fetch.
    Execute,
}

/// Why an access could not be served.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// What the address space holds there does not allow it.
    Refused(Held),
    /// It would have been served, had there been a frame.
    OutOfMemory,
    /// It was served so many times, and came again each time: what was written to the tables is not what the CPU sees.
    Stuck(u32),
}

/// How often the same fault is served before it is told to be stuck.
const MAX_SERVED: u32 = 8;

/// A fault as it was taken: a digest of instruction, address, syndrome and all registers, so that a loop that goes on is not
/// taken for one that stands still.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken(u64);

impl Taken {
    /// The fault that made a frame.
    pub fn new(regs: &PtRegs, esr: Esr, far: u64) -> Self {
        let values = regs.regs.iter().chain([&regs.sp, &regs.pc, &esr.0, &far]);
        Taken(values.fold(0, |digest: u64, value| digest.rotate_left(7) ^ value))
    }
}

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Fault::OutOfMemory
    }
}

impl Rights {
    /// None.
    const NONE: Rights = Rights { read: false, write: false, execute: false };
    /// Loads and stores.
    pub const READ_WRITE: Rights = Rights { read: true, write: true, execute: false };

    fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read || self.write || self.execute,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    /// Descriptor attributes, with at least one right.
    fn attributes(self) -> Attributes {
        let mut attributes = PAGE;
        attributes.set(Attributes::READ_ONLY, !self.write);
        attributes.set(Attributes::UXN, !self.execute);
        attributes
    }
}

/// What every page that may be used has: EL0 access, an ASID, never executable at EL1.
const PAGE: Attributes = NORMAL
    .union(Attributes::VALID)
    .union(Attributes::TABLE_OR_PAGE)
    .union(Attributes::USER)
    .union(Attributes::NON_GLOBAL)
    .union(Attributes::ACCESSED)
    .union(Attributes::PXN);

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Area {
    start: usize,
    end: usize,
    rights: Rights,
}

/// Frames that only the first program's pages, and the kernel, may use.
const FIRST_PROGRAM_FRAMES: usize = 256;
/// Areas an address space may have; bounds what a program can make the kernel allocate.
const MAX_AREAS: usize = 256;
/// No program address is below this: a null pointer with a small offset faults.
pub const USER_START: usize = 0x1_0000;
/// Bytes below a stack that nothing can be mapped to, so that a program which overflows it finds out.
const STACK_GUARD: usize = 1 << 20;
/// Where `mmap` looks for room, from here down.
const MMAP_TOP: usize = USER_END - (1 << 30);

/// Identifiers of address spaces: 8 bits are always there. 0 is the empty table's; only even ones are given out, so that a
/// kernel that hides itself from EL0 can use the odd ones.
static ASIDS: IrqLock<[bool; 128]> = IrqLock::new({
    let mut used = [false; 128];
    used[0] = true;
    used
});

struct Asid(usize);

impl Asid {
    fn new() -> Result<Self, OutOfMemory> {
        let mut used = ASIDS.lock();
        let free = used.iter().position(|used| !used).ok_or(OutOfMemory)?;
        used[free] = true;
        Ok(Asid(free * 2))
    }
}

impl Drop for Asid {
    fn drop(&mut self) {
        // SAFETY: drops every translation that the TLBs of all CPUs hold for this ASID, before it can be used again.
        unsafe {
            asm!("dsb ishst", "tlbi aside1is, {}", "dsb ish", "isb", in(reg) self.0 << 48, options(nostack, preserves_flags))
        };
        ASIDS.lock()[self.0 / 2] = false;
    }
}

/// Bytes that one table of the last level maps.
const TABLE_SPAN: usize = 512 * PAGE_SIZE;
/// Tables that one page may need: levels 2 and 3 below the root.
const TABLES_PER_PAGE: usize = 2;

/// Gives the mapping its tables, out of frames set aside beforehand: `Translation` has no way to fail.
struct UserTables {
    spare: RefCell<heapless::Vec<Frame, TABLES_PER_PAGE>>,
}

impl UserTables {
    fn refill(&self) -> Result<(), OutOfMemory> {
        let mut spare = self.spare.borrow_mut();
        while !spare.is_full() {
            // Not full, so there is room.
            let _ = spare.push(frames::alloc_zeroed()?);
        }
        Ok(())
    }
}

impl Translation<Attributes> for UserTables {
    fn allocate_table(&mut self) -> (NonNull<PageTable<Attributes>>, PhysicalAddress) {
        let physical = self.spare.get_mut().pop().expect("tables were set aside").into_raw();
        let pa = PhysicalAddress(physical as usize);
        (self.physical_to_virtual(pa), pa)
    }

    unsafe fn deallocate_table(&mut self, table: NonNull<PageTable<Attributes>>) {
        let physical = table.addr().get() - super::LINEAR_BASE;
        // SAFETY: `allocate_table` made it from a frame, and the caller is done with it.
        drop(unsafe { Frame::from_raw(physical as u64) });
    }

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<Attributes>> {
        NonNull::new(phys_to_virt(pa.0 as u64)).expect("no table is at address 0")
    }
}

/// The memory of one program. Dropped, all of it is free again: the tables, then the pages, and the ASID last.
pub struct AddressSpace {
    mapping: Mapping<UserTables, El1And0>,
    /// The frames behind the pages that have been touched, by address.
    pages: BTreeMap<usize, Frame>,
    /// Sorted, disjoint, neighbours with the same rights joined.
    areas: Vec<Area>,
    /// From the first to the last segment of the program's file.
    image: Range<usize>,
    heap: Range<usize>,
    stack: Range<usize>,
    /// The last fault, and how often it was served since anything else happened here.
    served: (Taken, u32),
    /// Whether its pages may be the last ones of the machine.
    first_program: bool,
    asid: Asid,
}

impl AddressSpace {
    /// An empty address space. Its tables are not made of the first program's frames.
    pub fn new() -> Result<Self, OutOfMemory> {
        super::heap::reserve()?;
        check_reserve()?;
        let asid = Asid::new()?;
        let tables = UserTables { spare: RefCell::new(heapless::Vec::new()) };
        tables.refill()?;
        let mapping = Mapping::with_asid_and_va_range(tables, asid.0, ROOT_LEVEL, El1And0, VaRange::Lower);
        Ok(AddressSpace {
            mapping,
            pages: BTreeMap::new(),
            areas: Vec::new(),
            image: 0..0,
            heap: 0..0,
            stack: 0..0,
            served: Default::default(),
            first_program: false,
            asid,
        })
    }

    /// TTBR0_EL1 of this address space: root table and ASID. From now on a CPU may hold translations of it, so every change
    /// is followed by their removal.
    pub fn activate(&self) -> u64 {
        if !self.mapping.active() {
            self.mapping.mark_active();
        }
        self.mapping.root_address().0 as u64 | (self.asid.0 as u64) << 48
    }

    /// Adds an area, in place of whatever was there; whole pages, below [`USER_END`] and not in the stack's guard.
    pub fn map(&mut self, range: Range<usize>, rights: Rights) -> Result<(), OutOfMemory> {
        if intersect(&range, &self.guard()) {
            return Err(OutOfMemory);
        }
        self.unmap(range.clone())?;
        self.room_for_area()?;
        let at = self.areas.partition_point(|area| area.start < range.start);
        self.areas.insert(at, Area { start: range.start, end: range.end, rights });
        self.join();
        Ok(())
    }

    /// Removes whatever is in `range`, whole pages. Fails only when areas would have to be split and there are too many.
    pub fn unmap(&mut self, range: Range<usize>) -> Result<(), OutOfMemory> {
        self.served = Default::default();
        self.split_at(&range)?;
        self.areas.retain(|area| area.end <= range.start || area.start >= range.end);
        while let Some(page) = self.pages.range(range.clone()).next().map(|(&page, _)| page) {
            set_descriptor(&mut self.mapping, page, None);
            // No table and, that saw to it, no TLB has the frame any more.
            self.pages.remove(&page);
        }
        if range.len() >= TABLE_SPAN {
            self.mapping.compact_subtables();
        }
        Ok(())
    }

    /// Changes the rights of `range`, whole pages. False when part of it holds nothing: then nothing is changed.
    pub fn protect(&mut self, range: Range<usize>, rights: Rights) -> Result<bool, OutOfMemory> {
        if !self.is_mapped(range.clone()) {
            return Ok(false);
        }
        self.split_at(&range)?;
        for area in self.areas.iter_mut().filter(|area| area.start >= range.start && area.end <= range.end) {
            area.rights = rights;
        }
        self.join();
        self.served = Default::default();
        for (&page, frame) in self.pages.range(range) {
            if rights.execute {
                sync_instructions(frame);
            }
            set_descriptor(&mut self.mapping, page, Some((frame, rights)));
        }
        Ok(true)
    }

    /// Whether every page of `range` is in some area.
    pub fn is_mapped(&self, range: Range<usize>) -> bool {
        let mut reached = range.start;
        for area in self.areas.iter().filter(|area| area.end > range.start) {
            if area.start > reached || reached >= range.end {
                break;
            }
            reached = area.end;
        }
        reached >= range.end
    }

    /// Whether `range` is free of areas and of the stack's guard.
    pub fn is_free(&self, range: Range<usize>) -> bool {
        !intersect(&range, &self.guard()) && self.areas.iter().all(|area| !intersect(&range, &(area.start..area.end)))
    }

    /// What is kept free below the stack.
    fn guard(&self) -> Range<usize> {
        self.stack.start.saturating_sub(STACK_GUARD)..self.stack.start
    }

    /// The highest free stretch of `size` bytes below [`MMAP_TOP`].
    pub fn find_free(&self, size: usize) -> Option<usize> {
        let mut top = MMAP_TOP;
        for area in self.areas.iter().rev() {
            if area.end <= top && top - area.end >= size {
                break;
            }
            top = top.min(area.start);
        }
        top.checked_sub(size).filter(|&start| start >= USER_START)
    }

    /// Says that this is the memory of the first program, which gets frames when others do not any more.
    pub fn set_first_program(&mut self) {
        self.first_program = true;
    }

    /// Says which area is the program's stack.
    pub fn set_stack(&mut self, stack: Range<usize>) {
        self.stack = stack;
    }

    /// What is at an address below [`USER_END`].
    pub fn place(&self, address: usize) -> Place {
        let guard = self.guard();
        let Some(Area { rights: Rights { read, write, execute }, .. }) = self.area(address) else {
            let below = (self.stack.start - address.min(self.stack.start)) as u64;
            return if guard.contains(&address) { Place::UserGuard { below } } else { Place::Unmapped };
        };
        let area =
            [(&self.image, place::Area::Image), (&self.heap, place::Area::Heap), (&self.stack, place::Area::Stack)];
        let area =
            area.into_iter().find(|(range, _)| range.contains(&address)).map_or(place::Area::Mapped, |found| found.1);
        Place::User { area, read: *read, write: *write, execute: *execute }
    }

    /// The aligned word at `address`, if the program could read it and it has been touched. For reports.
    pub fn peek(&self, address: usize) -> Option<u64> {
        let page = page_down(address);
        let frame = self.pages.get(&page).filter(|_| address.is_multiple_of(size_of::<u64>()))?;
        let readable = self.area(address)?.rights.allow(Access::Read);
        // SAFETY: an aligned word of a frame that is this address space's.
        readable.then(|| unsafe { frame.as_ptr().add(address - page).cast::<u64>().read_volatile() })
    }

    /// Says where the program's segments are; the heap (`brk`) begins behind them, and is empty.
    pub fn set_image(&mut self, image: Range<usize>) {
        self.heap = image.end..image.end;
        self.image = image;
    }

    /// Moves the end of the heap, if that can be; returns where it is (Linux `brk`).
    pub fn set_heap_end(&mut self, end: usize) -> usize {
        let old = super::page_up(self.heap.end).expect("the heap is below USER_END");
        let moved = match super::page_up(end) {
            Some(new) if end >= self.heap.start && new <= MMAP_TOP => {
                if new > old {
                    self.is_free(old..new) && self.map(old..new, Rights::READ_WRITE).is_ok()
                } else {
                    new == old || self.unmap(new..old).is_ok()
                }
            }
            _ => false,
        };
        if moved {
            self.heap.end = end;
        }
        self.heap.end
    }

    /// Serves a fault of the program, or of the kernel on its behalf, at `address`, if the areas allow the access. Ok means:
    /// try again.
    pub fn serve(&mut self, taken: Taken, address: usize, access: Access) -> Result<(), Fault> {
        let times = if self.served.0 == taken { self.served.1 + 1 } else { 0 };
        if times == MAX_SERVED {
            return Err(Fault::Stuck(times));
        }
        self.fault(address, access)?;
        self.served = (taken, times);
        Ok(())
    }

    /// Makes an access possible, if the areas allow it; returns their rights there.
    fn fault(&mut self, address: usize, access: Access) -> Result<Rights, Fault> {
        let area = *self.area(address).ok_or(Fault::Refused(Held::None))?;
        if !area.rights.allow(access) {
            return Err(Fault::Refused(Held::Forbids));
        }
        let page = page_down(address);
        match self.pages.get(&page) {
            Some(frame) if access == Access::Write && frame.is_shared() => {
                self.may_take_frame()?;
                let copy = frames::alloc_copy(frame)?;
                // No entry of another frame while a TLB may hold this one (Arm ARM D8, "break-before-make").
                set_descriptor(&mut self.mapping, page, Some((frame, Rights::NONE)));
                self.insert(page, copy, area.rights)?;
            }
            Some(frame) => set_descriptor(&mut self.mapping, page, Some((frame, area.rights))),
            None => {
                self.may_take_frame()?;
                self.insert(page, frames::alloc_zeroed()?, area.rights)?;
            }
        }
        Ok(area.rights)
    }

    /// Whether there is a frame for this program.
    fn may_take_frame(&self) -> Result<(), OutOfMemory> {
        if self.first_program { Ok(()) } else { check_reserve() }
    }

    /// Copies `bytes` to `address` whatever the rights are there; before anybody shares the frames.
    pub fn write(&mut self, address: usize, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        let mut address = address;
        while !rest.is_empty() {
            let rights = self.fault(address, Access::Read)?;
            let frame = self.pages.get(&page_down(address)).expect("the fault was served");
            let offset = address % PAGE_SIZE;
            let (part, after) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            // SAFETY: the frame is this address space's, and `part` ends with the page.
            unsafe {
                frame.as_ptr().add(offset).copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
            if rights.execute {
                sync_instructions(frame);
            }
            address += part.len();
            rest = after;
        }
        Ok(())
    }

    /// Copies a word to `address` as the program itself could; for one that is not running.
    pub fn write_as_user(&mut self, address: usize, word: u32) -> Result<(), Fault> {
        let bytes = word.to_le_bytes();
        self.fault(address, Access::Write)?;
        self.fault(address.saturating_add(bytes.len() - 1), Access::Write)?;
        self.write(address, &bytes)
    }

    /// A copy for `fork`: the same areas, and the same frames. Both lose the right to write to these; whoever writes first
    /// gets a copy of his own ([`serve`](Self::serve)).
    pub fn duplicate(&mut self) -> Result<AddressSpace, OutOfMemory> {
        self.served = Default::default();
        let mut copy = AddressSpace::new()?;
        copy.image = self.image.clone();
        copy.heap = self.heap.clone();
        copy.stack = self.stack.clone();
        super::heap::grow(&mut copy.areas, self.areas.len())?;
        copy.areas.extend_from_slice(&self.areas);
        for (&page, frame) in &self.pages {
            let area = self.area(page).expect("a page lies in an area");
            check_reserve()?;
            copy.insert(page, frame.share(), area.rights)?;
        }
        for (&page, frame) in &self.pages {
            let area = self.areas.iter().find(|area| area.start <= page && page < area.end);
            let area = area.expect("a page lies in an area");
            if area.rights.write {
                set_descriptor(&mut self.mapping, page, Some((frame, area.rights)));
            }
        }
        Ok(copy)
    }

    fn area(&self, address: usize) -> Option<&Area> {
        self.areas.iter().find(|area| area.start <= address && address < area.end)
    }

    /// Makes area boundaries of both ends of `range`.
    fn split_at(&mut self, range: &Range<usize>) -> Result<(), OutOfMemory> {
        for boundary in [range.start, range.end] {
            if let Some(at) = self.areas.iter().position(|area| area.start < boundary && boundary < area.end) {
                self.room_for_area()?;
                let upper = Area { start: boundary, ..self.areas[at] };
                self.areas[at].end = boundary;
                self.areas.insert(at + 1, upper);
            }
        }
        Ok(())
    }

    fn room_for_area(&self) -> Result<(), OutOfMemory> {
        super::heap::reserve()?;
        if self.areas.len() < MAX_AREAS { Ok(()) } else { Err(OutOfMemory) }
    }

    /// Joins neighbours that have the same rights.
    fn join(&mut self) {
        self.areas.dedup_by(|upper, lower| {
            let joined = lower.end == upper.start && lower.rights == upper.rights;
            if joined {
                lower.end = upper.end;
            }
            joined
        });
    }

    /// Puts a frame behind a page, in place of the one that was there, which no entry has any more.
    fn insert(&mut self, page: usize, frame: Frame, rights: Rights) -> Result<(), OutOfMemory> {
        super::heap::reserve()?;
        self.mapping.translation().refill()?;
        // What is shared is in order already: it was for the one it is shared with.
        if rights.execute && !frame.is_shared() {
            sync_instructions(&frame);
        }
        set_descriptor(&mut self.mapping, page, Some((&frame, rights)));
        self.pages.insert(page, frame);
        Ok(())
    }
}

/// Sets a page's descriptor, for which there are tables; without a frame or any right it is invalid, and nobody may write to a
/// shared frame. While there is a frame it is not 0: tables of zeroes are given back, and a change of rights needs its own.
fn set_descriptor(mapping: &mut Mapping<UserTables, El1And0>, page: usize, content: Option<(&Frame, Rights)>) {
    let region = MemoryRegion::new(page, page + PAGE_SIZE);
    let (physical, attributes) = match content {
        Some((frame, rights)) if rights.allow(Access::Read) => {
            let rights = Rights { write: rights.write && !frame.is_shared(), ..rights };
            (frame.address() as usize, rights.attributes())
        }
        Some(_) => (0, Attributes::SWFLAG_0),
        None => (0, Attributes::empty()),
    };
    let set =
        |_: &_, descriptor: &mut UpdatableDescriptor<'_, _>| descriptor.set(PhysicalAddress(physical), attributes);
    mapping.modify_range(&region, &set).expect("a page keeps its frame while it is valid");
}

/// The machine's last frames are for the first program, as the machine ends with it: fails when only those are left.
fn check_reserve() -> Result<(), OutOfMemory> {
    if frames::free() >= FIRST_PROGRAM_FRAMES { Ok(()) } else { Err(OutOfMemory) }
}

fn intersect(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
}

impl Drop for AddressSpace {
    fn drop(&mut self) {
        // No CPU has these tables in TTBR0 any more, and the ASID's translations go before it is used again.
        if self.mapping.active() {
            self.mapping.mark_inactive();
        }
    }
}

/// Makes instructions written to a frame visible to instruction fetches (Arm ARM B2, "Synchronization of instruction and
/// data accesses").
fn sync_instructions(frame: &Frame) {
    let frame = frame.as_ptr().addr();
    let ctr: u64;
    // SAFETY: cache maintenance by address over a frame that the linear map holds.
    unsafe {
        asm!("mrs {}, ctr_el0", out(reg) ctr, options(nomem, nostack, preserves_flags));
        for line in (frame..frame + PAGE_SIZE).step_by(4 << (ctr >> 16 & 0xf)) {
            asm!("dc cvau, {}", in(reg) line, options(nostack, preserves_flags));
        }
        asm!("dsb ish", "ic ialluis", "dsb ish", "isb", options(nostack, preserves_flags));
    }
}
