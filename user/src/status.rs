//! How a process ended.

use core::fmt;
use linux_raw_sys::general;

/// A signal number, 1..=64.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signal(pub u32);

macro_rules! names {
    ($($name:ident)*) => {
        #[expect(missing_docs, reason = "each name is Linux's, see signal(7)")]
        impl Signal {
            $(pub const $name: Signal = Signal(general::$name);)*

            fn name(self) -> Option<&'static str> {
                match self {
                    $(Signal::$name => Some(stringify!($name)),)*
                    _ => None,
                }
            }
        }
    };
}

names! {
    SIGHUP SIGINT SIGQUIT SIGILL SIGTRAP SIGABRT SIGBUS SIGFPE SIGKILL SIGUSR1 SIGSEGV SIGUSR2 SIGPIPE SIGALRM SIGTERM
    SIGCHLD SIGCONT SIGSTOP SIGSYS
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.name() {
            Some(name) => f.pad(name),
            None => write!(f, "signal {}", self.0),
        }
    }
}

/// How a process ended, as its parent's `wait4` tells it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Status {
    /// It called `exit` with this code.
    Exited(u8),
    /// This signal killed it.
    Killed(Signal),
}

impl Status {
    /// Decodes the word `wait4` stores: the signal in bits 6:0, bit 7 says that a core file was written, the exit code in
    /// bits 15:8 (wait(2)). Stopped children are not asked for, so never seen.
    pub fn from_wait(word: u32) -> Status {
        match word & 0x7f {
            0 => Status::Exited((word >> 8) as u8),
            signal => Status::Killed(Signal(signal)),
        }
    }

    /// Whether it ended with exit code 0.
    pub fn success(self) -> bool {
        self == Status::Exited(0)
    }
}

/// `ok`, `exit 3`, `SIGSEGV`.
impl fmt::Display for Status {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Status::Exited(0) => f.pad("ok"),
            Status::Exited(code) => write!(f, "exit {code}"),
            Status::Killed(signal) => signal.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wait_words() {
        assert_eq!(Status::from_wait(0), Status::Exited(0));
        assert_eq!(Status::from_wait(0x2a00), Status::Exited(42));
        assert_eq!(Status::from_wait(11), Status::Killed(Signal::SIGSEGV));
        assert_eq!(Status::from_wait(0x80 | 11), Status::Killed(Signal::SIGSEGV));
        assert!(Status::from_wait(0).success() && !Status::from_wait(0x100).success());
    }
}
