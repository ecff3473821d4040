//! The console: the machine's PL011, written by polling and read by interrupt; the hypervisor's log, what guests write, and what is
//! typed for them ([`hyp::console`] says how they share it).
//!
//! A guest's UART may be locked while the console is, but not the other way round.

use crate::guest;
use crate::sync::IrqLock;
use arm_pl011_uart::{DataBits, Interrupts, LineConfig, PL011Registers, Parity, StopBits, Uart, UniqueMmioPointer};
use core::fmt::{self, Write};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicBool, Ordering::Relaxed};
use hyp::console::{Key, Keys, Screen};
use log::{LevelFilter, Log, Metadata, Record};

struct Console {
    uart: Option<Uart<'static>>,
    screen: Screen,
    keys: Keys,
}

static CONSOLE: IrqLock<Console> = IrqLock::new(Console { uart: None, screen: Screen::new(), keys: Keys::new() });

impl Console {
    fn put(&mut self, byte: u8) {
        put_to(&mut self.uart, byte);
    }

    /// Has the screen write.
    fn with_screen(&mut self, write: impl FnOnce(&mut Screen, &mut dyn FnMut(u8))) {
        let Console { uart, screen, .. } = self;
        write(screen, &mut |byte| put_to(uart, byte));
    }

    /// The next key; none when there is none. A byte that came in damaged is dropped.
    fn read_key(&mut self) -> Option<Key> {
        let uart = self.uart.as_mut()?;
        loop {
            if let Ok(byte) = uart.read_word() {
                return byte.map(|byte| self.keys.push(byte));
            }
        }
    }

    fn set_masks(&mut self, masks: Interrupts) {
        if let Some(uart) = &mut self.uart {
            uart.set_interrupt_masks(masks);
        }
    }
}

/// Sends a byte.
fn put_to(uart: &mut Option<Uart<'static>>, byte: u8) {
    let Some(uart) = uart else { return };
    while uart.is_tx_fifo_full() {}
    uart.write_word(byte);
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
    CONSOLE.lock().uart = Some(uart);
    // Fails only when a logger is set already; then it is this one.
    let _ = log::set_logger(&Logger);
    log::set_max_level(LevelFilter::Info);
}

/// Writes text of the hypervisor: whole lines.
pub fn print(text: fmt::Arguments<'_>) {
    let mut console = CONSOLE.lock();
    console.with_screen(|screen, out| screen.interrupt(out));
    // The console takes everything.
    let _ = console.write_fmt(text);
}

/// Has the console for a report: whoever holds it on another CPU may end its line, whoever was interrupted by what is reported will not
/// run again.
pub fn take_over() {
    /// More looks than a line takes.
    const LOOKS: u32 = 1 << 20;
    if !(0..LOOKS).any(|_| !CONSOLE.is_locked()) {
        // SAFETY: nobody writes any more.
        unsafe { CONSOLE.force_unlock() };
    }
}

/// There is a guest more, which is called so. They are known by their numbers, from 0.
pub fn add_guest(name: &str) {
    CONSOLE.lock().screen.add(name);
}

/// A guest writes a byte.
pub fn put(guest: usize, byte: u8) {
    CONSOLE.lock().with_screen(|screen, out| screen.put(guest, byte, out));
}

/// A guest has ended. If the keyboard was its, it is the next one's, unless it begins `again`.
pub fn finish(guest: usize, again: bool) {
    let mut console = CONSOLE.lock();
    console.with_screen(|screen, out| screen.finish(guest, out));
    let had_keyboard = console.screen.keyboard() == Some(guest);
    drop(console);
    if had_keyboard && !again {
        pass_keyboard();
    }
}

/// Somebody is there who types: the first guest has the keyboard, and the UART interrupts when something comes in.
pub fn enable_keyboard() {
    pass_keyboard();
    resume_input();
}

/// The number of the guest that has the keyboard.
fn keyboard() -> Option<usize> {
    CONSOLE.lock().screen.keyboard()
}

/// Gives the keyboard to the next guest that still runs.
fn pass_keyboard() {
    let from = keyboard();
    let to = guest::after(from);
    if to == from {
        return;
    }
    if let Some((number, name)) = to.and_then(|to| guest::with(to, |guest| (to, guest.name.clone()))) {
        let several = guest::after(Some(number)) != Some(number);
        log::info!("the keyboard is {name}'s{}", if several { "; Ctrl-A three times: the next guest's" } else { "" });
    }
    CONSOLE.lock().with_screen(|screen, out| screen.give_keyboard(to, out));
    // The one before may have had no place.
    resume_paused_input();
}

/// The UART's interrupt: what was typed goes to the guest that has the keyboard, and what it has no place for stays in the UART.
pub fn interrupt() {
    while let Some(true) = keyboard().and_then(|number| guest::with(number, |guest| guest.uart.has_place())) {
        // A statement of its own: the lock is not held any more when a guest's is taken.
        let key = CONSOLE.lock().read_key();
        match key {
            Some(Key::Type(switches, byte)) => {
                let bytes = (0..switches).map(|_| Keys::SWITCH).chain([byte]);
                keyboard().and_then(|number| guest::with(number, |guest| guest.type_bytes(bytes)));
            }
            Some(Key::Next) => pass_keyboard(),
            Some(Key::Held) => {}
            None => return,
        }
    }
    pause_input();
}

/// Whether the UART is not to interrupt, as nobody has a place for what comes in.
static PAUSED: AtomicBool = AtomicBool::new(false);

fn pause_input() {
    CONSOLE.lock().set_masks(Interrupts::empty());
    PAUSED.store(true, Relaxed);
}

fn resume_input() {
    PAUSED.store(false, Relaxed);
    CONSOLE.lock().set_masks(Interrupts::RXI | Interrupts::RTI);
}

/// A guest has a place again for what is typed.
pub fn resume_paused_input() {
    if PAUSED.load(Relaxed) {
        resume_input();
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
