//! `crash KIND` dies of a fault of its own; `crash all` forks one child a kind and checks that each died of the right signal,
//! with the code and the address that tell why; `crash list` names the kinds.
#![no_std]
#![no_main]

use core::arch::naked_asm;
use linux_raw_sys::general::{
    self as linux, BUS_ADRALN, ILL_ILLOPC, PROT_EXEC, PROT_NONE, PROT_READ, PROT_WRITE, SEGV_ACCERR, SEGV_MAPERR,
    SI_USER, TRAP_BRKPT,
};
use trap::signal::{code_name, untagged};
use user::{Args, Signal, Status, deaths, deaths::Death, eprintln, print, println, process, sys};

user::entry!(main);

/// A way to die.
struct Kind {
    name: &'static str,
    what: &'static str,
    signal: Signal,
    code: u32,
    addr: Addr,
    /// Makes what is needed, and gives what x0 is to hold. A child that is forked then finds it there.
    x0: fn() -> usize,
    /// The instructions. They come back where they wrongly do not fault.
    act: extern "C" fn(usize),
}

/// What `si_addr` is.
enum Addr {
    /// x0 and this many bytes; without its tag, as what reaches memory.
    X0(isize),
    /// The first instruction's address.
    Pc,
}
use Addr::{Pc, X0};

/// One row a kind. `x0` is an expression, of which a child gets the value in x0; only x0..x18 may be changed.
macro_rules! kinds {
    ($($name:literal $signal:ident $code:ident $addr:expr, $what:literal, $x0:expr, $instructions:literal;)*) => {
        const KINDS: &[Kind] = &[$(Kind {
            name: $name,
            what: $what,
            signal: Signal::$signal,
            code: $code,
            addr: $addr,
            x0: || $x0,
            act: {
                #[unsafe(naked)]
                extern "C" fn act(_x0: usize) {
                    naked_asm!($instructions, "ret")
                }
                act
            },
        },)*];
    };
}

