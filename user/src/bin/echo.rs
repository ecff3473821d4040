//! Prints its arguments, a space between two.
#![no_std]
#![no_main]

use user::{
    Args,
    io::{Output, STDOUT},
};

user::entry!(main);

fn main(args: Args) -> i32 {
    let mut line = Output::new(STDOUT);
    for (index, word) in args.skip(1).enumerate() {
        if index > 0 {
            line.push(b" ");
        }
        line.push(word.to_bytes());
    }
    line.push(b"\n");
    0
}
