//! Who died of what, as `/proc/deaths` lists the last tasks that a fault or a signal killed: lines of the task, the signal, its
//! `si_code`, all decimal, and its `si_addr`, hexadecimal.

use crate::Signal;
use core::fmt;
use trap::signal::code_name;

/// The death of a task: what its parent cannot learn from `wait4`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Death {
    /// What killed it.
    pub signal: Signal,
    /// `si_code`.
    pub code: i32,
    /// `si_addr`; 0 where the signal has none.
    pub addr: u64,
}

/// `SIGSEGV SEGV_MAPERR 0x0`, in columns.
impl fmt::Display for Death {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rest = f.width().unwrap_or_default().saturating_sub(20);
        write!(f, "{:<8}{:<12}{:<#rest$x}", self.signal, code_name(self.signal.0, self.code), self.addr)
    }
}

/// The deaths of a list, the last one last, with the tasks that died.
pub fn rows(text: &str) -> impl Iterator<Item = (i32, Death)> {
    text.lines().filter_map(|line| {
        let mut words = line.split(' ');
        let task = words.next()?.parse().ok()?;
        let signal = Signal(words.next()?.parse().ok()?);
        let code = words.next()?.parse().ok()?;
        let addr = u64::from_str_radix(words.next()?.strip_prefix("0x")?, 16).ok()?;
        Some((task, Death { signal, code, addr }))
    })
}

/// How `task` died, if it is among the last that did.
///
/// # Errors
/// On a kernel without such a list (Linux), that of the attempt to open it.
#[cfg(target_os = "none")]
pub fn of(task: i32) -> Result<Option<Death>, crate::Errno> {
    let mut text = [0; 2048];
    let text = crate::io::read_file(c"/proc/deaths", &mut text)?;
    Ok(rows(core::str::from_utf8(text).unwrap_or_default()).filter(|row| row.0 == task).last().map(|row| row.1))
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::{format, vec::Vec};

    #[test]
    fn rows_of_a_list() {
        let text = "12 11 1 0x0\n7 4 1 0x400844\nnonsense\n7 9 -6 0xfffffffffffffff0\n8 9 0\n9 11 1 12\n";
        let death = |signal, code, addr| Death { signal, code, addr };
        let expected = [
            (12, death(Signal::SIGSEGV, 1, 0)),
            (7, death(Signal::SIGILL, 1, 0x40_0844)),
            (7, death(Signal::SIGKILL, -6, u64::MAX - 15)),
        ];
        assert_eq!(rows(text).collect::<Vec<_>>(), expected);
    }

    #[test]
    fn columns_are_aligned() {
        let text = |signal, code, addr| format!("{:<40}|", Death { signal, code, addr });
        assert_eq!(text(Signal::SIGSEGV, 2, 0x1000), "SIGSEGV SEGV_ACCERR 0x1000              |");
        assert_eq!(text(Signal::SIGBUS, 1, u64::MAX), "SIGBUS  BUS_ADRALN  0xffffffffffffffff  |");
        assert_eq!(format!("{}", Death { signal: Signal::SIGKILL, code: 0, addr: 0 }), "SIGKILL SI_USER     0x0");
    }
}
