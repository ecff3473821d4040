//! Never ends and never calls the kernel: what time-outs are tried on.
#![no_std]
#![no_main]

use user::{Args, println};

user::entry!(main);

fn main(_args: Args) -> i32 {
    println!("spinning for ever");
    loop {
        core::hint::spin_loop();
    }
}
