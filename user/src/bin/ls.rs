//! `ls [PATH...]`: the names in a directory (`/` when none is given), directories with a slash.
#![no_std]
#![no_main]

use core::ffi::CStr;
use linux_raw_sys::general::DT_DIR;
use user::{Args, Errno, dirent, eprintln, println, sys};

user::entry!(main);

fn main(mut args: Args) -> i32 {
    args.next();
    if args.clone().next().is_none() {
        return list(c"/");
    }
    args.map(list).max().unwrap_or_default()
}

fn list(path: &CStr) -> i32 {
    match print_names(path) {
        Ok(()) => 0,
        Err(errno) => {
            eprintln!("ls: {path:?}: {errno}");
            1
        }
    }
}

fn print_names(path: &CStr) -> Result<(), Errno> {
    let directory = sys::open(path)?;
    let mut buffer = [0; 1024];
    loop {
        let used = sys::getdents64(directory, &mut buffer)?;
        if used == 0 {
            return sys::close(directory);
        }
        for entry in dirent::entries(&buffer[..used]) {
            let slash = if u32::from(entry.kind) == DT_DIR { "/" } else { "" };
            println!("{}{slash}", entry.name.to_str().unwrap_or("?"));
        }
    }
}
