//! The report for people: what it names and in which order, never its exact words; and that nothing breaks its lines.

mod reports;

use proptest::prelude::*;
use reports::{all_hints, full, places};
use trap::place::{Area, Place, StackKind};
use trap::record::*;
use trap::rules::hints;
use trap::signal::SigInfo;
use trap::slot::Slot;

const PC: u64 = 0xffff_ffc0_8000_1234;
const LOW: u64 = 0xffff_ff80_0040_4000;
/// A data abort from EL1: translation fault, level 3, while writing.
const WRITE: u64 = 0x9600_0047;

/// A task's kernel stack that a recursion of two functions has overrun.
fn overflow() -> Report {
    let place = Place::Guard { stack: StackKind::Task, task: Some(7), below: 12 };
    let mut report = Report {
        cause: "the cause".try_into().unwrap(),
        slot: Some(Slot::El1hSync),
        task: 7,
        name: "crash".try_into().unwrap(),
        irq: Some(27),
        esr: Hex(WRITE),
        far: Hex(LOW - 12),
        place: Some(place),
        pc: Hex(PC),
        instruction: Some(Hex(0xa9bf_7bfd)),
        pstate: Hex(0x6000_03c5),
        sp: Hex(LOW - 12),
        ..Report::EMPTY
    };
    report.pointers.push(Pointer { register: 31, place }).unwrap();
    let stack = Stack { name: StackKind::Task, low: Hex(LOW), high: Hex(LOW + 0x4000), overrun: 12, in_use: true };
    report.stacks.push(stack).unwrap();
    report.push_step(PC, Reached::Exception { slot: Slot::El1hSync, esr: Some(Hex(WRITE)) });
    for _ in 0..106 {
        report.push_step(PC + 0x1000, Reached::Call);
        report.push_step(PC + 0x2000, Reached::Call);
    }
    report.push_step(PC + 0x3000, Reached::Exception { slot: Slot::El1hIrq, esr: None });
    report.push_step(0x40_0844, Reached::Exception { slot: Slot::El0Sync, esr: Some(Hex(0x5600_0000)) });
    report.hints = hints(&report);
    report
}

/// A program's read through a null pointer in x3.
fn death() -> Report {
    let far = Hex(0x18);
    let report = Report {
        kind: Kind::Death,
        slot: Some(Slot::El0Sync),
        signal: Some(SigInfo { signal: 11, code: 1, addr: far }),
        esr: Hex(0x9200_0006),
        far,
        place: Some(Place::Null),
        pc: Hex(0x40_0844),
        instruction: Some(Hex(0xf940_0c61)),
        pstate: Hex(0),
        sp: Hex(0x7f_ffff_ff00),
        stacks: heapless::Vec::new(),
        chain: heapless::Vec::new(),
        ..overflow()
    };
    Report { hints: hints(&report), ..report }
}

/// Asserts that `parts` stand in `text`, one behind the other.
#[track_caller]
fn in_order(text: &str, parts: &[&str]) {
    let mut rest = text;
    for part in parts {
        let at = rest.find(part).unwrap_or_else(|| panic!("{part:?} is not in\n{rest}\nof\n{text}"));
        rest = &rest[at + part.len()..];
    }
}

#[test]
fn a_report_goes_from_the_cause_to_the_hints() {
    in_order(
        &overflow().to_string(),
        &[
            "kernel panic: the cause\n",
            "[<ffffffc080001234>]",
            "[<insn:a9bf7bfd>]",
            "0xffffff8000403ff4: 12 bytes below the kernel stack of task 7",
            "EL1h, nZCv, DAIF",
            "CPU 0, task 7 (crash), handling interrupt 27",
            "el1h_sync, ESR 0x0000000096000047",
            "DFSC",
            "translation fault, level 3",
            "registers:",
            "x0 0000000000000000",
            "sp ffffff8000403ff4\n",
            "sp -> 12 bytes below the kernel stack of task 7",
            "stacks:",
            "OVERRUN by 12 bytes",
            "el1h_sync: data abort from EL1",
            "[<ffffffc080001234>]",
            "[<ffffffc080002234>]",
            "[<ffffffc080003234>]",
            "the last 2 steps 106 times",
            "el1h_irq",
            "[<ffffffc080004234>]",
            "el0_sync: SVC",
            "[<crash:0000000000400844>]",
            "hint: ",
            "[<ffffffc080003234>]",
            "212 frames",
        ],
    );
}

