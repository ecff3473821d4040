//! Assertions of the kernel about itself, as one instruction: BRK, whose address is looked up in a table of files and lines
//! (Linux: `CONFIG_DEBUG_BUGVERBOSE`). The EL1 handler reports them, a BUG as the end and a WARN with the kernel going on.

use core::ffi::CStr;
use core::ptr::addr_of;

/// The immediate of a BRK that is in the table (Linux `BUG_BRK_IMM`).
pub const BUG_BRK_IMM: u16 = 0x800;

/// A BRK; offsets are relative to their own place.
#[repr(C)]
struct Entry {
    instruction: i32,
    file: i32,
    line: u32,
    goes_on: u32,
}

/// What a BRK says.
pub struct Bug {
    /// The source file.
    pub file: &'static str,
    /// The line in it.
    pub line: u32,
    /// It was a WARN: the kernel goes on behind it.
    pub goes_on: bool,
}

unsafe extern "C" {
    static _bug_table: Entry;
    static _bug_table_end: Entry;
}

/// What the BRK at `pc` says, if it is one of these.
pub fn find(pc: usize) -> Option<Bug> {
    let start = addr_of!(_bug_table);
    // SAFETY: the linker lays the entries out between the two symbols, read-only.
    let table = unsafe { core::slice::from_raw_parts(start, addr_of!(_bug_table_end).offset_from_unsigned(start)) };
    let at = |place: &i32| core::ptr::from_ref(place).addr().wrapping_add_signed(*place as isize);
    let entry = table.iter().find(|entry| at(&entry.instruction) == pc)?;
    // SAFETY: the macro put the file's name there, with its NUL.
    let file = unsafe { CStr::from_ptr(core::ptr::with_exposed_provenance(at(&entry.file))) };
    Some(Bug { file: file.to_str().unwrap_or("?"), line: entry.line, goes_on: entry.goes_on != 0 })
}

/// The BRK and its entry in the table.
#[macro_export]
#[collapse_debuginfo(yes)]
macro_rules! brk {
    ($goes_on:literal, $($option:ident),*) => {
        // SAFETY: an exception that changes no register and no memory of the code here.
        unsafe {
            core::arch::asm!(
                "771: brk #{immediate}",
                ".pushsection .rodata.bug_files, \"a\"",
                concat!("772: .asciz \"", file!(), "\""),
                ".popsection",
                ".pushsection .bug_table, \"a\"",
                ".long 771b - ., 772b - ., {line}, {goes_on}",
                ".popsection",
                immediate = const $crate::bug::BUG_BRK_IMM,
                line = const line!(),
                goes_on = const $goes_on,
                options($($option),*)
            )
        }
    };
}

/// Ends the kernel with a report if `$broken`: an invariant does not hold.
#[macro_export]
#[collapse_debuginfo(yes)]
macro_rules! bug_on {
    ($broken:expr) => {
        if $broken {
            $crate::brk!(0, noreturn, nostack)
        }
    };
}

/// Reports that `$odd` is so, and goes on.
#[macro_export]
#[collapse_debuginfo(yes)]
macro_rules! warn_on {
    ($odd:expr) => {
        if $odd {
            $crate::brk!(1, nostack, preserves_flags)
        }
    };
}
