//! Every record survives JSON, whatever it holds.

use proptest::prelude::*;
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use trap::record::*;
use trap::slot::Slot;

fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T) {
    let json = serde_json::to_string(record).unwrap();
    assert!(!json.contains(['\n', char::from(RECORD_SEPARATOR)]), "would break the framing: {json:?}");
    assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), record, "{json}");
}

/// As much of `text` as fits.
fn cut<const N: usize>(text: &str) -> heapless::String<N> {
    let mut cut = heapless::String::new();
    text.chars().take_while(|&character| cut.push(character).is_ok()).for_each(drop);
    cut
}

/// Every kind of record, filled to its capacity with one value and one text.
fn check_records(value: u64, text: &str) {
    let hex = Hex(value);
    let slot = Slot::ALL[value as usize % 16];
    let stack = Stack { name: cut(text), low: hex, high: hex, overrun: value, in_use: true };
    let count = Count { slot, ec: Some(value as u8), count: value };
    round_trip(&Panic {
        schema: SCHEMA,
        kind: Kind::Panic,
        cause: cut(text),
        slot: Some(slot),
        cpu: value as u32,
        task: value as u32,
        name: cut(text),
        esr: hex,
        far: hex,
        pc: hex,
        pstate: hex,
        sp: hex,
        regs: [hex; 31],
        stacks: std::iter::repeat_n(stack, 4).collect(),
        backtrace: [hex; BACKTRACE_DEPTH].into(),
    });
    round_trip(&Death {
        schema: SCHEMA,
        kind: Kind::Death,
        task: value as u32,
        name: cut(text),
        signal: value as u32,
        code: value as i32,
        addr: hex,
        esr: hex,
        pc: hex,
        cause: cut(text),
    });
    round_trip(&Counters {
        schema: SCHEMA,
        kind: Kind::Counters,
        exceptions: std::iter::repeat_n(count, 80).collect(),
        syscalls: value,
        ticks: value,
        spurious: value,
        unexpected: value,
        switches: value,
        preemptions: value,
    });
    round_trip(&Ktest { schema: SCHEMA, kind: Kind::Ktest, name: cut(text), passed: true, why: cut(text) });
    round_trip(&hex);
}

#[test]
fn every_record_holds_the_extremes() {
    for value in [0, 1, 1 << 31, 1 << 53 | 1, 1 << 63, i64::MAX as u64, u64::MAX] {
        check_records(value, "");
        check_records(value, &"\"\\\n\u{1e}é".repeat(50));
    }
}

proptest! {
    #[test]
    fn every_record_survives_json(value: u64, text: String) {
        check_records(value, &text);
    }
}

#[test]
fn slots_and_kinds_are_strings() {
    for slot in Slot::ALL {
        round_trip(&slot);
    }
    assert_eq!(serde_json::to_string(&Slot::El1hSync).unwrap(), "\"el1h_sync\"");
    assert_eq!(serde_json::to_string(&Kind::Ktest).unwrap(), "\"ktest\"");
}

#[test]
fn names_of_slots_are_the_same_in_records_and_counters() {
    for slot in Slot::ALL {
        assert_eq!(serde_json::to_string(&slot).unwrap(), format!("\"{}\"", slot.name()));
    }
}

#[test]
fn hex_has_one_form_and_refuses_others() {
    assert_eq!(serde_json::to_string(&Hex(u64::MAX)).unwrap(), "\"0xffffffffffffffff\"");
    assert_eq!(serde_json::to_string(&Hex(0)).unwrap(), "\"0x0000000000000000\"");
    for wrong in ["12", "\"12\"", "\"0x\"", "\"0xg\"", "\"0x+1\"", "\"0x10000000000000000\"", "null"] {
        assert!(serde_json::from_str::<Hex>(wrong).is_err(), "{wrong}");
    }
}
