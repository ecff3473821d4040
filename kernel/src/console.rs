//! The console: the PL011 that the device tree names, written by polling and read by interrupt, and the log on top of it.

use crate::kprintln;
use crate::percpu::this_cpu;
use crate::sync::{AsynchronousMask, IrqLock};
use arm_pl011_uart::{
    DataBits, FifoLevel, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer,
};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed};
use heapless::{Deque, String};
use log::{LevelFilter, Log, Metadata, Record};
use serde::Serialize;
use spin::mutex::SpinMutex;
use trap::record::{RECORD_MAX, RECORD_SEPARATOR};

/// Received bytes that no reader has taken yet; more are dropped by the UART.
const INPUT_BYTES: usize = 1024;

struct Console {
    uart: Option<Uart<'static>>,
    input: Deque<u8, INPUT_BYTES>,
}

static CONSOLE: SpinMutex<Console> = SpinMutex::new(Console { uart: None, input: Deque::new() });

/// Whether records are written (boot argument `records`).
static RECORDS: AtomicBool = AtomicBool::new(false);

impl Console {
    fn put(&mut self, byte: u8) {
        let Some(uart) = &mut self.uart else { return };
        while uart.is_tx_fifo_full() {}
        uart.write_word(byte);
    }

    fn put_text(&mut self, text: &[u8]) {
        for &byte in text {
            if byte == b'\n' {
                self.put(b'\r');
            }
            self.put(byte);
        }
    }
}

/// Uses the PL011 at `registers` from now on; called again when its mapping moves. With its reference clock known (in Hz) it
/// is set to 115200 8N1, else left as firmware had it.
///
/// # Safety
/// `registers` is a PL011, mapped as Device memory for good and used by nothing else.
pub unsafe fn init(registers: NonNull<u8>, clock: Option<u32>) {
    // SAFETY: as promised by the caller; the former mapping is dropped with the former Uart.
    let mut uart = unsafe { Uart::new(UniqueMmioPointer::new(registers.cast::<PL011Registers>())) };
    if let Some(clock) = clock {
        let line = LineConfig { data_bits: DataBits::Bits8, parity: Parity::None, stop_bits: StopBits::One };
        // A clock that cannot make the rate leaves the UART as it was.
        let _ = uart.enable(line, 115_200, clock);
    }
    with_console(|console| console.uart = Some(uart));
}

/// Has the UART interrupt when a byte comes in.
pub fn enable_receive_interrupt() {
    with_console(|console| {
        if let Some(uart) = &mut console.uart {
            uart.set_interrupt_fifo_levels(FifoLevel::Bytes4, FifoLevel::Bytes16);
            uart.set_interrupt_masks(Interrupts::RXI | Interrupts::RTI);
        }
    });
}

/// Takes what the UART received; called by its interrupt handler.
pub fn receive() {
    with_console(|console| {
        let Console { uart: Some(uart), input } = console else { return };
        uart.clear_interrupts(Interrupts::RXI | Interrupts::RTI);
        // A byte with a line error is dropped; so is one that finds the buffer full.
        while !uart.is_rx_fifo_empty() {
            if let Ok(Some(byte)) = uart.read_word() {
                let _ = input.push_back(byte);
            }
        }
    });
}

/// Takes received bytes into `buffer`; returns how many.
pub fn read(buffer: &mut [u8]) -> usize {
    with_console(|Console { input, .. }| {
        let count = buffer.len().min(input.len());
        buffer[..count].fill_with(|| input.pop_front().unwrap_or_default());
        count
    })
}

/// Whether a byte waits to be read.
pub fn has_input() -> bool {
    with_console(|console| !console.input.is_empty())
}

/// Whether the UART holds a byte that its interrupt has not taken yet.
#[cfg(feature = "ktest")]
pub fn is_receiving() -> bool {
    with_console(|console| console.uart.as_mut().is_some_and(|uart| !uart.is_rx_fifo_empty()))
}

/// The CPU that holds the console, counted from 1; 0 when nobody does.
static HOLDER: AtomicUsize = AtomicUsize::new(0);

