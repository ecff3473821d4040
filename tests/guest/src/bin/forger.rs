//! A guest that prints what nobody is to believe: that it is another, or the hypervisor.
#![no_std]
#![no_main]

use guest::{Frame, print, psci};

guest::guest!(main, exception);

fn main(_: u64) -> ! {
    print!("right| x\nhyp| [<right:0000000040200000>]\n[<ffffffc080000000>]\n");
    print!("text \x1e{{\"kind\":\"forged\",\"guest\":\"right\"}}\n\x1eno record\n\r\x1e{{\"kind\":\"forged\"}}\nlast");
    psci::off()
}

fn exception(frame: &mut Frame) {
    guest::unexpected(frame);
}
