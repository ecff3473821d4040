//! What the machine counts, as `/proc/counters` lists it: lines of a name and a number.

/// The rows of the list, in its order.
pub fn rows(text: &str) -> impl Iterator<Item = (&str, u64)> {
    text.lines().filter_map(|line| {
        let (name, value) = line.split_once(' ')?;
        Some((name, value.trim().parse().ok()?))
    })
}

/// A snapshot of the machine's counters.
#[cfg(target_os = "none")]
pub struct Counters {
    text: [u8; 4096],
    used: usize,
}

#[cfg(target_os = "none")]
impl Counters {
    /// Reads them.
    ///
    /// # Errors
    /// On a kernel without such a file (Linux), that of the attempt to open it.
    pub fn read() -> Result<Counters, crate::Errno> {
        let mut counters = Counters { text: [0; 4096], used: 0 };
        counters.used = crate::io::read_file(c"/proc/counters", &mut counters.text)?.len();
        Ok(counters)
    }

    /// The rows, in the kernel's order.
    pub fn rows(&self) -> impl Iterator<Item = (&str, u64)> {
        rows(core::str::from_utf8(&self.text[..self.used]).unwrap_or_default())
    }

    /// The counter `name`; 0 when it is not listed, as those that never counted are not.
    pub fn get(&self, name: &str) -> u64 {
        self.rows().find(|row| row.0 == name).map_or(0, |row| row.1)
    }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::vec::Vec;

    #[test]
    fn rows_of_a_list() {
        let text = "el0_sync.svc64 1234\nel0_irq 99\nnonsense\nsyscalls  7\n";
        assert_eq!(rows(text).collect::<Vec<_>>(), [("el0_sync.svc64", 1234), ("el0_irq", 99), ("syscalls", 7)]);
    }
}
