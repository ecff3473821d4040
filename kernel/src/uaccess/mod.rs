//! The only way to user memory: copies that end in an error, not in a fault.
//!
//! A copy first refuses ranges that are not all below `USER_END`, so no kernel address is ever tried; then the routines of
//! `copy.S` do it with EL0's rights, inside a window (`window.S`) outside of which the CPU refuses the kernel every user address.
//! Their instructions stand in the exception table, which the EL1 abort handler asks.

use crate::extable::{self, Kind};
use crate::mm::{OutOfMemory, PAGE_SIZE, USER_END, heap};
use crate::percpu::PerCpu;
use crate::site::{Site, patch};
use alloc::vec::Vec;
use core::arch::{asm, global_asm};
use core::mem::{MaybeUninit, offset_of};
use core::ptr::addr_of;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};

global_asm!(
    include_str!("window.S"),
    include_str!("copy.S"),
    CURRENT_TTBR0 = const CURRENT_TTBR0,
    CPU_EMPTY_TTBR0 = const offset_of!(PerCpu, empty_ttbr0),
    USER = const Kind::User as u32,
    KERNEL = const Kind::Kernel as u32,
);

/// Where, in what `current` (SP_EL0) points at, TTBR0_EL1 of the running task is.
pub const CURRENT_TTBR0: usize = 16;

/// The kernel's side of a failed copy: how many bytes at the end were not copied (a write) or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes left.
    pub left: usize,
}

unsafe extern "C" {
    fn raw_copy_from_user(to: *mut u8, from: usize, length: usize) -> usize;
    fn raw_copy_to_user(to: usize, from: *const u8, length: usize) -> usize;
    fn raw_clear_user(to: usize, _: usize, length: usize) -> usize;
    fn raw_peek(address: usize) -> Peeked;
    /// Instructions that a CPU with FEAT_PAN has no use for, and what comes after them.
    static _pan_sites: Site;
    static _pan_sites_end: Site;
}

/// Whether this CPU has FEAT_PAN.
static HAS_PAN: AtomicBool = AtomicBool::new(false);

/// Whether PSTATE.PAN keeps the kernel from user memory; else TTBR0 does, which only holds a task's table inside a window.
pub fn has_pan() -> bool {
    HAS_PAN.load(Relaxed)
}

/// Chooses how the kernel is kept from user memory, and puts the exception table in order.
///
/// # Safety
/// Once, while booting, with the early tables, by which the image is writable; DAIF is masked.
pub unsafe fn init() {
    /// ID_AA64MMFR1_EL1.PAN and SCTLR_EL1.SPAN: with SPAN 0 each exception sets PSTATE.PAN.
    const PAN: u64 = 0xf << 20;
    const SPAN: u64 = 1 << 23;
    // SAFETY: as promised by the caller.
    unsafe { extable::sort() };
    let features: u64;
    // SAFETY: a read of a register.
    unsafe { asm!("mrs {}, id_aa64mmfr1_el1", out(reg) features, options(nomem, nostack, preserves_flags)) };
    if features & PAN == 0 {
        return;
    }
    HAS_PAN.store(true, Relaxed);
    // SAFETY: as promised by the caller; a branch past what only CPUs without FEAT_PAN need.
    unsafe { patch(&raw const _pan_sites, &raw const _pan_sites_end) };
    // SAFETY: user memory is not touched but by LDTR and STTR.
    unsafe {
        asm!(
            "mrs {0}, sctlr_el1", "bic {0}, {0}, {1}", "msr sctlr_el1, {0}", "isb",
            ".arch_extension pan", "msr pan, #1", ".arch_extension nopan",
            out(reg) _, in(reg) SPAN, options(nostack, preserves_flags)
        );
    }
}

/// Has the CPU use a task's table (TTBR0) from now on, where it has FEAT_PAN; else the next window will.
pub fn set_user_table(ttbr0: u64) {
    if has_pan() {
        // SAFETY: a table of user addresses only; PSTATE.PAN is set.
        unsafe { asm!("msr ttbr0_el1, {}", "isb", in(reg) ttbr0, options(nostack, preserves_flags)) };
    }
}

/// A word, and whether it could be read.
#[repr(C)]
struct Peeked {
    word: u64,
    is_there: u64,
}

/// The aligned word at any address of the kernel's half, if it can be read. For reports.
pub fn peek(address: usize) -> Option<u64> {
    if address < USER_END || !address.is_multiple_of(size_of::<u64>()) {
        return None;
    }
    // SAFETY: a read; the exception table has it end where nothing can be read.
    let peeked = unsafe { raw_peek(address) };
    (peeked.is_there != 0).then_some(peeked.word)
}