kinds! {
    "null"             SIGSEGV SEGV_MAPERR X0(0),   "reads address 0", 0, "ldr x0, [x0]";
    "null-offset"      SIGSEGV SEGV_MAPERR X0(16),  "reads a field behind a null pointer", 0, "ldr x0, [x0, #16]";
    "unmapped"         SIGSEGV SEGV_MAPERR X0(0),   "reads a page it has unmapped", edge(), "ldr x0, [x0]";
    "write-unmapped"   SIGSEGV SEGV_MAPERR X0(0),   "writes to a page it has unmapped", edge(), "str x0, [x0]";
    "page-crossing"    SIGSEGV SEGV_MAPERR X0(4),   "reads on into an unmapped page", edge() - 4, "ldr x0, [x0]";
    "zero-unmapped"    SIGSEGV SEGV_MAPERR X0(0),   "zeroes a block of an unmapped page", edge(), "dc zva, x0";
    "tagged"           SIGSEGV SEGV_MAPERR X0(0),   "reads an unmapped page by a tagged pointer", edge() | TAG, "ldr x0, [x0]";
    "kernel-address"   SIGSEGV SEGV_MAPERR X0(0),   "reads the kernel's half", KERNEL, "ldr x0, [x0]";
    "write-kernel"     SIGSEGV SEGV_MAPERR X0(0),   "writes to the kernel's half", KERNEL, "str xzr, [x0]";
    "non-canonical"    SIGSEGV SEGV_MAPERR X0(0),   "reads an address of neither half", 1 << 52, "ldr x0, [x0]";
    "no-access"        SIGSEGV SEGV_ACCERR X0(0),   "reads a PROT_NONE page", fresh(PROT_NONE), "ldr x0, [x0]";
    "read-revoked"     SIGSEGV SEGV_ACCERR X0(0),   "reads a page it has closed", page(PROT_NONE), "ldr x0, [x0]";
    "write-readonly"   SIGSEGV SEGV_ACCERR X0(0),   "writes to a read-only page", fresh(PROT_READ), "str x0, [x0]";
    "write-revoked"    SIGSEGV SEGV_ACCERR X0(0),   "writes to a page made read-only", page(PROT_READ), "str x0, [x0]";
    "zero-readonly"    SIGSEGV SEGV_ACCERR X0(0),   "zeroes a block of a read-only page", page(PROT_READ), "dc zva, x0";
    "write-text"       SIGSEGV SEGV_ACCERR X0(0),   "writes to its code", text(), "ldr x1, [x0]; str x1, [x0]";
    "write-rodata"     SIGSEGV SEGV_ACCERR X0(0),   "writes to its constants", rodata(), "ldr x1, [x0]; str x1, [x0]";
    "jump-null"        SIGSEGV SEGV_MAPERR X0(0),   "jumps to address 0", 0, "br x0";
    "jump-unmapped"    SIGSEGV SEGV_MAPERR X0(0),   "jumps to a page it has unmapped", edge(), "br x0";
    "jump-kernel"      SIGSEGV SEGV_MAPERR X0(0),   "jumps to the kernel's half", KERNEL, "br x0";
    "jump-data"        SIGSEGV SEGV_ACCERR X0(0),   "executes its data", page(PROT_READ | PROT_WRITE), "br x0";
    "jump-no-access"   SIGSEGV SEGV_ACCERR X0(0),   "executes a PROT_NONE page", page(PROT_NONE), "br x0";
    "jump-stack"       SIGSEGV SEGV_ACCERR X0(0),   "executes its stack", stack(), "br x0";
    "unmapped-text"    SIGSEGV SEGV_MAPERR X0(16),  "unmaps the code it runs", unmapping_itself(), "br x0";
    "stack-overflow"   SIGSEGV SEGV_MAPERR X0(-16), "recurses without end", STACK_LIMIT, "2: stp x29, x30, [sp, #-16]!; b 2b";
    "stack-guard"      SIGSEGV SEGV_MAPERR X0(-8),  "reads below the deepest stack", STACK_LIMIT, "ldr x0, [x0, #-8]";
    "lost-stack"       SIGSEGV SEGV_MAPERR X0(-16), "pushes with SP = 0", 0, "mov x1, sp; mov sp, x0; str x0, [sp, #-16]!; mov sp, x1";
    "unaligned-pc"     SIGBUS  BUS_ADRALN  X0(0),   "jumps to an odd address", text() + 2, "br x0";
    // With FEAT_LSE2 only what crosses a 16-byte boundary faults.
    "unaligned-atomic" SIGBUS  BUS_ADRALN  X0(0),   "loads exclusively, unaligned", edge() - 20, "ldxr x0, [x0]; clrex";
    "unaligned-pair"   SIGBUS  BUS_ADRALN  X0(0),   "loads a pair exclusively, unaligned", edge() - 24, "ldxp x0, x1, [x0]; clrex";
    "atomic-crossing"  SIGBUS  BUS_ADRALN  X0(0),   "loads exclusively on into an unmapped page", edge() - 4, "ldxr x0, [x0]; clrex";
    "undefined"        SIGILL  ILL_ILLOPC  Pc,      "executes UDF", 0, "udf #0";
    "reserved"         SIGILL  ILL_ILLOPC  Pc,      "executes a word of the reserved group", 0, ".inst 0x00010000";
    "unallocated-1"    SIGILL  ILL_ILLOPC  Pc,      "executes a word of the group 0001", 0, ".inst 0x02000000";
    "unallocated-3"    SIGILL  ILL_ILLOPC  Pc,      "executes a word of the group 0011", 0, ".inst 0x06000000";
    "unallocated-imm"  SIGILL  ILL_ILLOPC  Pc,      "executes no bitfield move", 0, ".inst 0x73000000";
    "unallocated-br"   SIGILL  ILL_ILLOPC  Pc,      "executes no exception-generating instruction", 0, ".inst 0xd4e00000";
    "unallocated-ld"   SIGILL  ILL_ILLOPC  Pc,      "executes no load", 0, ".inst 0xb9c00000";
    "unallocated-reg"  SIGILL  ILL_ILLOPC  Pc,      "executes no arithmetic", 0, ".inst 0x1ac07c00";
    "unallocated-fp"   SIGILL  ILL_ILLOPC  Pc,      "executes no floating-point instruction", 0, ".inst 0xffffffff";
    "hlt"              SIGILL  ILL_ILLOPC  Pc,      "halts for a debugger", 0, "hlt #0";
    "semihosting"      SIGILL  ILL_ILLOPC  Pc,      "asks the debugger to end the machine", 0x18, "hlt #0xf000";
    "hvc"              SIGILL  ILL_ILLOPC  Pc,      "calls the hypervisor", 0, "hvc #0";
    "smc"              SIGILL  ILL_ILLOPC  Pc,      "calls the firmware", 0, "smc #0";
    "eret"             SIGILL  ILL_ILLOPC  Pc,      "returns from no exception", 0, "eret";
    "mask-interrupts"  SIGILL  ILL_ILLOPC  Pc,      "sets PSTATE.DAIF", 0, "msr daifset, #15";
    "read-daif"        SIGILL  ILL_ILLOPC  Pc,      "reads PSTATE.DAIF", 0, "mrs x0, daif";
    "kernel-stack"     SIGILL  ILL_ILLOPC  Pc,      "selects the kernel's stack", 0, "msr spsel, #1";
    "read-level"       SIGILL  ILL_ILLOPC  Pc,      "reads the exception level", 0, "mrs x0, currentel";
    "read-sctlr"       SIGILL  ILL_ILLOPC  Pc,      "reads SCTLR_EL1", 0, "mrs x0, sctlr_el1";
    "write-ttbr"       SIGILL  ILL_ILLOPC  Pc,      "writes TTBR0_EL1", 0, "msr ttbr0_el1, x0";
    "write-vbar"       SIGILL  ILL_ILLOPC  Pc,      "writes VBAR_EL1", 0, "msr vbar_el1, x0";
    "write-id"         SIGILL  ILL_ILLOPC  Pc,      "writes MIDR_EL1", 0, "msr s3_0_c0_c0_0, x0";
    "reserved-id"      SIGILL  ILL_ILLOPC  Pc,      "reads an identification register that is none", 0, "mrs x0, s3_0_c0_c0_1";
    "aarch32-id"       SIGILL  ILL_ILLOPC  Pc,      "reads ID_PFR0_EL1", 0, "mrs x0, s3_0_c0_c1_0";
    "cache-size"       SIGILL  ILL_ILLOPC  Pc,      "reads CCSIDR_EL1", 0, "mrs x0, ccsidr_el1";
    "write-timer"      SIGILL  ILL_ILLOPC  Pc,      "writes the kernel's timer", 0, "msr cntv_ctl_el0, xzr";
    "physical-timer"   SIGILL  ILL_ILLOPC  Pc,      "reads the physical timer", 0, "mrs x0, cntp_tval_el0";
    "physical-count"   SIGILL  ILL_ILLOPC  Pc,      "reads the physical counter", 0, "mrs x0, cntpct_el0";
    "write-frequency"  SIGILL  ILL_ILLOPC  Pc,      "writes the counter's frequency", 0, "msr cntfrq_el0, x0";
    "read-pmu"         SIGILL  ILL_ILLOPC  Pc,      "reads the cycle counter", 0, "mrs x0, pmccntr_el0";
    "write-pmu"        SIGILL  ILL_ILLOPC  Pc,      "opens the performance counters", 0, "msr pmuserenr_el0, x0";
    "tlb-flush"        SIGILL  ILL_ILLOPC  Pc,      "invalidates the TLB", 0, "tlbi vmalle1";
    "cache-invalidate" SIGILL  ILL_ILLOPC  Pc,      "invalidates a cache line", text(), "dc ivac, x0";
    "cache-set-way"    SIGILL  ILL_ILLOPC  Pc,      "cleans a cache by set and way", 0, "dc csw, x0";
    "cache-all"        SIGILL  ILL_ILLOPC  Pc,      "invalidates all instruction caches", 0, "ic iallu";
    "translate"        SIGILL  ILL_ILLOPC  Pc,      "asks for a translation", text(), "at s1e0r, x0";
    "brk"              SIGTRAP TRAP_BRKPT  Pc,      "hits a breakpoint instruction", 0, "brk #1";
    "terminate"        SIGTERM SI_USER     X0(0),   "sends itself SIGTERM", 0, "mov x8, #172; svc #0; mov x1, #15; mov x8, #129; svc #0";
    "kill"             SIGKILL SI_USER     X0(0),   "sends itself SIGKILL", 0, "mov x8, #172; svc #0; mov x1, #9; mov x8, #129; svc #0";
}

