//! The kernel's own translation tables (TTBR1): the linear map of RAM, the image, stacks and device registers.

#[cfg(feature = "ktest")]
pub mod audit;

use super::{DEVICES_BASE, LINEAR_BASE, LINEAR_SIZE, OutOfMemory, PAGE_SIZE, frames, phys_to_virt};
use crate::extable::Kind;
use crate::percpu::this_cpu;
use crate::sync::IrqLock;
use aarch64_paging::Mapping;
use aarch64_paging::descriptor::{El1Attributes as Attributes, PhysicalAddress};
use aarch64_paging::paging::{Constraints, El1And0, MemoryRegion, PageTable, Translation, VaRange};
use core::arch::asm;
use core::cell::UnsafeCell;
use core::ptr::{NonNull, addr_of};
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use drivers::dt::Region;

/// MAIR_EL1: index 0 Device-nGnRE, index 1 Normal write-back (Arm ARM D19, MAIR_EL1).
pub const MAIR: u64 = 0xff << 8 | 0x04;

const DEVICE: Attributes = Attributes::ATTRIBUTE_INDEX_0.union(Attributes::PXN);
/// Normal memory, inner-shareable.
pub const NORMAL: Attributes = Attributes::ATTRIBUTE_INDEX_1.union(Attributes::INNER_SHAREABLE);
/// What every mapping of the kernel has: valid, accessed, never executable at EL0.
const KERNEL: Attributes = Attributes::VALID.union(Attributes::ACCESSED).union(Attributes::UXN);

/// Level of the root table: 39 bits of address.
pub const ROOT_LEVEL: usize = 1;

unsafe extern "C" {
    static _text: u8;
    static _rodata: u8;
    static _data: u8;
    static _end: u8;
    static boot_stack: u8;
    static boot_stack_guard: u8;
    /// `boot/head.S`
    static replace_ttbr1: u8;
}

/// Tables for the time before the frame allocator's memory is mapped.
const BOOT_TABLES: usize = 16;
#[repr(C, align(4096))]
struct BootTables(UnsafeCell<[[u64; 512]; BOOT_TABLES]>);
// SAFETY: only KernelTables uses them, each once, behind the lock of the kernel map.
unsafe impl Sync for BootTables {}
static BOOT_POOL: BootTables = BootTables(UnsafeCell::new([[0; 512]; BOOT_TABLES]));

struct KernelTables {
    /// Physical address of the image.
    image: u64,
    /// Boot tables handed out; from the switch to these tables on, frames are used instead.
    boot_tables: usize,
    live: AtomicBool,
}

impl Translation<Attributes> for KernelTables {
    fn allocate_table(&mut self) -> (NonNull<PageTable<Attributes>>, PhysicalAddress) {
        let physical = if self.live.load(Relaxed) {
            // Callers look at the number of free frames first (`map_frames`), or are booting.
            frames::alloc_zeroed().expect("a frame for a kernel translation table").into_raw()
        } else {
            assert!(self.boot_tables < BOOT_TABLES, "RAM is in too many pieces for the boot tables");
            let offset = addr_of!(BOOT_POOL) as usize - addr_of!(_text) as usize + self.boot_tables * PAGE_SIZE;
            self.boot_tables += 1;
            self.image + offset as u64
        };
        (self.physical_to_virtual(PhysicalAddress(physical as usize)), PhysicalAddress(physical as usize))
    }

    unsafe fn deallocate_table(&mut self, _: NonNull<PageTable<Attributes>>) {
        // The kernel map only grows.
    }

    fn physical_to_virtual(&self, pa: PhysicalAddress) -> NonNull<PageTable<Attributes>> {
        // Before the switch only the image is mapped, and all tables are in it.
        let address = pa.0 as u64;
        let image = if self.live.load(Relaxed) { None } else { address.checked_sub(self.image) };
        let pointer = match image {
            Some(offset) => addr_of!(_text).wrapping_add(offset as usize).cast_mut().cast(),
            None => phys_to_virt(address),
        };
        NonNull::new(pointer).expect("no table is at address 0")
    }
}

/// The kernel map and where its next free addresses are.
struct KernelMap {
    mapping: Mapping<KernelTables, El1And0>,
    next_device: usize,
}

static KERNEL_MAP: IrqLock<Option<KernelMap>> = IrqLock::new(None);

/// A TTBR0 table that maps nothing, for when no task's is in use: a page of zeroes.
#[repr(C, align(4096))]
struct EmptyTable([u64; 512]);
static EMPTY_TABLE: EmptyTable = EmptyTable([0; 512]);

/// TTBR0_EL1 of the empty table, with ASID 0, which is nobody's.
pub fn empty_ttbr0() -> u64 {
    this_cpu().empty_ttbr0.load(Relaxed)
}

impl KernelMap {
    fn map(&mut self, start: usize, size: usize, physical: u64, attributes: Attributes) {
        if size == 0 {
            return;
        }
        self.mapping
            .map_range(
                &MemoryRegion::new(start, start + size),
                PhysicalAddress(physical as usize),
                attributes | KERNEL,
                Constraints::empty(),
            )
            .expect("the kernel map's ranges are its own");
    }
}

/// Where the image's text, rodata and data begin, and where it ends.
pub fn sections() -> [usize; 4] {
    [addr_of!(_text), addr_of!(_rodata), addr_of!(_data), addr_of!(_end)].map(|symbol| symbol as usize)
}

