//! What an address belongs to: the kernel's map by its layout and by asking the CPU, a program's by its areas.

use super::stacks_of;
use crate::mm::stacks::{THREAD_SIZE, slot_of};
use crate::mm::user::{AddressSpace, USER_START};
use crate::mm::{DEVICES_BASE, LINEAR_BASE, STACKS_BASE, USER_END, kernel_map};
use crate::sched::{self, task::Task};
use core::ops::Range;
use core::ptr::addr_of;
use trap::place::{Place, StackKind};
use trap::record::Hex;

unsafe extern "C" {
    static boot_stack: u8;
    static boot_stack_guard: u8;
}

/// First address of the kernel's half.
const KERNEL_START: usize = LINEAR_BASE;

/// Whether code of the kernel is at `address`.
pub(super) fn is_kernel_text(address: usize) -> bool {
    let [text, rodata, ..] = kernel_map::sections();
    (text..rodata).contains(&address)
}

/// Whether a register that holds such an address points at something, rather than being a number like any other.
pub(super) fn is_something(place: Place) -> bool {
    !matches!(place, Place::Null | Place::Unmapped | Place::NonCanonical | Place::KernelUnmapped)
}

/// What `address` belongs to. It has no tag.
pub(super) fn of(address: u64, task: Option<&Task>, space: Option<&AddressSpace>) -> Place {
    let address = address as usize;
    match address {
        ..USER_START => Place::Null,
        USER_START..USER_END => space.map_or(Place::Unmapped, |space| space.place(address)),
        KERNEL_START.. => kernel(address, task),
        _ => Place::NonCanonical,
    }
}

fn kernel(address: usize, task: Option<&Task>) -> Place {
    let [text, rodata, data, end] = kernel_map::sections();
    let boot = addr_of!(boot_stack) as usize;
    // The stacks of this CPU and task, and what is below them, by name.
    for (stack, range) in stacks_of(task) {
        let task = task.filter(|_| stack == StackKind::Task).map(|task| task.id);
        let guard = if range.start == boot { addr_of!(boot_stack_guard) as usize } else { range.start - THREAD_SIZE };
        if let Some(place) = of_stack(address, stack, task, guard, range) {
            return place;
        }
    }
    match address {
        _ if (text..rodata).contains(&address) => Place::KernelText,
        _ if (rodata..data).contains(&address) => Place::KernelRodata,
        _ if (data..end).contains(&address) => Place::KernelData,
        // Those of other tasks.
        STACKS_BASE..DEVICES_BASE => match slot_of(address) {
            Some(range) => {
                let owner = sched::owner_of_stack(&range);
                let guard = range.start - THREAD_SIZE;
                of_stack(address, StackKind::Task, owner, guard, range).unwrap_or(Place::KernelUnmapped)
            }
            None => Place::KernelUnmapped,
        },
        _ if kernel_map::physical(address).is_none() => Place::KernelUnmapped,
        DEVICES_BASE.. => Place::Device,
        _ => Place::Ram { physical: Hex((address - LINEAR_BASE) as u64) },
    }
}

fn of_stack(address: usize, stack: StackKind, task: Option<u32>, guard: usize, range: Range<usize>) -> Option<Place> {
    if range.contains(&address) {
        Some(Place::Stack { stack, task, above: (address - range.start) as u64 })
    } else if (guard..range.start).contains(&address) {
        Some(Place::Guard { stack, task, below: (range.start - address) as u64 })
    } else {
        None
    }
}
