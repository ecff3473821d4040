//! The console: the machine's PL011, written by polling; the hypervisor's log, and on lines of their own what guests write.

use crate::sync::IrqLock;
use alloc::vec::Vec;
use arm_pl011_uart::{DataBits, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use heapless::String;
use log::{LevelFilter, Log, Metadata, Record};
use trap::record::{RECORD_MAX, RECORD_SEPARATOR};

struct Console(Option<Uart<'static>>);

static CONSOLE: IrqLock<Console> = IrqLock::new(Console(None));

impl Console {
    fn put(&mut self, byte: u8) {
        let Some(uart) = &mut self.0 else { return };
        while uart.is_tx_fifo_full() {}
        uart.write_word(byte);
    }
}

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
        Ok(())
    }
}

/// Uses the PL011 at `registers`. With its reference clock known (in Hz) it is set to 115200 8N1, else left as firmware had it.
///
/// # Safety
/// `registers` is a PL011, mapped as Device memory for good and used by nothing else.
pub unsafe fn init(registers: NonNull<u8>, clock: Option<u32>) {
    // SAFETY: as promised by the caller.
    let mut uart = unsafe { Uart::new(UniqueMmioPointer::new(registers.cast::<PL011Registers>())) };
    if let Some(clock) = clock {
        let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
        // A clock that cannot make the rate leaves the UART as it was.
        let _ = uart.enable(line, 115_200, clock);
    }
    *CONSOLE.lock() = Console(Some(uart));
    // Fails only when a logger is set already; then it is this one.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// Writes text of the hypervisor.
pub fn print(text: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = CONSOLE.lock().write_fmt(text);
}

/// Frees the console for a report that interrupted whoever holds it.
///
/// # Safety
/// The holder never runs again.
pub unsafe fn force_unlock() {
    // SAFETY: as promised by the caller.
    unsafe { CONSOLE.force_unlock() };
}

/// Bytes of a guest's line that are kept together: a record, or a longer line than anybody reads.
const LINE_BYTES: usize = RECORD_MAX + 2;

/// A guest's console: what it writes comes out by whole lines, each with the guest's name before it, so that nobody can take it for
/// another's. A record has a line of its own.
pub struct GuestConsole {
    name: String<16>,
    line: Vec<u8>,
}

impl GuestConsole {
    /// The console of the guest called `name`.
    pub fn new(name: &str) -> Self {
        GuestConsole { name: name.chars().take(16).collect(), line: Vec::with_capacity(LINE_BYTES) }
    }

    /// Takes one byte.
    pub fn put(&mut self, byte: u8) {
        match byte {
            b'\r' => {}
            b'\n' => self.flush(),
            _ => {
                if self.line.len() == LINE_BYTES || byte == RECORD_SEPARATOR && !self.line.is_empty() {
                    self.flush();
                }
                self.line.push(byte);
            }
        }
    }

    /// Writes what there is as a line.
    fn flush(&mut self) {
        let mut console = CONSOLE.lock();
        // The console takes everything.
        let _ = write!(console, "{}| ", self.name);
        self.line.iter().for_each(|&byte| console.put(byte));
        let _ = console.write_str("\n");
        self.line.clear();
    }

    /// Writes what is left of a line that was not ended.
    pub fn finish(&mut self) {
        if !self.line.is_empty() {
            self.flush();
        }
    }
}

/// Writes text to the console.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::console::print(format_args!($($arg)*)) };
}

/// Writes a line to the console.
#[macro_export]
macro_rules! println {
    ($($arg:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // The message only: level and place are for the reader of the source.
        println!("hyp| {}", record.args());
    }

    fn flush(&self) {}
}