#[test]
fn a_death_names_the_signal_and_its_address() {
    let text = death().to_string();
    in_order(
        &text,
        &[
            "task 7 (crash) killed by SIGSEGV (SEGV_MAPERR): the cause\n",
            "[<crash:0000000000400844>]",
            "[<insn:f9400c61>]",
            "0x0000000000000018",
            "si_addr",
            "0x0000000000000018",
            "hint: x3 holds 0",
        ],
    );
    let sent = Report { slot: None, ..death() }.to_string();
    assert!(!sent.contains("si_addr") && sent.contains("registers:"), "a signal that a task sent:\n{sent}");
}

#[test]
fn a_brief_report_has_two_to_four_lines() {
    let brief = death().brief().to_string();
    in_order(&brief, &["killed by SIGSEGV", "\n", "[<crash:", "[<insn:", "\n", "null pointer", "\n", "hint: "]);
    assert_eq!(brief.lines().count(), 4);
    let sent = Report { slot: None, hints: heapless::Vec::new(), ..death() };
    assert_eq!(sent.brief().to_string().lines().count(), 2);
    assert!(!sent.brief().to_string().contains("[<insn:"));
}

#[test]
fn a_panic_of_rust_code_shows_only_what_is_known() {
    let text = Report { slot: None, ..overflow() }.to_string();
    in_order(&text, &["kernel panic", "[<ffffffc080001234>]", "SP           0xffffff8000403ff4"]);
    for unknown in ["registers:", "ESR", "address ", "[<insn:"] {
        assert!(!text.contains(unknown), "{unknown} is in\n{text}");
    }
}

#[test]
fn an_interrupt_has_no_syndrome() {
    let text = Report { slot: Some(Slot::El1hFiq), ..overflow() }.to_string();
    assert!(text.contains("el1h_fiq") && !text.contains("ESR") && !text.contains("DFSC"), "{text}");
}

#[test]
fn a_chain_that_is_full_says_so() {
    let mut report = Report::EMPTY;
    while report.push_step(report.chain.len() as u64 * 4, Reached::Call) {}
    assert!(report.to_string().ends_with("...\n"));
    report.chain.pop();
    assert!(!report.to_string().contains("..."));
}

#[test]
fn a_name_that_would_break_a_token_is_in_none() {
    for (name, token) in
        [("crash", true), ("é'\" ]", true), ("", false), ("a:b", false), ("a<", false), ("a>", false), ("a\nb", false)]
    {
        let report = Report { name: name.try_into().unwrap(), ..death() };
        assert_eq!(report.to_string().contains(":0000000000400844>]"), token, "{name:?}");
        assert!(report.to_string().contains("0000000000400844"), "{name:?}");
    }
}

#[test]
fn instructions_of_aarch32_are_not_disassembled() {
    let report = Report { pstate: Hex(0x10), ..death() };
    assert!(!report.to_string().contains("[<insn:") && !report.brief().to_string().contains("[<insn:"));
}

#[test]
fn places_and_hints_differ_in_words() {
    let words: Vec<_> = places(7).iter().map(|place| place.words(0x40_0000, "crash").to_string()).collect();
    let report = death();
    let hints: Vec<_> = all_hints(7).iter().map(|hint| hint.words(&report).to_string()).collect();
    for words in [words, hints] {
        for (at, text) in words.iter().enumerate() {
            assert!(!text.is_empty() && !words[..at].contains(text), "{text}");
        }
    }
}

#[test]
fn a_place_in_words() {
    let user = |area, read, write, execute| Place::User { area, read, write, execute };
    for (place, address, words) in [
        (Place::Null, 0, "a null pointer"),
        (Place::Null, 1, "1 byte from a null pointer"),
        (
            user(Area::Image, true, false, true),
            0x40_0844,
            "user text, read-only, of `crash`: [<crash:0000000000400844>]",
        ),
        (user(Area::Image, true, false, false), 8, "user constants, read-only, of `crash`"),
        (user(Area::Stack, true, true, false), 8, "user stack, writable, of `crash`"),
        (user(Area::Mapped, true, true, true), 8, "user mapped memory, writable, executable, of `crash`"),
        (user(Area::Mapped, false, false, false), 8, "user mapped memory, without access, of `crash`"),
        (Place::UserGuard { below: 16 }, 8, "16 bytes below the stack of `crash`: its guard"),
        (
            Place::Guard { stack: StackKind::Irq, task: None, below: 12 },
            8,
            "12 bytes below the interrupt stack: its guard page",
        ),
        (Place::KernelText, PC, "kernel text, read-only: [<ffffffc080001234>]"),
    ] {
        assert_eq!(place.words(address, "crash").to_string(), words);
    }
    assert_eq!(user(Area::Heap, true, true, false).words(8, "").to_string(), "user heap, writable, of the program");
}

