//! The only way to user memory: copies that end in an error, not in a fault.
//!
//! A copy first refuses ranges that are not all below `USER_END`, so no kernel address is ever tried; then the routines of
//! `copy.S` do it with EL0's rights. Their instructions stand in the exception table, which the EL1 abort handler asks.

use crate::mm::{OutOfMemory, PAGE_SIZE, USER_END, heap};
use alloc::vec::Vec;
use core::arch::global_asm;
use core::mem::MaybeUninit;
use core::ptr::addr_of;

global_asm!(include_str!("copy.S"));

/// The kernel's side of a failed copy: how many bytes at the end were not copied (a write) or read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Bytes left.
    pub left: usize,
}

unsafe extern "C" {
    fn raw_copy_from_user(to: *mut u8, from: usize, length: usize) -> usize;
    fn raw_copy_to_user(to: usize, from: *const u8, length: usize) -> usize;
    static _ex_table: Entry;
    static _ex_table_end: Entry;
}

/// An instruction that may fault, and where to go on; both relative to their own place, so that the table is the same
/// wherever the kernel is linked (Linux: `struct exception_table_entry`).
#[repr(C)]
struct Entry {
    instruction: i32,
    fixup: i32,
}

impl Entry {
    fn instruction(&self) -> usize {
        addr_of!(self.instruction).addr().wrapping_add_signed(self.instruction as isize)
    }

    fn fixup(&self) -> usize {
        addr_of!(self.fixup).addr().wrapping_add_signed(self.fixup as isize)
    }
}

/// Where to go on after an abort at `pc`, if that was expected to be possible.
pub fn fixup(pc: usize) -> Option<usize> {
    let start = addr_of!(_ex_table);
    // SAFETY: the linker lays the entries out between the two symbols, read-only.
    let table = unsafe { core::slice::from_raw_parts(start, addr_of!(_ex_table_end).offset_from_unsigned(start)) };
    table.iter().find(|entry| entry.instruction() == pc).map(Entry::fixup)
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
