//! The cases of `cargo xtask fuzz`: what a child of the program `fuzz` does, step by step, and what it must be answered.
//!
//! A case is made of a seed and its number ([`generate`](generate::case)), the same on the machine and on the host, where it is written down
//! and made smaller when something came of it. As text, a case is a line `case NUMBER` and a line a [`Step`].

pub mod calls;
pub mod generate;
pub mod memory;
mod step;

pub use step::{Step, Value};

/// Most steps of a case.
pub const STEPS_MAX: usize = 24;

/// The steps of a case.
#[derive(Clone)]
pub struct Case {
    /// Its number.
    pub number: u64,
    steps: [Step; STEPS_MAX],
    used: usize,
}

impl Case {
    /// No steps yet.
    pub fn new(number: u64) -> Case {
        Case { number, steps: [Step::Fork; STEPS_MAX], used: 0 }
    }

    /// The steps.
    pub fn steps(&self) -> &[Step] {
        &self.steps[..self.used]
    }

    /// Adds a step; false when there is no room.
    pub fn push(&mut self, step: Step) -> bool {
        let room = self.used < STEPS_MAX;
        if room {
            self.steps[self.used] = step;
            self.used += 1;
        }
        room
    }
}

/// Reads cases, and gives each to `each` until that refuses.
///
/// # Errors
/// The line that means nothing, counted from 1; or that of the last step of a case refused.
pub fn read(text: &str, mut each: impl FnMut(&Case) -> bool) -> Result<(), usize> {
    let mut case: Option<Case> = None;
    let mut last = 0;
    for (line, number) in text.lines().zip(1..) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        if let Some(begun) = line.strip_prefix("case ") {
            let next = Case::new(begun.parse().map_err(|_| number)?);
            if case.replace(next).is_some_and(|case| !each(&case)) {
                return Err(last);
            }
        } else {
            let step = line.parse().map_err(|()| number)?;
            if !case.as_mut().is_some_and(|case| case.push(step)) {
                return Err(number);
            }
        }
        last = number;
    }
    if case.is_none_or(|case| each(&case)) { Ok(()) } else { Err(last) }
}

#[cfg(test)]
mod tests {
    extern crate alloc;
    use super::*;
    use alloc::string::String;
    use alloc::vec::Vec;
    use core::fmt::Write;

    #[test]
    fn cases_come_back_from_their_text() {
        let mut text = String::from("# how it came about\n\n");
        let cases: Vec<_> = (0..300).map(|number| generate::case(5, number)).collect();
        for case in &cases {
            assert!(!case.steps().is_empty());
            writeln!(text, "case {}", case.number).unwrap();
            case.steps().iter().for_each(|step| writeln!(text, "{step}").unwrap());
        }
        let mut read = Vec::new();
        super::read(&text, |case| {
            read.push(case.clone());
            true
        })
        .unwrap();
        assert_eq!(read.len(), cases.len());
        for (read, case) in read.iter().zip(&cases) {
            assert_eq!((read.number, read.steps()), (case.number, case.steps()));
        }
    }

    #[test]
    fn what_is_no_case_is_refused() {
        let line = |text: &str| read(text, |_| true).err();
        assert_eq!(line("case 1\nfork\nknife"), Some(3));
        assert_eq!(line("fork"), Some(1));
        assert_eq!(line("case one"), Some(1));
        assert_eq!(line("case 1\nread 0x0 0x0"), Some(2));
        assert_eq!(line("case 1\ncode 0x0 d400000"), Some(2));
        assert_eq!(line(&"fork\n".repeat(STEPS_MAX + 1).replacen("fork", "case 1", 1)), None);
        assert_eq!(line("# nothing"), None);
        assert_eq!(read("case 1\nfork\ncase 2\n", |case| case.number == 2), Err(2));
    }
}
