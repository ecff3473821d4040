//! What a new program finds: its stack from SP up, and the auxiliary vector.

use crate::world::REGULAR;
use core::ffi::{CStr, c_char};
use linux_raw_sys::auxvec::*;
use user::{eprintln, println, process, sys};

/// The first argument of a program that is to tell.
pub const STARTED: &CStr = c"started";

const ARGUMENTS: [&CStr; 4] = [c"observe", STARTED, c"", c"with a space"];
const ENVIRONMENT: [&CStr; 3] = [c"ONE=1", c"", c"TWO"];

pub fn observe() -> i32 {
    let pointers = |words: &[&CStr], list: &mut [*const c_char]| {
        list.iter_mut().zip(words).for_each(|(pointer, word)| *pointer = word.as_ptr());
    };
    let (mut argv, mut envp) = ([core::ptr::null(); 5], [core::ptr::null(); 4]);
    pointers(&ARGUMENTS, &mut argv);
    pointers(&ENVIRONMENT, &mut envp);
    // SAFETY: both end with null.
    let errno = unsafe { sys::execve(REGULAR, argv.as_ptr(), envp.as_ptr()) };
    eprintln!("observe: {REGULAR:?}: {errno}");
    process::EXEC_FAILED
}

/// Keys of the vector, with those whose values say the same on every kernel.
const KEYS: &[(u32, &str, bool)] = &[
    (AT_PHDR, "PHDR", true),
    (AT_PHENT, "PHENT", true),
    (AT_PHNUM, "PHNUM", true),
    (AT_PAGESZ, "PAGESZ", true),
    (AT_BASE, "BASE", true),
    (AT_FLAGS, "FLAGS", true),
    (AT_ENTRY, "ENTRY", true),
    (AT_UID, "UID", true),
    (AT_EUID, "EUID", true),
    (AT_GID, "GID", true),
    (AT_EGID, "EGID", true),
    (AT_PLATFORM, "PLATFORM", false),
    (AT_HWCAP, "HWCAP", true),
    (AT_CLKTCK, "CLKTCK", true),
    (AT_SECURE, "SECURE", true),
    (AT_RANDOM, "RANDOM", false),
    (AT_HWCAP2, "HWCAP2", true),
    (AT_EXECFN, "EXECFN", false),
    (AT_SYSINFO_EHDR, "SYSINFO_EHDR", false),
    (AT_MINSIGSTKSZ, "MINSIGSTKSZ", true),
];

/// Tells what lies at `argv` and behind it.
pub fn started(argv: *const *const c_char, argc: usize) -> i32 {
    // SAFETY: the kernel put a count there, two lists that end with null, and a vector that ends with AT_NULL; strings end with
    // NUL; nobody writes there.
    unsafe {
        let count = argv.cast::<usize>().sub(1);
        println!("start.sp.remainder {}", count.addr() % 16);
        println!("start.argc {} {}", *count, argc);
        let after_argv = list("argv", argv);
        let vector = list("envp", after_argv).cast::<[u64; 2]>();
        let mut pair = vector;
        while (*pair)[0] != u64::from(AT_NULL) {
            let [key, value] = *pair;
            match KEYS.iter().find(|row| u64::from(row.0) == key) {
                Some((_, name, true)) => println!("start.auxv.{name} {value:#x}"),
                Some((_, name, false)) => println!("start.auxv.{name} {}", value != 0),
                None => println!("start.auxv.{key} {value:#x}"),
            }
            pair = pair.add(1);
        }
        let find = |key: u32| {
            let mut pair = vector;
            while (*pair)[0] != u64::from(AT_NULL) && (*pair)[0] != u64::from(key) {
                pair = pair.add(1);
            }
            (*pair)[1] as usize
        };
        let (random, name) = (find(AT_RANDOM), find(AT_EXECFN));
        println!("start.execfn {:?}", text(core::ptr::with_exposed_provenance(name)));
        let last = (*argv.add(argc - 1)).addr();
        println!("start.vector.below-random {}", pair.addr() < random);
        println!("start.random.below-arguments {}", random < (*argv).addr());
        println!("start.environment.behind-arguments {}", last < (*after_argv).addr());
        let mut end = name + text(core::ptr::with_exposed_provenance(name)).count_bytes() + 1;
        println!("start.execfn.behind-environment {}", name > (*after_argv).addr());
        // To the end of the stack's last page, nothing but zeroes.
        let (first, mut zero) = (end, true);
        while !end.is_multiple_of(4096) {
            zero &= *core::ptr::with_exposed_provenance::<u8>(end) == 0;
            end += 1;
        }
        println!("start.end {} bytes, zero: {zero}", end - first);
    }
    0
}

/// Tells the words of a list; gives what is behind it.
///
/// # Safety
/// It ends with null, and its words with NUL.
unsafe fn list(name: &str, mut pointer: *const *const c_char) -> *const *const c_char {
    let (mut index, mut previous) = (0, 0);
    // SAFETY: as the caller vouches.
    unsafe {
        while !(*pointer).is_null() {
            let word = text(*pointer);
            // One behind the other.
            let follows = previous == 0 || previous == (*pointer).addr();
            println!("start.{name}.{index} {word:?} follows: {follows}");
            previous = (*pointer).addr() + word.count_bytes() + 1;
            (pointer, index) = (pointer.add(1), index + 1);
        }
        pointer.add(1)
    }
}

/// # Safety
/// It ends with NUL, and stays.
unsafe fn text(pointer: *const c_char) -> &'static CStr {
    // SAFETY: as the caller vouches.
    unsafe { CStr::from_ptr(pointer) }
}
