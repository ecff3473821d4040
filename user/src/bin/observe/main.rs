//! `observe GROUP...|all`: what a program can observe of the kernel below it, as lines `GROUP.KEY VALUE` that are the same
//! on every kernel with the same behaviour. It judges nothing: `cargo xtask differ` runs it on this project's kernel and on
//! Linux, and compares.
//!
//! Addresses and identifiers, which may well differ, are told relative to something. Without words it ends with 40 and the
//! number of its arguments: what a successful `execve` is seen by.
#![no_std]
#![no_main]

mod calls;
mod ends;
mod memory;
mod results;
mod start;
mod world;

use user::{Args, eprintln, println, process, process::Argv};

user::entry!(main);

/// What is observed together, in a process of its own.
type Group = (&'static str, fn() -> i32);

const GROUPS: [Group; 8] = [
    ("calls", calls::observe),
    ("results", results::observe),
    ("memory", memory::observe),
    ("ends", ends::observe),
    ("start", start::observe),
    ("registers", || become_program(&[c"/bin/registers", c"observe"])),
    ("crash", || become_program(&[c"/bin/crash", c"observe"])),
    ("idregs", || become_program(&[c"/bin/idregs", c"observe"])),
];

fn main(mut args: Args) -> i32 {
    let stack = args.as_ptr();
    let count = args.clone().count();
    let Some(first) = args.nth(1) else { return 40 + count as i32 };
    if first == start::STARTED {
        return start::started(stack, count);
    }
    let words = || [first].into_iter().chain(args.clone()).map(|word| word.to_str().unwrap_or_default());
    if let Some(word) = words().find(|&word| word != "all" && GROUPS.iter().all(|group| group.0 != word)) {
        let names = GROUPS.map(|group| group.0);
        eprintln!("observe: there is no group `{word}`; there are: {names:?}");
        return 2;
    }
    let mut failed = 0;
    for (name, observe) in GROUPS.iter().filter(|(name, _)| words().any(|word| word == "all" || word == *name)) {
        // Linux has the first process ignore signals, so nothing is observed in that.
        let status = process::run(observe).expect("a child can be started and waited for");
        if !status.success() {
            eprintln!("observe: {name}: {status}");
            failed += 1;
        }
    }
    println!("observe.end {failed}");
    i32::from(failed != 0)
}

/// Becomes the program that observes something.
fn become_program(words: &[&'static core::ffi::CStr]) -> i32 {
    let argv = Argv::new(words.iter().copied()).expect("so many words fit");
    eprintln!("observe: {:?}: {:?}", words[0], argv.exec(words[0]));
    process::EXEC_FAILED
}
