//! Memory: frames, the kernel's map and heap, stacks, and the address spaces of tasks.
//!
//! The kernel half (TTBR1, 39 bits):
//!
//! | from | what |
//! |---|---|
//! | `0xffff_ff80_0000_0000` | all RAM, at its physical address plus [`LINEAR_BASE`]; never executable |
//! | `0xffff_ffc0_8000_0000` | the image, as `linker/kernel.ld` lays it out: text R-X, rodata R--, data RW- |
//! | `0xffff_ffd0_0000_0000` | kernel stacks, each below 16 KiB of nothing ([`stacks`]) |
//! | `0xffff_ffe0_0000_0000` | device registers |
//!
//! The user half (TTBR0) is [`user::AddressSpace`].

#[cfg(feature = "ktest")]
pub mod audit;
pub mod frames;
pub mod heap;
pub mod kernel_map;
mod numbers;
pub mod stacks;
pub mod tables;
pub mod user;

use drivers::dt::{Machine, Region};

/// Bytes in a page and in a frame.
pub const PAGE_SIZE: usize = 4096;

/// Where the linear map of RAM begins; a physical address plus this is its virtual address.
pub const LINEAR_BASE: usize = 0xffff_ff80_0000_0000;

/// Bytes of physical address that the linear map holds; RAM beyond is not used.
pub const LINEAR_SIZE: u64 = 0x40_0000_0000;

/// First address of the kernel stacks.
pub const STACKS_BASE: usize = 0xffff_ffd0_0000_0000;

/// First address of device registers.
pub const DEVICES_BASE: usize = 0xffff_ffe0_0000_0000;

/// Bits of a user address (TCR_EL1.T0SZ = 64 - this).
pub const USER_VA_BITS: u32 = 39;

/// One past the last user address.
pub const USER_END: usize = 1 << USER_VA_BITS;

/// No frame, no table and no address-space identifier is left for what was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutOfMemory;

/// The virtual address of physical memory.
pub fn phys_to_virt<T>(physical: u64) -> *mut T {
    core::ptr::with_exposed_provenance_mut(LINEAR_BASE + physical as usize)
}

/// Rounds down to a page.
pub const fn page_down(address: usize) -> usize {
    address & !(PAGE_SIZE - 1)
}

/// Rounds up to a page; none on overflow.
pub const fn page_up(address: usize) -> Option<usize> {
    match address.checked_add(PAGE_SIZE - 1) {
        Some(sum) => Some(page_down(sum)),
        None => None,
    }
}

/// Starts frames and builds the real kernel map. `image` is where the image was loaded, `dtb` the device tree.
///
/// # Safety
/// Called once, on the boot stack, with the early tables in use; the regions are what they are said to be.
pub unsafe fn init(machine: &Machine<'_>, image: Region, dtb: Region) {
    let kept = [image, dtb].into_iter().chain(machine.initrd).chain(machine.reserved.iter().copied());
    frames::init(machine.memory.iter().copied(), kept);
    // SAFETY: as promised by the caller.
    unsafe { kernel_map::init(&machine.memory, image) };
    frames::init_owners();
}
