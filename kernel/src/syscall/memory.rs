//! Memory: anonymous mappings and the heap.

use super::{Errno, Result};
use crate::mm::user::{AddressSpace, Rights, USER_START};
use crate::mm::{PAGE_SIZE, USER_END, page_down, page_up};
use crate::sched::current;
use core::ops::Range;
use linux_raw_sys::general::*;
use trap::frame::PtRegs;
use trap::signal::untagged;

fn rights(protection: u64) -> Rights {
    let has = |flag| protection as u32 & flag != 0;
    Rights { read: has(PROT_READ), write: has(PROT_WRITE), execute: has(PROT_EXEC) }
}

/// With the running program's memory.
fn with_space<T>(work: impl FnOnce(&mut AddressSpace) -> Result<T>) -> Result<T> {
    work(current().space.lock().as_mut().expect("a program has memory"))
}

/// Whole pages from an aligned address.
fn pages(address: u64, length: u64) -> Result<Range<usize>> {
    if !(address as usize).is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let end = page_up(length as usize).and_then(|length| length.checked_add(address as usize));
    let end = end.filter(|&end| end <= USER_END).ok_or(Errno::ENOMEM)?;
    Ok(address as usize..end)
}

/// brk(end)
pub fn brk(regs: &mut PtRegs) -> Result {
    with_space(|space| Ok(space.set_heap_end(regs.regs[0] as usize)))
}

/// mmap(address, length, protection, flags, descriptor, offset): private and anonymous
pub fn mmap(regs: &mut PtRegs) -> Result {
    let [address, length, protection, flags, descriptor, offset, ..] = regs.regs;
    // Of the rights what is not known is ignored, unlike by mprotect.
    let (flags, rights) = (flags as u32, rights(protection));
    if !(offset as usize).is_multiple_of(PAGE_SIZE) {
        return Err(Errno::EINVAL);
    }
    let anonymous = flags & MAP_ANONYMOUS != 0;
    if !anonymous {
        current().files.lock().get(descriptor as u32 as usize).ok_or(Errno::EBADF)?;
    } else if flags & MAP_HUGETLB != 0 {
        // There are no huge pages, let alone of a certain size.
        return Err(if flags >> MAP_HUGE_SHIFT == 0 { Errno::ENOMEM } else { Errno::EINVAL });
    }
    if length == 0 {
        return Err(Errno::EINVAL);
    }
    let size = page_up(length as usize).filter(|&size| size <= USER_END).ok_or(Errno::ENOMEM)?;
    match (flags & MAP_TYPE, anonymous) {
        (MAP_PRIVATE, true) => {}
        // Nothing can be shared yet, and no file be mapped.
        (MAP_SHARED, _) | (MAP_PRIVATE | MAP_SHARED_VALIDATE, false) => return Err(Errno::ENOSYS),
        _ => return Err(Errno::EINVAL),
    }
    let fixed = flags & (MAP_FIXED | MAP_FIXED_NOREPLACE) != 0;
    with_space(|space| {
        let hint = pages(if fixed { address } else { page_down(address as usize) as u64 }, length);
        let range = if fixed {
            let range = hint?;
            if range.start < USER_START {
                return Err(Errno::EPERM);
            }
            if flags & MAP_FIXED_NOREPLACE != 0 && !space.is_free(range.clone()) {
                return Err(Errno::EEXIST);
            }
            range
        } else {
            match hint {
                Ok(range) if range.start >= USER_START && space.is_free(range.clone()) => range,
                _ => {
                    let start = space.find_free(size).ok_or(Errno::ENOMEM)?;
                    start..start + size
                }
            }
        };
        space.map(range.clone(), rights)?;
        Ok(range.start)
    })
}

/// munmap(address, length)
pub fn munmap(regs: &mut PtRegs) -> Result {
    let [address, length, ..] = regs.regs;
    let range = pages(untagged(address), length).map_err(|_| Errno::EINVAL)?;
    if range.is_empty() {
        return Err(Errno::EINVAL);
    }
    with_space(|space| Ok(space.unmap(range)?))?;
    Ok(0)
}

/// mprotect(address, length, protection)
pub fn mprotect(regs: &mut PtRegs) -> Result {
    let [address, length, protection, ..] = regs.regs;
    let range = pages(untagged(address), length)?;
    if range.is_empty() {
        return Ok(0);
    }
    if protection & !u64::from(PROT_READ | PROT_WRITE | PROT_EXEC | PROT_SEM) != 0 {
        return Err(Errno::EINVAL);
    }
    with_space(|space| if space.protect(range, rights(protection))? { Ok(0) } else { Err(Errno::ENOMEM) })
}
