//! A vCPU waits for its virtual timer with the interrupt disabled, again and again: what it waits for comes, though nothing is ever
//! injected.
#![no_std]
#![no_main]

use guest::{psci, record, timer};

guest::guest!(main, guest::unexpected);

const WAITS: u64 = 3;
/// Counts of the virtual counter for each.
const PERIOD: u64 = 20_000;

fn main(_: u64) -> ! {
    for _ in 0..WAITS {
        timer::set_virtual(PERIOD);
        guest::wait();
        timer::stop();
    }
    record!("deaf", "\"waits\":{WAITS}");
    psci::off()
}
