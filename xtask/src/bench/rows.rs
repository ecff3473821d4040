//! The rows there are: what each measures, how, and what it should cost.

/// Where a row's figure comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Source {
    /// The program `bench`, while the timer hardly ticks.
    Quiet,
    /// The program `bench`, while the timer ticks often.
    Ticking,
    /// The in-kernel test `bench`.
    Kernel,
    /// The boot image.
    Image,
    /// The small guests of the hypervisor.
    El2,
    /// The hypervisor's boot image.
    HypImage,
}

/// What a row's operation is taken to execute, for the count of barriers and system-register writes: one short batch of `bench`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Steps {
    /// Not looked at.
    None,
    /// The batch does the operation so often.
    Batch(u64),
    /// The same, and a part that is taken off.
    LessBaseline(u64),
}

/// A row.
#[derive(Clone, Copy, Debug)]
pub struct Row {
    /// Its name.
    pub name: &'static str,
    /// What is measured.
    pub what: &'static str,
    /// Where.
    pub source: Source,
    /// What it may cost on a CPU without FEAT_PAN and on one with it, where that has been said.
    pub aim: Option<[f64; 2]>,
    /// Rows of the program `floor` that do the least of the same.
    pub floor: &'static [&'static str],
    /// Whether one is counted.
    pub steps: Steps,
}

const fn row(name: &'static str, source: Source, what: &'static str) -> Row {
    Row { name, what, source, aim: None, floor: &[], steps: Steps::None }
}

impl Row {
    const fn aim(self, aim: f64) -> Row {
        Row { aim: Some([aim; 2]), ..self }
    }

    const fn floor(self, floor: &'static [&'static str]) -> Row {
        Row { floor, ..self }
    }

    const fn steps(self, steps: Steps) -> Row {
        Row { steps, ..self }
    }

    /// Whether it is what one of `words` stands for: the row of that name, else all whose names hold it. Without words all are.
    pub fn is_wanted(&self, words: &[String]) -> bool {
        let names_another = |word: &str| ROWS.iter().any(|row| row.name == word);
        let stands_for_it = |word: &String| self.name == word || self.name.contains(word) && !names_another(word);
        words.is_empty() || words.iter().any(stands_for_it)
    }
}

use Source::{El2, HypImage, Image, Kernel, Quiet, Ticking};
use Steps::{Batch, LessBaseline};

/// All rows, in the order in which they are shown. Instructions, of the loop too, unless something else is said.
pub const ROWS: &[Row] = &[
    Row { aim: Some([145.0, 135.0]), ..row("getpid", Quiet, "a system call that does nothing") }
        .floor(&["getpid", "getpid.checks", "getpid.full"])
        .steps(Batch(1)),
    Row { aim: Some([130.0, 120.0]), ..row("unknown", Quiet, "a system call that does not exist") }
        .floor(&["unknown", "unknown.checks", "unknown.full"])
        .steps(Batch(1)),
    row("timer", Ticking, "a timer interrupt, seen from EL0").aim(300.0).floor(&["timer"]).steps(Batch(1)),
    row("timer.1", Ticking, "the same while a process sleeps"),
    row("timer.10", Ticking, "while 10 do"),
    row("timer.100", Ticking, "while 100 do"),
    row("timer.1000", Ticking, "while 1000 do"),
    row("irq.el1", Kernel, "a timer interrupt, taken in the kernel"),
    row("preempt", Ticking, "a timer interrupt that switches to another process").steps(LessBaseline(2)),
    row("yield.1", Quiet, "a switch: sched_yield to the one other process")
        .aim(350.0)
        .floor(&["yield.1"])
        .steps(Batch(2)),
    row("yield.10", Quiet, "the same with 10 others"),
    row("yield.100", Quiet, "with 100"),
    row("yield.1000", Quiet, "with 1000"),
    row("page", Quiet, "the first write to a page of zeroes").aim(1300.0).steps(Batch(1)),
    row("fork", Quiet, "fork, exit and wait4").aim(30000.0).steps(Batch(1)),
    row("fork.page", Quiet, "a page more for fork, exit and wait4"),
    row("fault", Quiet, "fork, a write to address 0, and wait4").steps(Batch(1)),
    row("exec", Quiet, "execve of bench, and its first instructions"),
    row("copy.1", Kernel, "copy_from_user of 1 byte"),
    row("copy.64", Kernel, "of 64 bytes"),
    row("copy.4096", Kernel, "of 4096 bytes"),
    row("boot", Quiet, "from reset to the first instruction at EL0").aim(3_000_000.0),
    row("memory.task", Kernel, "bytes of a task, without its pages"),
    row("image", Image, "bytes of the boot image"),
    row("el2.loop", El2, "the loop that the rows below are measured in"),
    row("el2.workaround_1", El2, "ARCH_WORKAROUND_1").aim(15.0),
    row("el2.null_hypercall", El2, "a call that does not exist").aim(160.0),
    row("el2.psci_version", El2, "PSCI_VERSION by HVC").aim(170.0),
    row("el2.id_register", El2, "reading an ID register").aim(180.0),
    row("el2.gicd_typer", El2, "reading GICD_TYPER").aim(250.0),
    row("el2.gicd_isenabler", El2, "reading GICD_ISENABLER"),
    row("el2.gicd_ispendr", El2, "reading GICD_ISPENDR"),
    row("el2.gicd_disable_enable", El2, "disabling and enabling an SPI"),
    row("el2.uart_flags", El2, "reading UARTFR"),
    row("el2.spi", El2, "an SPI made pending, with its handler"),
    row("el2.device_spi", El2, "an SPI of a device that the guest has to itself, with its handler").aim(350.0),
    row("el2.sgi", El2, "an SGI to itself, with its handler").aim(400.0),
    row("el2.virtual_timer", El2, "the virtual timer's interrupt, with its handler").aim(400.0),
    row("el2.wake_up", El2, "from the moment a timer is due to the instruction behind WFI").aim(700.0),
    row("el2.world_switch", El2, "from WFI of one vCPU to the instruction at which another goes on"),
    row("el2.round_trip", El2, "an SGI to another vCPU that waits, and one back"),
    row("el2.boot", El2, "from reset to the first instruction of a guest with 64 MiB").aim(2_000_000.0),
    row("el2.image", HypImage, "bytes of the hypervisor's boot image"),
];

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn names_are_names() {
        let names: BTreeSet<_> = ROWS.iter().map(|row| row.name).collect();
        assert_eq!(names.len(), ROWS.len());
        let wanted = |filter: &str| ROWS.iter().filter(|row| row.is_wanted(&[filter.into()])).count();
        assert_eq!((wanted("getpid"), wanted("yield"), wanted("nonsense")), (1, 4, 0));
        assert_eq!((wanted("timer"), wanted("timer."), wanted("image"), wanted(".image")), (1, 4, 1, 1));
        assert!(ROWS.iter().all(|row| row.is_wanted(&[])));
    }
}
