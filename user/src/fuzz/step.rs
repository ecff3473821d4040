//! One step of a case, and its text.

use super::calls::{self, Call};
use core::fmt;
use core::str::FromStr;

/// Words that a step of instructions has room for.
pub const WORDS_MAX: usize = 24;

/// What a child does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// A system call.
    Call {
        /// Which.
        call: &'static Call,
        /// Its arguments.
        args: [Value; 6],
    },
    /// A system call that there is not.
    Unknown {
        /// Its number.
        number: u32,
        /// Its arguments.
        args: [Value; 6],
    },
    /// Instructions, one after the other, with registers by a seed.
    Code {
        /// The registers' seed.
        seed: u64,
        /// The instructions.
        words: [u32; WORDS_MAX],
        /// How many they are.
        used: usize,
    },
    /// A child goes on with all further steps, as this one does.
    Fork,
    /// Maps so many fresh pages, which must be zero, and fills them.
    Fresh(u64),
}

/// An argument.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Value {
    /// A number or an address.
    Number(u64),
    /// The process's own number.
    Me,
    /// Its last child's.
    Child,
    /// What the last call answered.
    Result,
}

impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Value::Number(number) => write!(f, "{number:#x}"),
            Value::Me => f.write_str("me"),
            Value::Child => f.write_str("child"),
            Value::Result => f.write_str("result"),
        }
    }
}

impl FromStr for Value {
    type Err = ();

    fn from_str(text: &str) -> Result<Value, ()> {
        match text {
            "me" => Ok(Value::Me),
            "child" => Ok(Value::Child),
            "result" => Ok(Value::Result),
            number => hex(number).map(Value::Number),
        }
    }
}

fn hex(text: &str) -> Result<u64, ()> {
    u64::from_str_radix(text.strip_prefix("0x").ok_or(())?, 16).map_err(|_| ())
}

impl fmt::Display for Step {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let values =
            |f: &mut fmt::Formatter<'_>, args: &[Value]| args.iter().try_for_each(|value| write!(f, " {value}"));
        match self {
            Step::Call { call, args } => {
                f.write_str(call.name)?;
                values(f, args)
            }
            Step::Unknown { number, args } => {
                write!(f, "unknown {number:#x}")?;
                values(f, args)
            }
            Step::Code { seed, words, used } => {
                write!(f, "code {seed:#x}")?;
                words[..*used].iter().try_for_each(|word| write!(f, " {word:08x}"))
            }
            Step::Fork => f.write_str("fork"),
            Step::Fresh(pages) => write!(f, "fresh {pages:#x}"),
        }
    }
}

impl FromStr for Step {
    type Err = ();

    fn from_str(text: &str) -> Result<Step, ()> {
        let mut rest = text.split_ascii_whitespace();
        let name = rest.next().ok_or(())?;
        let mut number = || hex(rest.next().ok_or(())?);
        let step = match name {
            "fork" => Step::Fork,
            "fresh" => Step::Fresh(number()?),
            "code" => {
                let (seed, mut words, mut used) = (number()?, [0; WORDS_MAX], 0);
                for word in rest.by_ref() {
                    let place = words.get_mut(used).filter(|_| word.len() == 8).ok_or(())?;
                    *place = u32::from_str_radix(word, 16).map_err(|_| ())?;
                    used += 1;
                }
                Step::Code { seed, words, used }
            }
            "unknown" => {
                let number = number()?.try_into().map_err(|_| ())?;
                Step::Unknown { number, args: values(&mut rest)? }
            }
            name => {
                let call = calls::CALLS.iter().find(|call| call.name == name).ok_or(())?;
                Step::Call { call, args: values(&mut rest)? }
            }
        };
        if rest.next().is_none() { Ok(step) } else { Err(()) }
    }
}

fn values<'a>(words: &mut impl Iterator<Item = &'a str>) -> Result<[Value; 6], ()> {
    let mut args = [Value::Number(0); 6];
    for arg in &mut args {
        *arg = words.next().ok_or(())?.parse()?;
    }
    Ok(args)
}
