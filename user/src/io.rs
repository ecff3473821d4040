//! Printing, and reading whole files.
//!
//! One `print!` is one `write` (of at most [`BUFFER`] bytes), so that the lines of two tasks do not mix. Nothing is kept
//! between calls, so nothing needs flushing.

use crate::{Errno, sys};
use core::{
    ffi::CStr,
    fmt::{self, Write},
};

/// File descriptor of the standard input.
pub const STDIN: i32 = 0;
/// File descriptor of the standard output.
pub const STDOUT: i32 = 1;
/// File descriptor of the standard error output.
pub const STDERR: i32 = 2;

/// Longest text that reaches the kernel in one `write`, in bytes.
pub const BUFFER: usize = 512;

/// Writes the whole of `bytes` to `fd`, or as much as it takes: a program that cannot print has nobody to tell.
pub fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match sys::write(fd, bytes) {
            Ok(written @ 1..) => bytes = &bytes[written..],
            _ => return,
        }
    }
}

/// Reads the file `path`, or as much of it as `buffer` holds; gives what was read.
///
/// # Errors
/// What opening or reading it fails with.
pub fn read_file<'a>(path: &CStr, buffer: &'a mut [u8]) -> Result<&'a [u8], Errno> {
    let fd = sys::open(path)?;
    let mut used = 0;
    loop {
        match sys::read(fd, &mut buffer[used..]) {
            Ok(more @ 1..) => used += more,
            end => return sys::close(fd).and(end.map(|_| &buffer[..used])),
        }
    }
}

/// Text on its way to `fd`: collected, and written when the buffer is full or dropped.
pub struct Output {
    fd: i32,
    used: usize,
    bytes: [u8; BUFFER],
}

impl Output {
    /// Nothing yet.
    pub fn new(fd: i32) -> Output {
        Output { fd, used: 0, bytes: [0; BUFFER] }
    }

    /// Adds `bytes`.
    pub fn push(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            if self.used == BUFFER {
                self.flush();
            }
            self.bytes[self.used] = byte;
            self.used += 1;
        }
    }

    fn flush(&mut self) {
        write_all(self.fd, &self.bytes[..self.used]);
        self.used = 0;
    }
}

impl Write for Output {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.push(text.as_bytes());
        Ok(())
    }
}

impl Drop for Output {
    fn drop(&mut self) {
        self.flush();
    }
}

/// What the printing macros call.
#[doc(hidden)]
pub fn print(fd: i32, text: fmt::Arguments<'_>) {
    // Output never fails; a Display that does has no one to tell.
    let _ = Output::new(fd).write_fmt(text);
}

/// Prints to the standard output.
#[macro_export]
macro_rules! print {
    ($($arg:tt)*) => { $crate::io::print($crate::io::STDOUT, format_args!($($arg)*)) };
}

/// Prints a line to the standard output.
#[macro_export]
macro_rules! println {
    () => { $crate::print!("\n") };
    ($format:literal $($arg:tt)*) => { $crate::print!("{}\n", format_args!($format $($arg)*)) };
}

/// Prints a line to the standard error output.
#[macro_export]
macro_rules! eprintln {
    ($format:literal $($arg:tt)*) => {
        $crate::io::print($crate::io::STDERR, format_args!("{}\n", format_args!($format $($arg)*)))
    };
}