#[test]
fn lines_are_no_wider_than_a_window() {
    for report in [overflow(), death()] {
        let text = report.to_string();
        // Sentences are as long as they are.
        let rows = text.lines().skip(1).filter(|line| !line.starts_with("hint: "));
        rows.for_each(|row| assert!(row.chars().count() <= 110, "{row}"));
    }
}

proptest! {
    #[test]
    fn any_report_can_be_read(value: u64, text: String, choice in 0_usize..1000) {
        for kind in [Kind::Panic, Kind::Death, Kind::Warning, Kind::Ktest] {
            let report = full(kind, value, &text, choice);
            let (whole, brief) = (report.to_string(), report.brief().to_string());
            for text in [&whole, &brief] {
                prop_assert!(!text.contains(|c: char| c.is_control() && c != '\n'), "{text:?}");
                prop_assert!(text.ends_with('\n'));
            }
            prop_assert!((2..=4).contains(&brief.lines().count()), "{brief}");
            prop_assert!(hints(&report).len() <= 3);
        }
    }

    #[test]
    fn any_hint_has_words(value: u64, text: String, choice in 0_usize..1000) {
        let report = full(Kind::Death, value, &text, choice);
        for hint in all_hints(value) {
            let words = hint.words(&report).to_string();
            prop_assert!(!words.is_empty() && !words.contains(char::is_control), "{words:?}");
        }
    }
}

/// The addresses that the chain stands for, cycles written out.
fn expand(chain: &[Step]) -> Vec<(u64, Reached)> {
    let (mut steps, mut starts) = (Vec::new(), Vec::new());
    for step in chain {
        starts.push(steps.len());
        steps.push((step.address.0, step.reached));
        if step.cycle > 0 {
            let cycle = steps[starts[starts.len() - step.cycle as usize]..].to_vec();
            (1..step.times).for_each(|_| steps.extend_from_slice(&cycle));
        }
    }
    steps
}

/// Pushes all that fits, and says how many that were.
fn push_all(steps: &[(u64, Reached)]) -> (Report, usize) {
    let mut report = Report::EMPTY;
    let pushed = steps.iter().take_while(|(address, reached)| report.push_step(*address, *reached)).count();
    (report, pushed)
}

const IRQ: Reached = Reached::Exception { slot: Slot::El1hIrq, esr: None };

#[test]
fn a_recursion_is_folded_and_what_is_outside_of_it_fits() {
    for cycle in [&[1][..], &[1, 2], &[1, 2, 3], &[1, 2, 3, 4], &[1, 2, 2], &[1, 1, 2, 1, 1, 3]] {
        let mut steps = vec![(100, IRQ)];
        steps.extend(cycle.iter().cycle().take(10_000).map(|&address| (address, Reached::Call)));
        steps.extend((0..30).map(|at| (200 + at, Reached::Call)));
        let (report, pushed) = push_all(&steps);
        assert_eq!(pushed, steps.len(), "{cycle:?}");
        assert_eq!(expand(&report.chain), steps, "{cycle:?}");
    }
    let (report, _) = push_all(&[(8, Reached::Call); 212]);
    assert_eq!(report.chain, [Step { address: Hex(8), reached: Reached::Call, cycle: 1, times: 212 }]);
}

#[test]
fn exceptions_are_not_folded() {
    for steps in [[(8, IRQ), (8, IRQ)], [(8, IRQ), (8, Reached::Call)]] {
        let (report, pushed) = push_all(&[steps; CHAIN_DEPTH].concat());
        assert_eq!((report.chain.len(), pushed), (CHAIN_DEPTH, CHAIN_DEPTH));
    }
}

proptest! {
    #[test]
    fn a_folded_chain_stands_for_what_was_pushed(
        parts in proptest::collection::vec((proptest::collection::vec(0_u64..3, 1..6), 1_usize..9, 0_u32..20), 0..12)
    ) {
        let mut steps = Vec::new();
        for (cycle, times, exception) in parts {
            for _ in 0..times {
                steps.extend(cycle.iter().map(|&address| (address, Reached::Call)));
            }
            if exception == 0 {
                steps.push((0, IRQ));
            }
        }
        let (report, pushed) = push_all(&steps);
        prop_assert_eq!(expand(&report.chain), &steps[..pushed]);
        prop_assert!(pushed == steps.len() || report.chain.is_full());
    }
}
