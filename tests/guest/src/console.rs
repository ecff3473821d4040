//! The console: the emulated PL011.

use core::fmt::{self, Write};

/// The UART.
pub const UART: u64 = 0x0900_0000;
/// UARTFR, and its TXFF: the FIFO is full.
const FR: u64 = UART + 0x18;
const TXFF: u32 = 1 << 5;

/// Writes bytes.
pub struct Console;

impl Write for Console {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        for byte in text.bytes() {
            while crate::read::<u32>(FR) & TXFF != 0 {}
            crate::write(UART, u32::from(byte));
        }
        Ok(())
    }
}

/// Tells the test something: a record of this kind with these fields, as JSON.
#[macro_export]
macro_rules! record {
    ($kind:literal, $($fields:tt)*) => {
        $crate::console::record($kind, format_args!($($fields)*))
    };
}

/// What [`record!`] does.
pub fn record(kind: &str, fields: fmt::Arguments<'_>) {
    // The console takes everything.
    let _ = writeln!(Console, "\x1e{{\"schema\":1,\"kind\":\"{kind}\",{fields}}}");
}

/// Writes text.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => {{
        use core::fmt::Write;
        let _ = write!($crate::console::Console, $($arg)*);
    }};
}
