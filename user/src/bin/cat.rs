//! Prints files.
#![no_std]
#![no_main]

use core::ffi::CStr;
use user::{Args, Errno, eprintln, io, sys};

user::entry!(main);

fn main(args: Args) -> i32 {
    let mut failed = 0;
    for path in args.skip(1) {
        if let Err(errno) = print_file(path) {
            eprintln!("cat: {path:?}: {errno}");
            failed = 1;
        }
    }
    failed
}

fn print_file(path: &CStr) -> Result<(), Errno> {
    let fd = sys::open(path)?;
    let mut buffer = [0; 1024];
    loop {
        match sys::read(fd, &mut buffer)? {
            0 => return sys::close(fd),
            used => io::write_all(io::STDOUT, &buffer[..used]),
        }
    }
}
