//! How a program begins and ends: `_start`, its arguments, `main`, panics.

use crate::{eprintln, sys};
use core::{arch::global_asm, ffi::CStr, ffi::c_char};
use linux_raw_sys::auxvec::AT_NULL;

global_asm!(include_str!("start.S"), start = sym start);

unsafe extern "Rust" {
    /// The program's main function, defined by [`entry!`](crate::entry).
    safe fn __program_main(args: Args) -> i32;
}

/// Names the function a program starts in: `fn(Args) -> i32`, whose result becomes the exit code.
#[macro_export]
macro_rules! entry {
    ($main:path) => {
        #[unsafe(no_mangle)]
        fn __program_main(args: $crate::Args) -> i32 {
            $main(args)
        }
    };
}

/// The exit code of a program that panicked, as of a Rust program on Linux.
const PANIC_EXIT_CODE: i32 = 101;

/// Called once by `_start` with the stack as the kernel built it: argc, argv[0..argc], 0, the environment, 0, the auxiliary
/// vector.
extern "C" fn start(stack: *const usize) -> ! {
    // SAFETY: `stack` is where the kernel put argc and the argv pointers, and nobody writes there.
    let args = unsafe { core::slice::from_raw_parts(stack.add(1).cast(), *stack) };
    sys::exit_group(__program_main(Args { rest: args }))
}

/// The program's arguments in order, beginning with its name.
#[derive(Clone)]
pub struct Args {
    rest: &'static [*const c_char],
}

impl Iterator for Args {
    type Item = &'static CStr;

    fn next(&mut self) -> Option<&'static CStr> {
        let (first, rest) = self.rest.split_first()?;
        self.rest = rest;
        // SAFETY: the kernel ends each argument with NUL and leaves it in place for the program's life.
        Some(unsafe { CStr::from_ptr(*first) })
    }
}

impl Args {
    /// Where the pointers to the arguments that are left lie, on the stack as the kernel built it.
    pub fn as_ptr(&self) -> *const *const c_char {
        self.rest.as_ptr()
    }

    /// An entry of the auxiliary vector (`AT_...`), which lies behind the arguments and the environment.
    pub fn auxiliary(&self, key: u32) -> Option<u64> {
        // SAFETY: the kernel ends the arguments and the environment with a null pointer each, the vector with AT_NULL, and
        // nobody writes there.
        unsafe {
            let mut word = self.rest.as_ptr_range().end.cast::<u64>().add(1);
            while *word != 0 {
                word = word.add(1);
            }
            let mut pair = word.add(1).cast::<[u64; 2]>();
            while (*pair)[0] != u64::from(AT_NULL) && (*pair)[0] != u64::from(key) {
                pair = pair.add(1);
            }
            ((*pair)[0] == u64::from(key)).then_some((*pair)[1])
        }
    }

    /// The next argument as a number, `default` when there is none.
    ///
    /// # Panics
    /// When the argument is no decimal number: a program has no better answer to that than to say so and end.
    pub fn number_or(&mut self, default: u64) -> u64 {
        self.next().map_or(default, |arg| {
            let number = arg.to_str().ok().and_then(|text| text.parse().ok());
            number.unwrap_or_else(|| panic!("{arg:?} is not a decimal number"))
        })
    }
}

#[panic_handler]
fn panic(info: &core::panic::PanicInfo<'_>) -> ! {
    eprintln!("{info}");
    sys::exit_group(PANIC_EXIT_CODE)
}
