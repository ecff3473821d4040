//! `ls [PATH...]`: the names in a directory (`/` when none is given), directories with a slash.
#![no_std]
#![no_main]

use core::ffi::CStr;
use linux_raw_sys::general::DT_DIR;
use user::{Args, dirent, eprintln, println};

user::entry!(main);

fn main(mut args: Args) -> i32 {
    args.next();
    if args.clone().next().is_none() {
        return list(c"/");
    }
    args.map(list).max().unwrap_or_default()
}

fn list(path: &CStr) -> i32 {
    let listed = dirent::list(path, |entry| {
        let slash = if u32::from(entry.kind) == DT_DIR { "/" } else { "" };
        println!("{}{slash}", entry.name.to_str().unwrap_or("?"));
    });
    if let Err(errno) = listed {
        eprintln!("ls: {path:?}: {errno}");
    }
    listed.is_err().into()
}
