//! Greets, and says what it runs on and what it was called with.
#![no_std]
#![no_main]

use core::ffi::{CStr, c_char};
use user::{Args, println, sys};

user::entry!(main);

fn main(args: Args) -> i32 {
    let name = sys::uname().expect("uname into a good buffer works");
    println!("Hello from EL0, process {}, on {} {}", sys::getpid(), text(&name.sysname), text(&name.release));
    for (index, arg) in args.enumerate() {
        println!("argv[{index}] = {arg:?}");
    }
    0
}

fn text(field: &[c_char]) -> &str {
    CStr::from_bytes_until_nul(field).ok().and_then(|text| text.to_str().ok()).unwrap_or("?")
}