/// Whether `length` bytes at `address` are all user addresses. Tagged addresses are not (Linux without the tagged address ABI).
pub fn is_user(address: usize, length: usize) -> bool {
    address.checked_add(length).is_some_and(|end| end <= USER_END)
}

/// Copies from the user's `from` into `to`. What could not be read is zero.
pub fn copy_from_user(to: &mut [u8], from: usize) -> Result<(), Fault> {
    let left = if is_user(from, to.len()) {
        // SAFETY: `to` is ours to write; the source is a user address, read with EL0's rights and with fixups.
        unsafe { raw_copy_from_user(to.as_mut_ptr(), from, to.len()) }
    } else {
        to.len()
    };
    let copied = to.len() - left;
    to[copied..].fill(0);
    if left == 0 { Ok(()) } else { Err(Fault { left }) }
}

/// Copies `from` to the user's `to`.
pub fn copy_to_user(to: usize, from: &[u8]) -> Result<(), Fault> {
    if !is_user(to, from.len()) {
        return Err(Fault { left: from.len() });
    }
    // SAFETY: `from` is ours to read; the destination is a user address, written with EL0's rights and with fixups.
    let left = unsafe { raw_copy_to_user(to, from.as_ptr(), from.len()) };
    if left == 0 { Ok(()) } else { Err(Fault { left }) }
}

/// Writes `length` zeroes to the user's `to`.
pub fn clear_user(to: usize, length: usize) -> Result<(), Fault> {
    if !is_user(to, length) {
        return Err(Fault { left: length });
    }
    // SAFETY: the destination is a user address, written with EL0's rights and with fixups.
    let left = unsafe { raw_clear_user(to, 0, length) };
    if left == 0 { Ok(()) } else { Err(Fault { left }) }
}

/// A plain structure as bytes: every bit pattern is one, and it has no padding.
///
/// # Safety
/// The type is what it says.
pub unsafe trait Plain: Copy {}
// SAFETY: integers and arrays of them.
unsafe impl Plain for u8 {}
// SAFETY: as above.
unsafe impl Plain for u32 {}
// SAFETY: as above.
unsafe impl Plain for u64 {}
// SAFETY: as above.
unsafe impl<T: Plain, const N: usize> Plain for [T; N] {}

/// Reads a value from user memory.
pub fn get_user<T: Plain>(from: usize) -> Result<T, Fault> {
    let mut value = MaybeUninit::<T>::zeroed();
    // SAFETY: zeroed, so initialised, and as long as T.
    let bytes = unsafe { core::slice::from_raw_parts_mut(value.as_mut_ptr().cast::<u8>(), size_of::<T>()) };
    copy_from_user(bytes, from)?;
    // SAFETY: a Plain type takes every bit pattern.
    Ok(unsafe { value.assume_init() })
}

/// Writes a value to user memory.
pub fn put_user<T: Plain>(to: usize, value: T) -> Result<(), Fault> {
    // SAFETY: a Plain type has no padding, so all its bytes are initialised.
    let bytes = unsafe { core::slice::from_raw_parts(addr_of!(value).cast::<u8>(), size_of::<T>()) };
    copy_to_user(to, bytes)
}

/// Why a string could not be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum StringError {
    /// Part of it cannot be read.
    Fault,
    /// No NUL within the limit.
    TooLong,
    /// There is no memory for it.
    OutOfMemory,
}

/// Appends the NUL-terminated string at `from` to `to`, without its NUL. At most `limit` bytes are read.
pub fn strncpy_from_user(to: &mut Vec<u8>, from: usize, limit: usize) -> Result<(), StringError> {
    let mut address = from;
    let mut left = limit;
    while left > 0 {
        // A chunk never crosses a page, so a fault in it means its first byte cannot be read.
        let mut chunk = [0; 64];
        let length = left.min(chunk.len()).min(PAGE_SIZE - address % PAGE_SIZE);
        let chunk = &mut chunk[..length];
        copy_from_user(chunk, address).map_err(|_| StringError::Fault)?;
        let nul = chunk.iter().position(|&byte| byte == 0);
        let text = &chunk[..nul.unwrap_or(length)];
        heap::grow(to, text.len()).map_err(|OutOfMemory| StringError::OutOfMemory)?;
        to.extend_from_slice(text);
        if nul.is_some() {
            return Ok(());
        }
        address += length;
        left -= length;
    }
    Err(StringError::TooLong)
}
