//! The first program: runs the demo suite and sums it up, with what the machine counted meanwhile.
//!
//! Ends with 0 if every program did.
#![no_std]
#![no_main]

use core::ffi::CStr;
use user::{Args, Status, counters::Counters, eprintln, println, process};

user::entry!(main);

/// A program of the suite: its file, itself and its arguments, and the same for people.
struct Program {
    path: &'static CStr,
    argv: &'static [&'static CStr],
    line: &'static str,
}

macro_rules! suite {
    ($($name:ident $($arg:ident)*;)*) => {
        const SUITE: &[Program] = &[$(Program {
            path: string!("/bin/", stringify!($name)),
            argv: &[string!(stringify!($name)), $(string!(stringify!($arg))),*],
            line: concat!(stringify!($name), $(" ", stringify!($arg)),*),
        }),*];
    };
}

/// A C string made of string literals.
macro_rules! string {
    ($($text:expr),*) => {
        match CStr::from_bytes_with_nul(concat!($($text,)* "\0").as_bytes()) {
            Ok(string) => string,
            Err(_) => panic!("a NUL within the string"),
        }
    };
}

suite! {
    hello from init;
    registers;
    preempt;
    sleepers;
    forktree;
    memory;
    badcalls;
    pointers;
    idregs;
    crash all;
}

fn main(_args: Args) -> i32 {
    let mut results = [Status::Exited(0); SUITE.len()];
    for (program, result) in SUITE.iter().zip(&mut results) {
        println!("-- {}", program.line);
        *result = run(program);
    }

    println!("-- summary");
    for (program, status) in SUITE.iter().zip(&results) {
        println!("{:<20}{status}", program.line);
    }
    let failed = results.iter().filter(|status| !status.success()).count();
    println!("{} programs, {failed} failed", SUITE.len());
    match Counters::read() {
        Ok(counters) => print_counters(&counters),
        Err(errno) => eprintln!("init: this kernel has no /proc/counters: {errno}"),
    }
    i32::from(failed != 0)
}

/// The exceptions by vector slot and cause (rows `el0_sync.svc64`, `el0_irq`), then all else.
fn print_counters(counters: &Counters) {
    let exception = |name: &str| name.starts_with("el0_") || name.starts_with("el1");
    println!("-- exceptions taken");
    let mut last = "";
    for (name, count) in counters.rows().filter(|row| exception(row.0)) {
        let (slot, cause) = name.split_once('.').unwrap_or((name, ""));
        println!("{:<14}{cause:<24}{count:>10}", if slot == last { "" } else { slot });
        last = slot;
    }
    println!("-- the machine");
    for (name, count) in counters.rows().filter(|row| !exception(row.0)) {
        println!("{name:<38}{count:>10}");
    }
}

fn run(program: &Program) -> Status {
    process::run(|| {
        let argv = process::Argv::new(program.argv.iter().copied()).expect("the suite's arguments are few");
        let errno = argv.exec(program.path);
        eprintln!("init: {:?}: {errno}", program.path);
        process::EXEC_FAILED
    })
    .expect("a child can be started and waited for")
}
