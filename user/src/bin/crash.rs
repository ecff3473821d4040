//! `crash KIND` dies of a fault of its own; `crash all` forks one child a kind and checks that each died of the right signal;
//! `crash list` names the kinds.
#![no_std]
#![no_main]

use core::arch::asm;
use linux_raw_sys::general::{PROT_NONE, PROT_READ, PROT_WRITE};
use user::{Args, Signal, Status, eprintln, println, process, sys};

user::entry!(main);

/// A way to die.
struct Kind {
    name: &'static str,
    what: &'static str,
    signal: Signal,
    act: fn(),
}

/// One row a kind; an instruction stands for a function that executes it.
macro_rules! kinds {
    ($($name:literal $signal:ident $what:literal $($instruction:literal)? $($act:path)?;)*) => {
        const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            what: $what,
            signal: Signal::$signal,
            // SAFETY: the instruction traps; if it wrongly does not, no register or memory of Rust's has changed.
            act: $(|| unsafe { asm!($instruction, out("x0") _, out("x30") _) })? $($act)?,
        },)*];
    };
}

kinds! {
    "null"             SIGSEGV "reads address 0"                          null;
    "unmapped"         SIGSEGV "reads a page it has unmapped"             unmapped;
    "kernel-address"   SIGSEGV "reads the kernel's half"                  kernel_address;
    "non-canonical"    SIGSEGV "reads an address of neither half"         non_canonical;
    "no-access"        SIGSEGV "reads a PROT_NONE page"                   no_access;
    "write-text"       SIGSEGV "writes to its code"                       write_text;
    "write-rodata"     SIGSEGV "writes to its constants"                  write_rodata;
    "write-revoked"    SIGSEGV "writes to a page made read-only"          write_revoked;
    "jump-null"        SIGSEGV "jumps to address 0"                       jump_null;
    "jump-kernel"      SIGSEGV "jumps to the kernel's half"               jump_kernel;
    "jump-data"        SIGSEGV "executes its data"                        jump_data;
    "jump-stack"       SIGSEGV "executes its stack"                       jump_stack;
    "unmapped-text"    SIGSEGV "unmaps the code it runs"                  unmapped_text;
    "stack-overflow"   SIGSEGV "recurses without end"                     stack_overflow;
    "lost-stack"       SIGSEGV "pushes with SP = 0"                       lost_stack;
    "unaligned-pc"     SIGBUS  "jumps to an odd address"                  unaligned_pc;
    "unaligned-atomic" SIGBUS  "loads exclusively, unaligned"             unaligned_exclusive;
    "undefined"        SIGILL  "executes UDF"                             "udf #0";
    "unallocated"      SIGILL  "executes an unallocated word"             ".inst 0xffffffff";
    "hlt"              SIGILL  "halts for a debugger"                     "hlt #0";
    "semihosting"      SIGILL  "asks the debugger to end the machine"     "mov x0, #0x18; hlt #0xf000";
    "hvc"              SIGILL  "calls the hypervisor"                     "hvc #0";
    "smc"              SIGILL  "calls the firmware"                       "smc #0";
    "eret"             SIGILL  "returns from no exception"                "eret";
    "mask-interrupts"  SIGILL  "sets PSTATE.DAIF"                         "msr daifset, #15";
    "read-sctlr"       SIGILL  "reads SCTLR_EL1"                          "mrs x0, sctlr_el1";
    "write-vbar"       SIGILL  "writes VBAR_EL1"                          "msr vbar_el1, x0";
    "write-timer"      SIGILL  "writes the kernel's timer"                "msr cntv_ctl_el0, xzr";
    "read-pmu"         SIGILL  "reads the cycle counter"                  "mrs x0, pmccntr_el0";
    "tlb-flush"        SIGILL  "invalidates the TLB"                      "tlbi vmalle1";
    "brk"              SIGTRAP "hits a breakpoint instruction"            "brk #1";
    "terminate"        SIGTERM "sends itself SIGTERM"                     terminate;
    "kill"             SIGKILL "sends itself SIGKILL"                     kill;
}

const PAGE: usize = 4096;
/// An address in the kernel's half, where our kernel is linked (linker/kernel.ld).
const KERNEL: usize = 0xffff_ffc0_8000_0000;

fn main(mut args: Args) -> i32 {
    let word = args.nth(1).and_then(|word| word.to_str().ok());
    match word {
        Some("all") => return all(),
        Some("list") => {
            for kind in KINDS {
                println!("{:<18}{:<9}{}", kind.name, kind.signal, kind.what);
            }
            return 0;
        }
        _ => {}
    }
    let Some(kind) = KINDS.iter().find(|kind| Some(kind.name) == word) else {
        eprintln!("usage: crash KIND|all|list; `crash list` names the kinds");
        return 2;
    };
    (kind.act)();
    eprintln!("crash {}: survived, though it {}", kind.name, kind.what);
    1
}

