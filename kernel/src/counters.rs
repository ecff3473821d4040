//! What the machine counted, for `/proc/counters` and for the record written at its end.

use crate::console;
use crate::percpu::{self, Counters};
use alloc::string::String;
use core::fmt::Write;
use core::sync::atomic::{AtomicU64, Ordering::Relaxed};
use heapless::Vec;
use trap::esr::{Ec, ec_name};
use trap::record::{self, Count, Kind, SCHEMA};
use trap::slot::Slot;

fn sum(counter: impl Fn(&Counters) -> &AtomicU64) -> u64 {
    percpu::cpus().map(|cpu| counter(&cpu.counters).load(Relaxed)).sum()
}

/// All counters, summed over the CPUs. Slots whose synchronous exceptions are told apart come as their classes.
fn collect() -> record::Counters {
    let mut exceptions = Vec::new();
    let mut push = |slot, ec, count| {
        if count != 0 {
            // More kinds than a record holds have never been taken on one machine; what does not fit is left out.
            let _ = exceptions.push(Count { slot, ec, count });
        }
    };
    for slot in Slot::ALL {
        push(slot, None, sum(|counters| &counters.slots[slot as usize]));
        for ec in 0..64 {
            match slot {
                Slot::El1hSync => push(slot, Some(ec), sum(|counters| &counters.el1_sync[ec as usize])),
                Slot::El0Sync => push(slot, Some(ec), sum(|counters| &counters.el0_sync[ec as usize])),
                _ => {}
            }
        }
    }
    record::Counters {
        schema: SCHEMA,
        kind: Kind::Counters,
        exceptions,
        syscalls: sum(|counters| &counters.el0_sync[Ec::SVC64.number() as usize]),
        ticks: sum(|counters| &counters.ticks),
        spurious: sum(|counters| &counters.spurious),
        unexpected: sum(|counters| &counters.unexpected),
        switches: sum(|counters| &counters.switches),
        preemptions: sum(|counters| &counters.preemptions),
    }
}

/// The text of `/proc/counters`: a name and a value a line.
pub fn text() -> String {
    let counters = collect();
    let mut text = String::new();
    let mut line = |name: &dyn core::fmt::Display, value: u64| {
        // A String takes everything.
        let _ = writeln!(text, "{name} {value}");
    };
    for Count { slot, ec, count } in &counters.exceptions {
        match ec {
            Some(ec) => line(&format_args!("{slot}.{}", ec_name(*ec)), *count),
            None => line(slot, *count),
        }
    }
    line(&"syscalls", counters.syscalls);
    line(&"ticks", counters.ticks);
    line(&"switches", counters.switches);
    line(&"preemptions", counters.preemptions);
    line(&"spurious", counters.spurious);
    line(&"unexpected", counters.unexpected);
    text
}

/// Writes the record.
pub fn emit() {
    console::record(&collect());
}