/// Builds the tables and switches to them.
///
/// # Safety
/// Called once while booting, with the early tables in use. `image` is where the image was loaded, `memory` is RAM.
pub unsafe fn init(memory: &[Region], image: Region) {
    let tables = KernelTables { image: image.base, boot_tables: 0, live: AtomicBool::new(false) };
    let mapping = Mapping::with_asid_and_va_range(tables, 0, ROOT_LEVEL, El1And0, VaRange::Upper);
    let mut map = KernelMap { mapping, next_device: DEVICES_BASE };
    let [text, rodata, data, end] = sections();
    let image_at = |address: usize| image.base + (address - text) as u64;

    // W^X: nothing below is both writable and executable, the linear map's view of text and rodata included.
    map.map(text, rodata - text, image.base, NORMAL | Attributes::READ_ONLY);
    map.map(rodata, data - rodata, image_at(rodata), NORMAL | Attributes::READ_ONLY | Attributes::PXN);
    let [guard, stack] = [addr_of!(boot_stack_guard), addr_of!(boot_stack)].map(|symbol| symbol as usize);
    map.map(data, guard - data, image_at(data), NORMAL | Attributes::PXN);
    map.map(stack, end - stack, image_at(stack), NORMAL | Attributes::PXN);
    for region in memory {
        // Whole pages inside the region; what the linear map cannot hold is not used.
        let start = region.base.next_multiple_of(PAGE_SIZE as u64);
        let end = region.end().min(LINEAR_SIZE) & !(PAGE_SIZE as u64 - 1);
        let linear = |map: &mut KernelMap, start: u64, end: u64, attributes| {
            map.map(LINEAR_BASE + start as usize, end.saturating_sub(start) as usize, start, attributes)
        };
        let read_only = (image.base.clamp(start, end), image_at(data).clamp(start, end));
        linear(&mut map, start, read_only.0, NORMAL | Attributes::PXN);
        linear(&mut map, read_only.0, read_only.1, NORMAL | Attributes::PXN | Attributes::READ_ONLY);
        linear(&mut map, read_only.1, end, NORMAL | Attributes::PXN);
    }

    let root = map.mapping.root_address().0 as u64;
    let empty = (addr_of!(EMPTY_TABLE) as usize - text) as u64 + image.base;
    let replace = addr_of!(replace_ttbr1) as u64 - text as u64 + image.base;
    // SAFETY: the early tables map replace_ttbr1 at its physical address. The new tables map the image where it runs now,
    // with the rights its sections need, and the stack with it. Then nothing needs TTBR0 any more; its entries go.
    unsafe {
        let replace: extern "C" fn(u64, u64) = core::mem::transmute(replace as usize);
        asm!("dsb ish", options(nostack, preserves_flags));
        replace(root, empty);
        asm!("msr ttbr0_el1, {}", "isb", "tlbi vmalle1", "dsb nsh", "isb", in(reg) empty, options(nostack, preserves_flags));
    }
    map.mapping.mark_active();
    // The boot tables stay where they are, in the image, which the linear map holds too.
    map.mapping.translation().live.store(true, Relaxed);
    *KERNEL_MAP.lock() = Some(map);
    this_cpu().empty_ttbr0.store(empty, Relaxed);
}

/// What `address` of the kernel's half is mapped to, as the CPU's own translation has it. Clobbers PAR_EL1.
pub fn physical(address: usize) -> Option<u64> {
    let par: u64;
    // SAFETY: a translation for reading, whose result is a register; a fault is a bit of it. Only an external abort on the walk
    // is taken as an exception, which the exception table ends as a fault.
    unsafe {
        asm!(
            "mov {par}, #1",
            "2: at s1e1r, {address}",
            "isb",
            "mrs {par}, par_el1",
            "3:",
            ".pushsection .ex_table, \"a\"",
            ".long 2b - ., 3b - ., {kind}",
            ".popsection",
            address = in(reg) address,
            par = out(reg) par,
            kind = const Kind::Kernel as u32,
            options(nostack, preserves_flags)
        )
    };
    (par & 1 == 0).then_some(par & 0xffff_ffff_f000 | address as u64 & 0xfff)
}

/// Maps device registers, for good.
pub fn map_device(region: Region) -> NonNull<u8> {
    let mut guard = KERNEL_MAP.lock();
    let map = guard.as_mut().expect("the kernel map stands before devices are used");
    let offset = region.base as usize % PAGE_SIZE;
    let size = (offset + region.size as usize).next_multiple_of(PAGE_SIZE);
    let start = map.next_device;
    map.next_device += size;
    map.map(start, size, region.base - offset as u64, DEVICE);
    NonNull::new(core::ptr::with_exposed_provenance_mut(start + offset)).expect("devices are not at address 0")
}

/// Maps fresh frames at `start`, readable and writable, for good.
pub fn map_frames(start: usize, count: usize) -> Result<(), OutOfMemory> {
    let mut guard = KERNEL_MAP.lock();
    let map = guard.as_mut().expect("the kernel map stands");
    // Each page may need tables of two levels, too.
    if frames::free() < count + 2 {
        return Err(OutOfMemory);
    }
    for page in 0..count {
        let frame = frames::alloc()?.into_raw();
        map.map(start + page * PAGE_SIZE, PAGE_SIZE, frame, NORMAL | Attributes::PXN);
    }
    Ok(())
}