const PAGE: usize = 4096;
/// An address in the kernel's half, where our kernel is linked (linker/kernel.ld).
const KERNEL: usize = 0xffff_ffc0_8000_0000;
/// The lowest address that a stack of our kernel reaches (kernel/src/process/exec.rs): 8 MiB below its end.
const STACK_LIMIT: usize = 0x7f_ffff_f000 - (8 << 20);
/// A tag for user addresses, bits 63:56.
const TAG: usize = 0x5a << 56;
/// The instruction `ret`: where it is executed wrongly, the program survives to tell.
const RET: u32 = 0xd65f_03c0;

fn main(mut args: Args) -> i32 {
    let word = args.nth(1).and_then(|word| word.to_str().ok());
    match word {
        Some("all") => return all(),
        Some("observe") => return observe(),
        Some("list") => {
            for kind in KINDS {
                println!(
                    "{:<18}{:<8}{:<12}{}",
                    kind.name,
                    kind.signal,
                    code_name(kind.signal.0, kind.code as i32),
                    kind.what
                );
            }
            return 0;
        }
        _ => {}
    }
    let Some(kind) = KINDS.iter().find(|kind| Some(kind.name) == word) else {
        eprintln!("usage: crash KIND|all|list|observe; `crash list` names the kinds");
        return 2;
    };
    (kind.act)((kind.x0)());
    eprintln!("crash {}: survived, though it {}", kind.name, kind.what);
    1
}