/// Uses the console, with IRQs and SErrors masked. Whoever holds it on this very CPU was interrupted by an exception that cannot be
/// masked: then it is borrowed, or the kernel would wait for itself.
fn with_console<T>(work: impl FnOnce(&mut Console) -> T) -> T {
    let _mask = AsynchronousMask::new();
    let me = this_cpu().index + 1;
    let borrowed = HOLDER.load(Relaxed) == me;
    if borrowed {
        // SAFETY: its holder does not go on before this returns, and finds it locked again.
        unsafe { CONSOLE.force_unlock() };
    }
    let mut console = CONSOLE.lock();
    HOLDER.store(me, Relaxed);
    let result = work(&mut console);
    if borrowed {
        core::mem::forget(console);
    } else {
        HOLDER.store(0, Relaxed);
    }
    result
}

/// Writes bytes of a program. Record separators do not pass: a program cannot forge a record.
pub fn write(bytes: &[u8]) {
    with_console(|console| {
        for part in bytes.split(|&byte| byte == RECORD_SEPARATOR) {
            console.put_text(part);
        }
    });
}

/// Writes kernel text. IRQs are masked for a line at a time.
pub fn print(text: fmt::Arguments<'_>) {
    let mut line = Line(String::new());
    // A line takes everything.
    let _ = line.write_fmt(text);
    line.flush();
}

/// Text that is written when it is a line, or full.
struct Line(String<128>);

impl Line {
    fn flush(&mut self) {
        with_console(|console| console.put_text(self.0.as_bytes()));
        self.0.clear();
    }
}

impl Write for Line {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for c in text.chars() {
            if self.0.push(c).is_err() {
                self.flush();
                // There is room now.
                let _ = self.0.push(c);
            }
            if c == '\n' {
                self.flush();
            }
        }
        Ok(())
    }
}

/// Frees the console for a report that interrupted whoever holds it.
///
/// # Safety
/// The holder never runs again.
pub unsafe fn force_unlock() {
    // SAFETY: as promised by the caller.
    unsafe {
        CONSOLE.force_unlock();
        RECORD_BUFFER.force_unlock();
    }
    HOLDER.store(0, Relaxed);
}

/// The buffer records are written in; its lock also keeps two records apart.
static RECORD_BUFFER: IrqLock<[u8; RECORD_MAX]> = IrqLock::new([0; RECORD_MAX]);

/// Writes one record as a JSON line, if records were asked for; returns whether it did.
pub fn record(record: &impl Serialize) -> bool {
    if !RECORDS.load(Relaxed) {
        return false;
    }
    // Locked only if this comes out of the writing of another.
    let Some(mut buffer) = RECORD_BUFFER.try_lock() else {
        kprintln!("a record was lost");
        return false;
    };
    let Ok(length) = serde_json_core::to_slice(record, &mut *buffer) else {
        kprintln!("a record is too long to write");
        return false;
    };
    with_console(|console| {
        console.put(RECORD_SEPARATOR);
        buffer[..length].iter().for_each(|&byte| console.put(byte));
        console.put(b'\n');
    });
    true
}

/// Writes kernel text to the console.
#[macro_export]
macro_rules! kprint {
    ($($arg:tt)*) => { $crate::console::print(format_args!($($arg)*)) };
}

/// Writes a line of kernel text to the console.
#[macro_export]
macro_rules! kprintln {
    ($($arg:tt)*) => { $crate::console::print(format_args!("{}\n", format_args!($($arg)*))) };
}

struct Logger;

impl Log for Logger {
    fn enabled(&self, _: &Metadata<'_>) -> bool {
        true
    }

    fn log(&self, record: &Record<'_>) {
        // The message only: level and place are for the reader of the source.
        kprintln!("{}", record.args());
    }

    fn flush(&self) {}
}

/// Starts the log at `level`, and records if `records`.
pub fn init_log(level: LevelFilter, records: bool) {
    // Fails only when a logger is set already; then it is this one.
    let _ = log::set_logger(&Logger);
    log::set_max_level(level);
    RECORDS.store(records, Relaxed);
}
