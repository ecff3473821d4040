//! A guest's UART: the emulated PL011, what it writes to the console, and what was typed and has no room in it yet.

use crate::guest::Guest;
use crate::sync::IrqLock;
use crate::{console, vgic};
use heapless::Deque;
use hyp::console::Keys;
use hyp::map::UART_IRQ;
use hyp::pl011::Pl011;

/// Bytes that are kept for a guest that does not take them; more stay in the machine's UART.
const TYPED_BYTES: usize = 1024;

/// The UART of a guest.
pub struct Uart(IrqLock<Inner>);

struct Inner {
    pl011: Pl011,
    typed: Deque<u8, TYPED_BYTES>,
    /// Its interrupt, as the guest's interrupt controller knows it.
    line: bool,
}

impl Uart {
    /// One out of reset.
    pub const fn new() -> Uart {
        Uart(IrqLock::new(Inner { pl011: Pl011::new(), typed: Deque::new(), line: false }))
    }

    /// Whether what one key may be is kept.
    pub fn has_place(&self) -> bool {
        self.0.lock().has_place()
    }
}

impl Inner {
    fn has_place(&self) -> bool {
        TYPED_BYTES - self.typed.len() >= Keys::BYTES_MAX
    }

    /// What follows whatever was done: what was typed comes in, and the interrupt is what it should be.
    fn settle(&mut self, guest: &'static Guest) {
        while self.pl011.listens() && self.pl011.has_room() {
            let Some(byte) = self.typed.pop_front() else { break };
            self.pl011.receive(byte);
        }
        if self.line != self.pl011.line() {
            self.line = !self.line;
            vgic::set_line(&guest.vcpus()[0], UART_IRQ, self.line);
        }
    }
}

impl Guest {
    /// A read of its UART.
    pub fn read_uart(&'static self, offset: u64) -> u64 {
        self.with_uart(|pl011| pl011.read(offset))
    }

    /// A write, the same.
    pub fn write_uart(&'static self, offset: u64, value: u64) {
        if let Some(byte) = self.with_uart(|pl011| pl011.write(offset, value)) {
            console::put(self.number, byte);
        }
    }

    fn with_uart<T>(&'static self, access: impl FnOnce(&mut Pl011) -> T) -> T {
        let mut uart = self.uart.0.lock();
        let result = access(&mut uart.pl011);
        uart.settle(self);
        if uart.has_place() {
            console::resume_paused_input();
        }
        result
    }

    /// Something was typed for it; [`Uart::has_place`] was asked before.
    pub fn type_bytes(&'static self, bytes: impl Iterator<Item = u8>) {
        let mut uart = self.uart.0.lock();
        for byte in bytes {
            // There is a place.
            let _ = uart.typed.push_back(byte);
        }
        uart.settle(self);
    }
}
