//! Address spaces of tasks (TTBR0): which addresses a program may use, and the frames behind them.
//!
//! A program's memory is a list of areas with rights. A page gets its frame when it is first touched, and one of its own when it is
//! first written to after a `fork`, in [`AddressSpace::serve`], which both the EL0 abort handler and the copy routines call before anything is called a fault.

#[cfg(feature = "ktest")]
pub mod audit;

use super::kernel_map::NORMAL;
use super::tables::Tables;
use super::{OutOfMemory, PAGE_SIZE, USER_END, frames, page_down};
use aarch64_paging::descriptor::El1Attributes as Attributes;
use alloc::vec::Vec;
use core::arch::asm;
use core::ops::Range;
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

/// A fault as it was taken: the address, and a digest of instruction, syndrome and all registers, so that a loop that goes on is not
/// taken for one that stands still. A program may find registers with the digest it likes, but not have one address faulted at again
/// and again while nothing else happens.
#[derive(Clone, Copy, PartialEq, Eq, Default)]
pub struct Taken {
    far: u64,
    digest: u64,
}

impl Taken {
    /// The fault that made a frame.
    pub fn new(regs: &PtRegs, esr: Esr, far: u64) -> Self {
        let values = regs.regs.iter().chain([&regs.sp, &regs.pc, &esr.0]);
        Taken { far, digest: values.fold(0, |digest: u64, value| digest.rotate_left(7) ^ value) }
    }
}

impl From<OutOfMemory> for Fault {
    fn from(_: OutOfMemory) -> Self {
        Fault::OutOfMemory
    }
}

impl Rights {
    /// Loads and stores.
    pub const READ_WRITE: Rights = Rights { read: true, write: true, execute: false };

    fn allow(self, access: Access) -> bool {
        match access {
            Access::Read => self.read || self.write || self.execute,
            Access::Write => self.write,
            Access::Execute => self.execute,
        }
    }

    /// Descriptor attributes, none without any right. Nobody may write to a frame that is shared.
    fn attributes(self, is_shared: bool) -> Option<Attributes> {
        let mut attributes = PAGE;
        attributes.set(Attributes::READ_ONLY, !self.write || is_shared);
        attributes.set(Attributes::UXN, !self.execute);
        self.allow(Access::Read).then_some(attributes)
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

/// The memory of one program. Dropped, all of it is free again: the tables, then the pages, and the ASID last.
pub struct AddressSpace {
    /// The pages that have been touched, all of them in areas.
    tables: Tables,
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
}

impl AddressSpace {
    /// An empty address space. Its tables are not made of the first program's frames.
    pub fn new() -> Result<Self, OutOfMemory> {
        super::heap::reserve()?;
        check_reserve()?;
        Ok(AddressSpace {
            tables: Tables::new()?,
            areas: Vec::new(),
            image: 0..0,
            heap: 0..0,
            stack: 0..0,
            served: Default::default(),
            first_program: false,
        })
    }

    /// TTBR0_EL1 of this address space: root table and ASID.
    pub fn activate(&self) -> u64 {
        self.tables.ttbr0()
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
        self.tables.remove(range);
        Ok(())
    }

    /// Changes the rights of `whole`, whole pages, up to the first that holds nothing; false when there is such a one.
    pub fn protect(&mut self, whole: Range<usize>, rights: Rights) -> Result<bool, OutOfMemory> {
        let range = whole.start..self.mapped_until(whole.start).min(whole.end);
        self.split_at(&range)?;
        for area in self.areas.iter_mut().filter(|area| area.start >= range.start && area.end <= range.end) {
            area.rights = rights;
        }
        self.join();
        self.served = Default::default();
        self.tables.pages(range.clone(), |mut page| {
            let frame = page.frame();
            if rights.execute {
                sync_instructions(&frame);
            }
            page.protect(rights.attributes(frame.is_shared()));
            Ok(())
        })?;
        Ok(range.end == whole.end)
    }

    /// The first page from `start` on that is in no area.
    fn mapped_until(&self, start: usize) -> usize {
        let mut reached = start;
        for area in self.areas.iter().filter(|area| area.end > start) {
            if area.start > reached {
                break;
            }
            reached = area.end;
        }
        reached
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
        let frame = self.tables.frame(page).filter(|_| address.is_multiple_of(size_of::<u64>()))?;
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
        let first_program = self.first_program;
        match self.tables.get(page) {
            Some(mut page) => {
                let frame = page.frame();
                let is_shared = frame.is_shared();
                if access == Access::Write && is_shared {
                    may_take_frame(first_program)?;
                    let copy = frames::alloc_copy(&frame)?;
                    if area.rights.execute {
                        sync_instructions(&copy);
                    }
                    page.replace(copy, area.rights.attributes(false));
                } else {
                    page.protect(area.rights.attributes(is_shared));
                }
            }
            None => {
                may_take_frame(first_program)?;
                let frame = frames::alloc_zeroed()?;
                if area.rights.execute {
                    sync_instructions(&frame);
                }
                self.tables.insert(page, frame, area.rights.attributes(false))?;
            }
        }
        Ok(area.rights)
    }

    /// Copies `bytes` to `address` whatever the rights are there; before anybody shares the frames.
    pub fn write(&mut self, address: usize, bytes: &[u8]) -> Result<(), Fault> {
        let mut rest = bytes;
        let mut address = address;
        while !rest.is_empty() {
            let rights = self.fault(address, Access::Read)?;
            let frame = self.tables.frame(page_down(address)).expect("the fault was served");
            let offset = address % PAGE_SIZE;
            let (part, after) = rest.split_at(rest.len().min(PAGE_SIZE - offset));
            // SAFETY: the frame is this address space's, and `part` ends with the page.
            unsafe {
                frame.as_ptr().add(offset).copy_from_nonoverlapping(part.as_ptr(), part.len());
            }
            if rights.execute {
                sync_instructions(&frame);
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
        for Area { start, end, rights } in &self.areas {
            let attributes = rights.attributes(true);
            self.tables.pages(*start..*end, |mut page| {
                check_reserve()?;
                copy.tables.insert(page.address(), page.frame().share(), attributes)?;
                page.protect(attributes);
                Ok(())
            })?;
        }
        Ok(copy)
    }

    fn area(&self, address: usize) -> Option<&Area> {
        let at = self.areas.partition_point(|area| area.end <= address);
        self.areas.get(at).filter(|area| area.start <= address)
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
}

/// The machine's last frames are for the first program, as the machine ends with it: fails when only those are left.
fn check_reserve() -> Result<(), OutOfMemory> {
    if frames::free() >= FIRST_PROGRAM_FRAMES { Ok(()) } else { Err(OutOfMemory) }
}

/// Whether there is a frame for this program.
fn may_take_frame(first_program: bool) -> Result<(), OutOfMemory> {
    if first_program { Ok(()) } else { check_reserve() }
}

fn intersect(a: &Range<usize>, b: &Range<usize>) -> bool {
    a.start < b.end && b.start < a.end
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
