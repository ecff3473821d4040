//! Kernel stack overflow: what `kernel_ventry` found, told on a stack that has room.

use super::{read_esr, read_far, taken};
use crate::percpu::{count, this_cpu};
use crate::report;
use trap::frame::PtRegs;
use trap::slot::Slot;

/// The stack that an exception interrupted has no room for a frame. `regs`, on this CPU's overflow stack, holds all
/// registers as they were interrupted.
pub(super) extern "C" fn bad_stack(regs: &mut PtRegs, slot: usize) -> ! {
    let slot = Slot::ALL[slot & 0xf];
    count(&this_cpu().counters.slots[slot as usize]);
    report::overflow(regs, taken(slot, read_esr(), read_far()))
}