fn all() -> i32 {
    let mut failed = 0;
    println!("{:<18}{:<9}ENDED", "KIND", "EXPECTED");
    for kind in KINDS {
        let status = process::run(|| {
            (kind.act)();
            0
        })
        .expect("a child can be started and waited for");
        let right = status == Status::Killed(kind.signal);
        println!("{:<18}{:<9}{status}{}", kind.name, kind.signal, if right { "" } else { "  WRONG" });
        failed += i32::from(!right);
    }
    println!("crash: {} kinds, {failed} wrong", KINDS.len());
    i32::from(failed != 0)
}

/// Loads from `address`, whatever is there.
fn read(address: usize) {
    // SAFETY: a load that faults ends the process; one that does not changes nothing.
    unsafe { asm!("ldr {0}, [{0}]", inout(reg) address => _) };
}

/// Stores to `address` what it holds; so that a store that wrongly succeeds changes nothing.
fn write(address: usize) {
    // SAFETY: stores the word that is there already.
    unsafe { asm!("ldr {1}, [{0}]", "str {1}, [{0}]", in(reg) address, out(reg) _) };
}

/// Calls `address`.
fn jump(address: usize) {
    // SAFETY: what the callers jump to faults, or else (data) is a `ret`.
    unsafe { asm!("blr {}", in(reg) address, clobber_abi("C")) };
}

/// A fresh page.
fn page() -> *mut u8 {
    sys::mmap(PAGE, PROT_READ | PROT_WRITE).expect("a page can be mapped")
}

fn null() {
    read(0);
}

fn unmapped() {
    let page = page();
    // SAFETY: the page is no Rust value's. Written first, so that it was there.
    unsafe {
        page.write_volatile(1);
        sys::munmap(page, PAGE).expect("a mapped page can be unmapped");
    }
    read(page.addr());
}

fn kernel_address() {
    read(KERNEL);
}

fn non_canonical() {
    read(1 << 52);
}

fn no_access() {
    read(sys::mmap(PAGE, PROT_NONE).expect("a page can be mapped").addr());
}

fn write_text() {
    write(main as fn(Args) -> i32 as usize);
}

fn write_rodata() {
    write(KINDS.as_ptr().addr());
}

fn write_revoked() {
    let page = page();
    // SAFETY: the page is no Rust value's. Written first, so that a stale TLB entry would let the second write pass.
    unsafe {
        page.write_volatile(1);
        sys::mprotect(page, PAGE, PROT_READ).expect("a mapped page can be made read-only");
    }
    write(page.addr());
}

fn jump_null() {
    jump(0);
}

fn jump_kernel() {
    jump(KERNEL);
}

/// The instruction `ret`: where it is executed wrongly, the program survives to tell.
const RET: u32 = 0xd65f_03c0;

fn jump_data() {
    let page = page();
    // SAFETY: the page is no Rust value's.
    unsafe { page.cast::<u32>().write_volatile(RET) };
    jump(page.addr());
}

fn jump_stack() {
    let code = core::hint::black_box([RET]);
    jump(code.as_ptr().addr());
}

fn unmapped_text() {
    let here = unmapped_text as fn() as usize & !(PAGE - 1);
    // SAFETY: none of the program's code is left to run if this works, and the fault ends it.
    let _ = unsafe { sys::munmap(here as *mut u8, PAGE) };
}

fn stack_overflow() {
    // SAFETY: nothing comes back from the end of the stack.
    unsafe { asm!("2: stp x29, x30, [sp, #-16]!", "bl 2b", options(noreturn)) };
}

fn lost_stack() {
    // SAFETY: the push faults; if it wrongly does not, SP is put back.
    unsafe {
        asm!("mov {0}, sp", "mov sp, {1}", "stp x29, x30, [sp, #-16]!", "mov sp, {0}", out(reg) _, in(reg) 0usize)
    };
}

fn unaligned_pc() {
    jump((unaligned_pc as fn() as usize) + 2);
}

fn unaligned_exclusive() {
    let words = core::hint::black_box([0u64; 4]);
    // With FEAT_LSE2 only one that crosses a 16-byte boundary faults.
    let crossing = words.as_ptr().addr().next_multiple_of(16) + 12;
    // SAFETY: reads within `words`; the monitor is left clear.
    unsafe { asm!("ldxr {0}, [{0}]", "clrex", inout(reg) crossing => _) };
}

fn terminate() {
    kill_self(Signal::SIGTERM);
}

fn kill() {
    kill_self(Signal::SIGKILL);
}

fn kill_self(signal: Signal) {
    sys::kill(sys::getpid(), signal).expect("a process may signal itself");
}
