//! Black-box tests: each starts machines, or looks at the files that they boot, and asserts on exit codes, on the kernel's
//! records and on QEMU's own log; never on what is printed for people.
//!
//! One row of a table is one test is one machine. `tests/mutants.toml` holds the faults that these tests must notice.

mod bench;
mod binary;
mod boot;
mod commands;
mod counters;
mod differ;
mod faults;
mod fuzz;
mod hyp;
mod hyp_cost;
mod hyp_hostile;
mod hyp_serror;
mod hyp_trace;
mod ktest;
mod linux;
mod machine;
mod page;
mod programs;
mod strangers;
mod sweep;
mod trace;
mod user_faults;

use libtest_mimic::{Arguments, Trial};

fn main() {
    // Words are filters, of which libtest-mimic takes one only.
    let (filters, options): (Vec<_>, Vec<_>) = std::env::args().skip(1).partition(|word| !word.starts_with('-'));
    let arguments = Arguments::from_iter([String::new()].into_iter().chain(options));
    let wanted = |name: &str| match arguments.exact {
        true => filters.iter().any(|filter| filter == name),
        false => filters.iter().any(|filter| name.contains(filter)),
    };
    let mut trials = all();
    trials.retain(|trial| filters.is_empty() || wanted(trial.name()));
    libtest_mimic::run(&arguments, trials).exit();
}

fn all() -> Vec<Trial> {
    [
        bench::trials(),
        binary::trials(),
        boot::trials(),
        commands::trials(),
        counters::trials(),
        differ::trials(),
        faults::trials(),
        fuzz::trials(),
        hyp::trials(),
        hyp_serror::trials(),
        hyp_trace::trials(),
        hyp_hostile::trials(),
        hyp_cost::trials(),
        ktest::trials(),
        linux::trials(),
        page::trials(),
        programs::trials(),
        strangers::trials(),
        sweep::trials(),
        trace::trials(),
        user_faults::trials(),
    ]
    .into_iter()
    .flatten()
    .collect()
}
