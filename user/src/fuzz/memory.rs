//! Where things are in the memory of a case: at fixed addresses, so that a case is the same whatever came before.

/// Bytes of a page.
pub const PAGE: u64 = 4096;
/// Some pages that may be read and written; the first begins with what calls are to find ([`STRINGS`], [`PAIRS`]).
pub const DATA: u64 = 0x200_0000;
/// Bytes there.
pub const DATA_SIZE: u64 = 4 * PAGE;
/// Right behind, a page that nobody may touch.
pub const CLOSED: u64 = DATA + DATA_SIZE;
/// Right behind that, one that can only be read; and then none.
pub const READ_ONLY: u64 = CLOSED + PAGE;
/// A page for instructions; none before and none behind it.
pub const CODE: u64 = DATA + 8 * PAGE;
/// One past the last address of programs, with 39 bits.
pub const USER_END: u64 = 1 << 39;
/// Below this nothing can be mapped.
pub const USER_START: u64 = 0x1_0000;

/// Bytes that each string has for itself.
pub const STRING_SIZE: u64 = 32;
/// Where the strings are.
pub const STRINGS_AT: u64 = DATA + 0x100;
/// Paths, and what is none. `/elf/N` are damaged programs.
pub const STRINGS: [&str; 40] = [
    "",
    "/",
    "/bin",
    "/bin/",
    "/bin/hello",
    "/bin/echo",
    "bin/../bin/ls",
    "./bin/./hello",
    "/bin/hello/x",
    "/no/such",
    "hello",
    "..",
    "//",
    "/proc",
    "/proc/counters",
    "/proc/deaths",
    "/proc/deaths/",
    "\u{7f}\u{1}",
    "a b",
    "/elf",
    "/elf/0",
    "/elf/1",
    "/elf/2",
    "/elf/3",
    "/elf/4",
    "/elf/5",
    "/elf/6",
    "/elf/7",
    "/elf/8",
    "/elf/9",
    "/elf/10",
    "/elf/11",
    "/elf/12",
    "/elf/13",
    "/elf/14",
    "/elf/15",
    "/elf/16",
    "/elf/17",
    "/elf/18",
    "/elf/19",
];
/// How many damaged programs there are.
pub const DAMAGED: usize = 20;

/// Where the pairs are.
pub const PAIRS_AT: u64 = DATA + 0x800;
/// Times, limits, parts of a `writev` and vectors of arguments: two words each.
pub const PAIRS: [[u64; 2]; 16] = [
    [0, 0],
    [0, 1],
    [0, 1000],
    [1, 0],
    [0, 999_999_999],
    [0, 1_000_000_000],
    [u64::MAX, 0],
    [0, u64::MAX],
    [i64::MAX as u64, 999_999_999],
    [STRINGS_AT + 4 * STRING_SIZE, 0],
    [STRINGS_AT + 4 * STRING_SIZE, 5],
    [STRINGS_AT + 5 * STRING_SIZE, STRINGS_AT],
    [DATA, u64::MAX],
    [CLOSED - 8, 16],
    [0xffff_ffc0_8000_0000, 64],
    [STRINGS_AT + 4 * STRING_SIZE, STRINGS_AT + 5 * STRING_SIZE],
];
