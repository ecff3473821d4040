//! The rows that explain a syndrome cover it exactly, and only fields that mean something have one.

use proptest::prelude::*;
use trap::esr::Esr;

fn check_tiling(esr: Esr) {
    let mut next = 64;
    let mut value = 0;
    for field in esr.fields() {
        assert_eq!(field.hi + 1, next, "{esr:?}: {} leaves a gap or overlaps", field.name);
        assert!(field.lo <= field.hi);
        value |= field.value << field.lo;
        assert!(!field.words.to_string().is_empty());
        next = field.lo;
    }
    assert_eq!((next, value), (0, esr.0), "{esr:?}");
}

#[test]
fn fields_tile_every_class_and_status() {
    for (ec, status) in (0..64).flat_map(|ec| (0..64).map(move |status| (ec, status))) {
        for rest in [0, 0xffff_ffff_03ff_ffc0, 1 << 24, 0x00ff_ffc0] {
            check_tiling(Esr(rest | ec << 26 | status));
        }
    }
}

#[test]
fn a_data_abort_field_by_field() {
    let rows: Vec<_> = Esr(0x9600_0045).fields().map(|row| (row.name, row.hi, row.lo, row.value)).collect();
    assert_eq!(
        rows,
        [
            ("RES0", 63, 43, 0),
            ("TnD", 42, 42, 0),
            ("TagAccess", 41, 41, 0),
            ("GCS", 40, 40, 0),
            ("AssuredOnly", 39, 39, 0),
            ("Overlay", 38, 38, 0),
            ("DirtyBit", 37, 37, 0),
            ("Xs", 36, 32, 0),
            ("EC", 31, 26, 0x25),
            ("IL", 25, 25, 1),
            ("ISV", 24, 24, 0),
            ("RES0", 23, 16, 0),
            ("FnP", 15, 15, 0),
            ("RES0", 14, 14, 0),
            ("VNCR", 13, 13, 0),
            ("RES0", 12, 10, 0),
            ("EA", 9, 9, 0),
            ("CM", 8, 8, 0),
            ("S1PTW", 7, 7, 0),
            ("WnR", 6, 6, 1),
            ("DFSC", 5, 0, 5),
        ]
    );
    let words = |name| Esr(0x9600_0045).fields().find(|row| row.name == name).unwrap().words.to_string();
    assert_eq!(words("EC"), "data abort from EL1");
    assert_eq!(words("WnR"), "write");
    assert_eq!(words("DFSC"), "translation fault, level 1");
}

#[test]
fn a_field_shows_only_where_it_means_something() {
    let has = |esr, name| Esr(esr).fields().any(|row| row.name == name);
    for (with, without, name) in [
        (0x9700_0000, 0x9600_0000, "SRT"),
        (0x9600_0010, 0x9600_0011, "FnV"),
        (0x9600_0010, 0x9600_0011, "SET"),
        (0xbe00_0011, 0xbf00_0011, "AET"),
        (0xbe00_0011, 0xbe00_0000, "AET"),
        (0xb080_0000, 0xb000_0000, "IOF"),
        (0x0600_0004, 0x0600_0000, "RN"),
        (0x6a00_0002, 0x6a00_0000, "ERETA"),
        (0x5600_0000, 0x6200_0000, "imm16"),
    ] {
        assert!(has(with, name) && !has(without, name), "{name}");
    }
    assert!(Esr(0x0200_0001).fields().any(|row| row.words.to_string().contains("but not 0")));
}

/// The names in a table, heading excluded.
fn names(table: &str) -> Vec<&str> {
    table.lines().skip(1).map(|line| line.split_whitespace().nth(1).unwrap()).collect()
}

#[test]
fn a_table_tells_every_bit_or_what_says_something() {
    let esr = Esr(0x9600_0045);
    let all: Vec<_> = esr.fields().map(|field| field.name).collect();
    assert_eq!(names(&format!("{:#}", esr.table())), all);
    let said = ["EC", "IL", "ISV", "FnP", "VNCR", "EA", "CM", "S1PTW", "WnR", "DFSC"];
    assert_eq!(names(&esr.table().to_string()), said);
    let not_zero = Esr(esr.0 | 1 << 16 | 1 << 42);
    let rows = not_zero.table().to_string();
    let rows = names(&rows);
    assert!(rows.contains(&"TnD") && rows.contains(&"RES0"), "{rows:?}");
}

proptest! {
    #[test]
    fn fields_tile_every_value(esr: u64) {
        check_tiling(Esr(esr));
    }

    #[test]
    fn tables_are_aligned(esr: u64) {
        for table in [Esr(esr).table().to_string(), format!("{:#}", Esr(esr).table())] {
            let meaning = table.find("MEANING").unwrap();
            prop_assert!(table.lines().all(|line| line[..meaning].ends_with("  ")), "{table}");
        }
    }
}