fn all() -> i32 {
    let mut failed = 0;
    println!("{:<18}{:<40}ENDED", "KIND", "EXPECTED");
    for kind in KINDS {
        let x0 = (kind.x0)();
        let expected = kind.death(x0);
        let child = process::spawn(|| {
            (kind.act)(x0);
            0
        })
        .expect("a child can be started");
        let status = process::wait(child).expect("a child can be waited for");
        let death = deaths::of(child).expect("the kernel lists deaths");
        let right = status == Status::Killed(kind.signal) && death == Some(expected);
        print!("{:<18}{expected:<40}", kind.name);
        let verdict = if right { "" } else { "  WRONG" };
        match death {
            Some(death) => println!("{death}{verdict}"),
            None => println!("{status}{verdict}"),
        }
        failed += i32::from(!right);
    }
    println!("crash: {} kinds, {failed} wrong", KINDS.len());
    i32::from(failed != 0)
}

/// For `observe`: each kind's end, as any kernel tells it.
fn observe() -> i32 {
    for kind in KINDS {
        let x0 = (kind.x0)();
        let status = process::run(|| {
            (kind.act)(x0);
            0
        });
        println!("crash.{} {}", kind.name, status.expect("a child can be started and waited for"));
    }
    0
}

impl Kind {
    /// How a child dies that acts on `x0`.
    fn death(&self, x0: usize) -> Death {
        let addr = match self.addr {
            X0(offset) => untagged(x0.wrapping_add_signed(offset) as u64),
            Pc => self.act as usize as u64,
        };
        Death { signal: self.signal, code: self.code as i32, addr }
    }
}

/// A fresh page, as it comes.
fn fresh(rights: u32) -> usize {
    sys::mmap(PAGE, rights).expect("a page can be mapped").expose_provenance()
}

/// A page of `ret` whose rights became these after it was written: a stale TLB entry would let what faults pass.
fn page(rights: u32) -> usize {
    code(&[RET; PAGE / 4], rights)
}

/// A page that begins with these words.
fn code(words: &[u32], rights: u32) -> usize {
    let page = sys::mmap(PAGE, PROT_READ | PROT_WRITE).expect("a page can be mapped");
    // SAFETY: the page is no Rust value's, and as long as the words at least.
    unsafe {
        page.cast::<u32>().copy_from(words.as_ptr(), words.len());
        sys::mprotect(page, PAGE, rights).expect("the rights of a mapped page can be changed");
    }
    page.expose_provenance()
}

/// Where a good page ends and an unmapped one begins, that was there before.
fn edge() -> usize {
    let pages = sys::mmap(2 * PAGE, PROT_READ | PROT_WRITE).expect("pages can be mapped");
    // SAFETY: the pages are no Rust value's.
    unsafe {
        pages.write_bytes(0, 2 * PAGE);
        sys::munmap(pages.add(PAGE), PAGE).expect("a mapped page can be unmapped");
    }
    pages.expose_provenance() + PAGE
}

fn text() -> usize {
    main as fn(Args) -> i32 as usize
}

fn rodata() -> usize {
    KINDS.as_ptr().expose_provenance()
}

fn stack() -> usize {
    let word = core::hint::black_box([RET; 4]);
    word.as_ptr().expose_provenance()
}

/// Code that unmaps its page; the fifth instruction is not there any more.
fn unmapping_itself() -> usize {
    let words = [
        0x1000_0000,                           // adr x0, .
        0xd282_0001,                           // mov x1, #4096
        0xd280_0008 | linux::__NR_munmap << 5, // mov x8, #__NR_munmap
        0xd400_0001,                           // svc #0
        RET,
    ];
    code(&words, PROT_READ | PROT_EXEC)
}
