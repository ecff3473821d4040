//! The way that led to a report: frame records, from the inside out, through every exception down to the program.

use super::place::is_kernel_text;
use super::stacks_of;
use crate::mm::PAGE_SIZE;
use crate::mm::user::AddressSpace;
use crate::sched::task::Task;
use crate::uaccess::peek;
use core::mem::offset_of;
use core::ptr::{addr_of, with_exposed_provenance};
use heapless::Vec;
use trap::esr::Ec;
use trap::frame::PtRegs;
use trap::record::{Hex, Reached, Report};
use trap::slot::Slot;

unsafe extern "C" {
    // The stubs of entry.S, in the order of the vector table.
    static entry_stubs_end: u8;
    static entry_stubs: [u64; 16];
}

/// Fills the report's chain. Records of the kernel are read only where they lie whole in a stack, upwards in each, and no stack
/// is come back to; those of the program only where it has memory, and upwards. So no chain can run in circles.
pub(super) fn walk(report: &mut Report, regs: &PtRegs, task: Option<&Task>, space: Option<&AddressSpace>) {
    // The first step is the PC itself.
    let mut going = report.push_step(regs.pc, Reached::Call);
    if regs.from_el0() {
        return walk_program(report, regs.regs[29], space);
    }
    let mut record = regs.regs[29] as usize;
    let reporter = addr_of!(record).addr();
    let mut stack = 0..0;
    let mut walked = Vec::<usize, 4>::new();
    // The slot whose stub the last record returns to: then the next one lies in a frame.
    let mut through = None;
    while going {
        if !stack.contains(&record) {
            let next = stacks_of(task).map(|(_, range)| range).find(|range| range.contains(&record));
            match next {
                Some(range) if !walked.contains(&range.start) && walked.push(range.start).is_ok() => stack = range,
                _ => return,
            }
        }
        if !record.is_multiple_of(16) || !stack.contains(&(record + 15)) {
            return;
        }
        // An overflow of the stack that overflows are reported on: the report itself, and what it called, has overwritten what
        // is above.
        if stack.contains(&reporter) && (regs.sp as usize) < reporter && reporter - PAGE_SIZE <= record {
            return;
        }
        let (Some(next), Some(address)) = (peek(record), peek(record + 8)) else { return };
        if let Some(slot) = through {
            let frame = record - offset_of!(PtRegs, stackframe);
            if !stack.contains(&frame) {
                return;
            }
            // SAFETY: a frame that lies whole in a mapped stack, aligned as its record is.
            let frame = unsafe { with_exposed_provenance::<PtRegs>(frame).read_volatile() };
            going = report.push_step(frame.pc, Reached::Exception { slot, esr: syndrome(slot, &frame) });
            if frame.from_el0() {
                return if going {
                    walk_program(report, frame.regs[29], space)
                };
            }
            through = None;
        } else if !is_return_address(address) {
            return;
        } else {
            going = report.push_step(address.wrapping_sub(4), Reached::Call);
            through = slot_of(address);
        }
        stack.start = record + 1;
        record = next as usize;
    }
}

/// Records of a program that are read: it can have as many as it has memory.
const PROGRAM_RECORDS: usize = 1024;

/// Whether a call can return there: whatever else is found has been overwritten.
fn is_return_address(address: u64) -> bool {
    address.is_multiple_of(4) && is_kernel_text(address as usize)
}

/// The functions of the program that called the one with frame record `record`.
fn walk_program(report: &mut Report, mut record: u64, space: Option<&AddressSpace>) {
    let Some(space) = space else { return };
    let peek = |address: u64| space.peek(address as usize);
    let mut left = PROGRAM_RECORDS;
    while left > 0
        && record.is_multiple_of(8)
        && let (Some(next), Some(address)) = (peek(record), record.checked_add(8).and_then(peek))
        && address != 0
        && report.push_step(address.wrapping_sub(4), Reached::Call)
        && next > record
    {
        record = next;
        left -= 1;
    }
}

/// The slot whose stub a return address lies in.
fn slot_of(address: u64) -> Option<Slot> {
    // SAFETY: a table that the assembly made, and never written.
    let stubs = unsafe { &entry_stubs };
    let index = stubs.partition_point(|&stub| stub < address).checked_sub(1)?;
    (address <= addr_of!(entry_stubs_end) as u64).then_some(Slot::ALL[index])
}

/// The syndrome that a frame was made for; interrupts have none.
fn syndrome(slot: Slot, frame: &PtRegs) -> Option<Hex> {
    match slot {
        // A system call leaves it 0, which no exception writes.
        Slot::El0Sync if frame.esr == 0 => Some(Hex(u64::from(Ec::SVC64.number()) << 26 | 1 << 25)),
        Slot::El0Sync | Slot::El1hSync | Slot::El0Error | Slot::El1hError => Some(Hex(frame.esr)),
        _ => None,
    }
}
