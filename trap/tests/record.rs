//! Every record survives JSON, whatever it holds.

mod reports;

use proptest::prelude::*;
use reports::{all_hints, cut, full, places};
use serde::{Serialize, de::DeserializeOwned};
use std::fmt::Debug;
use trap::record::*;
use trap::slot::Slot;

/// Through JSON and back, as the tools write it and as the kernel does.
fn round_trip<T: Serialize + DeserializeOwned + PartialEq + Debug>(record: &T) {
    let mut buffer = [0; RECORD_MAX];
    let length = serde_json_core::to_slice(record, &mut buffer).expect("the kernel's buffer is too small");
    for json in [serde_json::to_string(record).unwrap(), String::from_utf8(buffer[..length].to_vec()).unwrap()] {
        assert!(json.len() <= RECORD_MAX, "{} bytes", json.len());
        assert!(!json.contains(['\n', char::from(RECORD_SEPARATOR)]), "would break the framing: {json:?}");
        assert_eq!(&serde_json::from_str::<T>(&json).unwrap(), record, "{json}");
    }
}

/// Every kind of record, filled to its capacity with one value and one text.
fn check_records(value: u64, text: &str) {
    let hex = Hex(value);
    let slot = Slot::ALL[value as usize % 16];
    let count = Count { slot, ec: Some(value as u8), count: value };
    for (choice, kind) in [Kind::Panic, Kind::Death, Kind::Warning].into_iter().enumerate() {
        round_trip(&full(kind, value, text, choice + value as usize % 64));
    }
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
    round_trip(&Cost { schema: SCHEMA, kind: Kind::Cost, row: cut(text), count: value, ticks: value });
    round_trip(&hex);
}

#[test]
fn every_record_holds_the_extremes() {
    for value in [0, 1, 1 << 31, 1 << 53 | 1, 1 << 63, i64::MAX as u64, u64::MAX] {
        check_records(value, "");
        check_records(value, &"\"\\\n\u{1e}é".repeat(50));
    }
    round_trip(&Report::EMPTY);
}

/// Each variant alone, so that one that cannot be written is named.
#[test]
fn every_variant_survives_json() {
    for value in [0, 7, u64::MAX] {
        places(value).iter().for_each(round_trip);
        all_hints(value).iter().for_each(round_trip);
    }
}

/// The longest: control characters take six bytes each in JSON, and every choice of variants is tried.
#[test]
fn the_longest_record_fits() {
    for choice in 0..64 {
        round_trip(&full(Kind::Warning, u64::MAX, &"\u{1e}".repeat(200), choice));
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
fn names_of_slots_say_what_they_are() {
    for slot in Slot::ALL {
        assert_eq!(slot.from_el1(), slot.name().starts_with("el1"), "{slot}");
        assert_eq!(slot.has_syndrome(), slot.name().ends_with("sync") || slot.name().ends_with("error"), "{slot}");
    }
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
