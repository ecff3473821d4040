//! Interrupts: from the controller to their handlers, on the interrupt stack.

pub mod timer;

use crate::console;
use crate::mm::kernel_map::map_device;
use crate::percpu::{NO_IRQ, count, this_cpu};
use crate::sched;
use crate::site::trace_point;
use crate::sync::IrqLock;
use alloc::boxed::Box;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::ffi::c_void;
use core::ptr::null;
use core::sync::atomic::Ordering::Relaxed;
use drivers::dt::{Gic, Machine};
use drivers::gic::{CpuInterface, InterruptController, V2, V3};
use spin::Once;

/// Handles one interrupt, on the interrupt stack, with IRQs masked.
type Handler = fn();

/// INTIDs that can have a handler: all but the special ones.
const MAX_IRQS: usize = 1020;

static CONTROLLER: Once<IrqLock<Box<dyn InterruptController>>> = Once::new();

/// What interrupts are acknowledged and ended by: each CPU's own, so without a lock.
static CPU_INTERFACE: Once<CpuInterface> = Once::new();

static HANDLERS: [Once<Handler>; MAX_IRQS] = [const { Once::new() }; MAX_IRQS];

unsafe extern "C" {
    /// Calls `handler(argument)` on the empty stack that ends at `stack` (`exception/entry.S`).
    pub fn call_on_irq_stack(argument: *const c_void, stack: usize, handler: extern "C" fn(*const c_void));
}

/// Sets up the interrupt controller that the device tree names.
pub fn init(machine: &Machine<'_>) {
    let controller: Box<dyn InterruptController> = match machine.gic {
        Gic::V2 { gicd, gicc, .. } => {
            // SAFETY: the device tree says where the registers are; each is mapped once, here.
            Box::new(unsafe { V2::new(map_device(gicd).as_ptr(), map_device(gicc).as_ptr()) })
        }
        Gic::V3 { gicd, gicr } => {
            // SAFETY: as above.
            Box::new(unsafe { V3::new(map_device(gicd), map_device(gicr), machine.cpus) })
        }
    };
    CPU_INTERFACE.call_once(|| controller.cpu_interface());
    CONTROLLER.call_once(|| IrqLock::new(controller));
}

/// Has `handler` called for interrupt `irq`, once and for all, and enables it, level-sensitive, on this CPU.
pub fn register(irq: u32, handler: Handler) {
    HANDLERS[irq as usize].call_once(|| handler);
    controller().lock().enable(irq, this_cpu().index);
}

/// The interrupt controller.
pub fn controller() -> &'static IrqLock<Box<dyn InterruptController>> {
    CONTROLLER.get().expect("irq::init was called before interrupts are unmasked")
}

/// The interrupt that this CPU handles.
pub fn handling() -> Option<u32> {
    let irq = this_cpu().handling.load(Relaxed);
    (irq != NO_IRQ).then_some(irq)
}

/// Whether an interrupt has a handler.
pub fn is_handled(irq: u32) -> bool {
    HANDLERS.get(irq as usize).is_some_and(|handler| handler.get().is_some())
}

/// An interrupt that was acknowledged and not ended, though no handler runs for it. For reports.
pub fn not_ended() -> Option<u32> {
    // Whoever holds the controller is just about to end one.
    let active = CONTROLLER.get()?.try_lock()?.active(this_cpu().index)?;
    (handling() != Some(active)).then_some(active)
}

/// Handles what is pending, on the interrupt stack: interrupts are only taken on task stacks, as handlers run with IRQs masked.
pub fn handle() {
    let preempt = &sched::current().preempt;
    preempt.disable();
    // SAFETY: the interrupt stack is this CPU's and not in use: IRQs are masked on it.
    unsafe { call_on_irq_stack(null(), this_cpu().irq_stack.load(Relaxed), handle_pending) }
    preempt.enable();
}

/// Acknowledges and handles until nothing is pending.
extern "C" fn handle_pending(_: *const c_void) {
    let cpu = this_cpu();
    let interface = CPU_INTERFACE.get().expect("irq::init was called before interrupts are unmasked");
    let mut next = interface.acknowledge();
    if next.is_none() {
        count(&cpu.counters.spurious);
    }
    while let Some(irq) = next {
        let handling = cpu.handling.as_ptr();
        // SAFETY: a store to the atomic word that only this CPU writes.
        unsafe { trace_point!(IRQ, first "str {a:w}, [{b}]", irq.number(), handling) };
        let handler = HANDLERS[irq.number() as usize].get();
        if let Some(handler) = handler {
            handler();
        }
        // SAFETY: as above.
        unsafe { trace_point!(IRQ_END, last "str {a:w}, [{b}]", NO_IRQ, handling) };
        if handler.is_none() {
            // Nobody would quieten its device, and it would come again at once.
            count(&cpu.counters.unexpected);
            controller().lock().disable(irq.number(), cpu.index);
        }
        interface.end(irq);
        next = interface.acknowledge();
    }
}

/// Tasks that wait for console input.
static READERS: IrqLock<Vec<Arc<sched::task::Task>>> = IrqLock::new(Vec::new());

/// Starts console input.
pub fn init_console(irq: u32) {
    READERS.lock().reserve(sched::MAX_TASKS);
    register(irq, || {
        console::receive();
        READERS.lock().iter().for_each(sched::wake);
    });
    console::enable_receive_interrupt();
}

/// Waits until there is console input, which it returns; not, when a signal came first.
pub fn wait_for_input() -> bool {
    let task = sched::current_arc();
    READERS.lock().push(task.clone());
    let has_input = sched::wait_until(console::has_input);
    READERS.lock().retain(|reader| !Arc::ptr_eq(reader, &task));
    has_input
}
