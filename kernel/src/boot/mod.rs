//! From the first instruction to the first program.

use crate::mm::kernel_map::{self, MAIR};
use crate::mm::stacks::{KernelStack, THREAD_SIZE};
use crate::mm::{self, USER_VA_BITS};
use crate::percpu::this_cpu;
use crate::process;
use crate::report;
use crate::sched::{self, task::Task};
use crate::site::trace_point;
use crate::{console, counters, fs, irq, power, random, signal, site, trace, uaccess};
use alloc::string::String;
use core::arch::{asm, global_asm};
use core::ptr::{NonNull, addr_of};
use core::sync::atomic::Ordering::Relaxed;
use drivers::bootargs::{self, Word};
use drivers::dt::{self, Console, Machine, Region};
use log::LevelFilter;
use trap::frame::PtRegs;

/// SCR_EL3: the lower levels non-secure (NS, bit 0) and in AArch64 (RW), HVC enabled (HCE); bits 4 and 5 are RES1.
const SCR_EL3: u64 = 1 << 10 | 1 << 8 | 0b11 << 4 | 1;
/// HCR_EL2: EL1 is in AArch64 (RW); pointer authentication is not trapped (API, APK).
const HCR_EL2: u64 = 1 << 31 | 1 << 41 | 1 << 40;
/// CNTHCTL_EL2: EL1PCTEN and EL1PCEN, the physical counter and timer are not trapped.
const CNTHCTL_EL2: u64 = 0b11;
/// CPTR_EL2: its RES1 bits; nothing is trapped.
const CPTR_EL2_RES1: u64 = 0x33ff;
/// DAIF masked, EL1h.
const SPSR_EL1H: u64 = 0xf << 6 | 0b0101;
/// DAIF masked, EL2h.
const SPSR_EL2H: u64 = 0xf << 6 | 0b1001;
/// SCTLR_EL1 with everything off: the bits that are RES1 in Armv8.0.
const SCTLR_OFF: u64 = 0x30d0_0800;
/// SCTLR_EL1 of the running kernel: MMU, caches, SP alignment checks at both levels (M, C, I, SA, SA0); at EL0 DC ZVA,
/// CTR_EL0, cache maintenance, WFI and WFE are not trapped (DZE, UCT, UCI, nTWI, nTWE).
const SCTLR: u64 = SCTLR_OFF | 1 | 1 << 2 | 1 << 12 | 1 << 3 | 1 << 4 | 1 << 14 | 1 << 15 | 1 << 26 | 1 << 16 | 1 << 18;
/// TCR_EL1: 39 bits both ways, 4 KiB granule, walks cacheable and inner-shareable, ASIDs from TTBR0 (A1 = 0),
/// TBI0 as the Linux ABI has it. The boot code adds IPS and AS.
const TCR: u64 = {
    let size = 64 - USER_VA_BITS as u64;
    let walks = 0b11 << 12 | 0b01 << 10 | 0b01 << 8;
    size | walks | (size | walks) << 16 | 0b10 << 30 | 1 << 37
};
/// CPACR_EL1.FPEN: FP and SIMD registers are not trapped at EL0 or EL1.
const CPACR_FPEN: u64 = 0b11 << 20;
/// A level-2 block of the early tables: normal memory (MAIR index 1), inner-shareable, accessed, valid.
const BLOCK: u64 = 1 << 10 | 0b11 << 8 | 1 << 2 | 0b01;

/// PXN and UXN, for the early blocks that hold no code.
const EXECUTE_NEVER: u64 = 0b11 << 53;

global_asm!(
    include_str!("head.S"),
    SCR_EL3 = const SCR_EL3,
    HCR_EL2 = const HCR_EL2,
    CNTHCTL_EL2 = const CNTHCTL_EL2,
    CPTR_EL2_RES1 = const CPTR_EL2_RES1,
    SPSR_EL1H = const SPSR_EL1H,
    SPSR_EL2H = const SPSR_EL2H,
    SCTLR_OFF = const SCTLR_OFF,
    SCTLR = const SCTLR,
    TCR = const TCR,
    MAIR = const MAIR,
    CPACR_FPEN = const CPACR_FPEN,
    BLOCK = const BLOCK,
    EARLY_TABLES_SIZE = const EARLY_TABLES_SIZE,
    THREAD_SIZE = const THREAD_SIZE,
    start = sym start,
);

/// Bytes of the early tables: two levels for the high addresses, two for the low.
const EARLY_TABLES_SIZE: u64 = 4 * 4096;
/// Bytes of a block of the early level-2 table.
const BLOCK_SIZE: u64 = 2 << 20;

/// The early level-2 table of the image's GiB, which has room for the device tree and the UART at its end.
const EARLY_DTB: usize = 508;
const EARLY_UART: usize = 511;

unsafe extern "C" {
    static _text: u8;
    static _end: u8;
    static early_high: [u64; 1024];
    static early_overflow_stack: u8;
}

/// What the boot arguments ask for. Words are kept as they stand there: there is no heap yet.
struct Arguments<'a> {
    line: &'a str,
    semihosting: bool,
    records: bool,
    log: LevelFilter,
    /// Ticks of the scheduler a second.
    tick: u64,
    init: Option<Word<'a>>,
    /// Size of the rings for a trace, in MiB; none when there is to be none.
    trace: Option<usize>,
    /// A word that means nothing here.
    unknown: Option<Word<'a>>,
    #[cfg(feature = "ktest")]
    ktest: Option<Word<'a>>,
    #[cfg(feature = "ktest")]
    seed: u64,
    /// Whether EL0 may have interrupts come at every instruction.
    #[cfg(feature = "ktest")]
    sweep: bool,
    /// How many frames there are to be for programs.
    #[cfg(feature = "ktest")]
    frames: Option<usize>,
}

impl<'a> Arguments<'a> {
    fn parse(line: &'a str) -> Self {
        let mut arguments = Arguments {
            line,
            semihosting: false,
            records: false,
            log: LevelFilter::Info,
            tick: 250,
            init: None,
            trace: None,
            unknown: None,
            #[cfg(feature = "ktest")]
            ktest: None,
            #[cfg(feature = "ktest")]
            seed: 0,
            #[cfg(feature = "ktest")]
            sweep: false,
            #[cfg(feature = "ktest")]
            frames: None,
        };
        for word in bootargs::words(line) {
            if word == *"--" {
                break;
            }
            let known = if word == *"semihosting" {
                arguments.semihosting = true;
                true
            } else if word == *"records" {
                arguments.records = true;
                true
            } else if let Some(level) = word.value_of("loglevel") {
                parse(level).map(|level| arguments.log = level).is_some()
            } else if let Some(tick) = word.value_of("tick") {
                parse(tick).filter(|tick| (1..=100_000).contains(tick)).map(|tick| arguments.tick = tick).is_some()
            } else if let Some(mib) = word.value_of("trace") {
                parse(mib).filter(|mib| (1..=4096).contains(mib)).map(|mib| arguments.trace = Some(mib)).is_some()
            } else if let Some(init) = word.value_of("init") {
                arguments.init = Some(init);
                true
            } else {
                arguments.test_argument(word)
            };
            if !known {
                arguments.unknown = Some(word);
            }
        }
        arguments
    }

    #[cfg(feature = "ktest")]
    fn test_argument(&mut self, word: Word<'a>) -> bool {
        if let Some(ktest) = word.value_of("ktest") {
            self.ktest = Some(ktest);
            true
        } else if let Some(seed) = word.value_of("seed") {
            parse(seed).map(|seed| self.seed = seed).is_some()
        } else if word == *"sweep" {
            self.sweep = true;
            true
        } else if let Some(frames) = word.value_of("frames") {
            parse(frames).map(|frames| self.frames = Some(frames)).is_some()
        } else {
            false
        }
    }

    #[cfg(not(feature = "ktest"))]
    fn test_argument(&mut self, _: Word<'a>) -> bool {
        false
    }
}

/// A short word as a value.
fn parse<T: core::str::FromStr>(word: Word<'_>) -> Option<T> {
    let mut text = heapless::String::<24>::new();
    word.chars().try_for_each(|c| text.push(c)).ok()?;
    text.parse().ok()
}

/// Puts a block into the early tables; returns where it is mapped. `index` is its entry.
///
/// # Safety
/// The early tables are in use, and the entry is free.
unsafe fn map_early(index: usize, block: u64) -> *mut u8 {
    let level2 = addr_of!(early_high).cast::<u64>().cast_mut().wrapping_add(512);
    // SAFETY: an entry of the table, that was invalid until now, so no TLB holds it.
    unsafe {
        level2.add(index).write_volatile(block);
        asm!("dsb ishst", "isb", options(nostack, preserves_flags));
    }
    addr_of!(_text).cast_mut().wrapping_add(index * BLOCK_SIZE as usize)
}

/// Maps what the boot loader says is a device tree; none when it is none.
fn early_dtb(dtb: u64) -> Option<&'static [u8]> {
    let block = dtb & !(BLOCK_SIZE - 1);
    let offset = (dtb - block) as usize;
    // SAFETY: the boot protocol: the tree is in RAM, 8-byte aligned.
    let mapped = unsafe { map_early(EARLY_DTB, block | EXECUTE_NEVER | BLOCK).add(offset) };
    // SAFETY: mapped above, and nobody writes it.
    let header = unsafe { mapped.cast::<[u8; 8]>().read() };
    // The boot protocol again: it is at most 2 MiB long, so in one more block at most.
    let size = dt::total_size(header).filter(|&size| size <= BLOCK_SIZE as usize)?;
    if offset + size > BLOCK_SIZE as usize {
        // SAFETY: the rest of the tree.
        unsafe { map_early(EARLY_DTB + 1, (block + BLOCK_SIZE) | EXECUTE_NEVER | BLOCK) };
    }
    // SAFETY: as above.
    Some(unsafe { core::slice::from_raw_parts(mapped, size) })
}

/// The first Rust code: on the boot stack, with the early tables, DAIF masked. `dtb` and `image` are physical addresses,
/// `entry_el` is the exception level the boot loader entered at.
extern "C" fn start(dtb: u64, image: u64, entry_el: u64) -> ! {
    this_cpu().overflow_stack.store(addr_of!(early_overflow_stack) as usize + THREAD_SIZE, Relaxed);
    // Without a tree and its UART there is nothing to complain on, and no known way to power off.
    let Some((blob, Ok(console))) = early_dtb(dtb).map(|blob| (blob, Console::parse(blob))) else {
        loop {
            aarch64_cpu::asm::wfi();
        }
    };
    let block = console.uart.base & !(BLOCK_SIZE - 1);
    // SAFETY: MAIR index 0, Device memory, never executed; the tree says that a PL011 is there.
    let uart = unsafe {
        map_early(EARLY_UART, block | EXECUTE_NEVER | (BLOCK & !(1 << 2))).add((console.uart.base - block) as usize)
    };
    // SAFETY: as above; used until `console` moves to its final mapping.
    unsafe { console::init(NonNull::new(uart).expect("mapped in the kernel half"), console.clock) };
    // SAFETY: once, with the early tables, DAIF masked.
    unsafe { uaccess::init() };
    let arguments = Arguments::parse(console.bootargs);
    console::init_log(arguments.log, arguments.records);
    power::init(arguments.semihosting, console.psci);
    if arguments.trace.is_some() {
        // SAFETY: once, with the early tables, DAIF masked.
        unsafe { site::patch_trace_points() };
    }
    let machine = Machine::parse(blob).unwrap_or_else(|why| report::refuse(format_args!("{why}")));
    if entry_el == 3 {
        report::refuse(format_args!(
            "entered at EL3: this kernel is started by firmware at EL2 or EL1 (QEMU: without `secure=on`)"
        ));
    }
    let size = addr_of!(_end) as u64 - addr_of!(_text) as u64;
    let Console { uart, clock, .. } = machine.console;
    let dtb_size = blob.len();
    // SAFETY: once, on the boot stack, with the early tables.
    unsafe { mm::init(&machine, Region { base: image, size }, Region { base: dtb, size: dtb_size as u64 }) };

    // The early mappings are gone: look at everything through the final ones, the console first.
    // SAFETY: the tree says that a PL011 is there; the early mapping is not used any more.
    unsafe { console::init(kernel_map::map_device(uart), clock) };
    if let Some(register) = machine.pvpanic {
        // SAFETY: the tree says so.
        unsafe { power::init_pvpanic(kernel_map::map_device(register)) };
    }
    if let Some(mib) = arguments.trace
        && trace::init(mib).is_err()
    {
        report::refuse(format_args!(
            "trace={mib}: the machine has no {mib} MiB of RAM in one piece to spare; give it more memory, or ask for less"
        ));
    }
    mm::heap::init(sched::MAX_TASKS);
    // SAFETY: the frame allocator leaves the tree alone, and the linear map holds it.
    let machine = machine.moved(blob, unsafe { core::slice::from_raw_parts(mm::phys_to_virt::<u8>(dtb), dtb_size) });
    let arguments = Arguments::parse(machine.console.bootargs);
    log::info!(
        "Ventry {}: entered at EL{entry_el}, {} CPU{} (one is used), {} MiB, {}",
        env!("CARGO_PKG_VERSION"),
        machine.cpus,
        if machine.cpus == 1 { "" } else { "s" },
        machine.memory.iter().map(|region| region.size).sum::<u64>() >> 20,
        match machine.gic {
            dt::Gic::V2 { .. } => "GICv2",
            dt::Gic::V3 { .. } => "GICv3",
        },
    );
    if let Some(word) = arguments.unknown {
        log::warn!("boot: unknown or malformed argument `{}`", word.chars().collect::<String>());
    }
    let leave = |result: Result<KernelStack, _>| -> usize {
        let stack = result.expect("there are frames for the first stacks");
        let top = stack.range().end;
        core::mem::forget(stack);
        top
    };
    this_cpu().irq_stack.store(leave(KernelStack::new()), Relaxed);
    this_cpu().overflow_stack.store(leave(KernelStack::new()), Relaxed);
    random::init(machine.rng_seed, irq::timer::now());
    irq::init(&machine);

    // From here on this is the idle task, on its own stack.
    let idle = Task::new(0, "idle", 0, &PtRegs::ZERO, None).expect("there is memory for the first task");
    let top = idle.stack.range().end;
    sched::init(idle);
    let context = (machine, arguments);
    // SAFETY: the new stack is empty and ours; `context` stays on the boot stack, which nobody uses again.
    unsafe {
        asm!(
            "mov sp, {top}",
            "mov x29, xzr",
            "mov x30, xzr",
            "b {idle}",
            top = in(reg) top,
            idle = sym run,
            in("x0") &context,
            options(noreturn)
        )
    }
}

/// The files that are made when they are opened.
const PROC: &[(&str, fs::Text)] = &[
    #[cfg(feature = "ktest")]
    ("proc/audit", crate::ktest::audit::text),
    ("proc/counters", counters::text),
    #[cfg(feature = "ktest")]
    ("proc/coverage", crate::ktest::coverage::text),
    ("proc/deaths", signal::deaths),
];

/// The idle task: starts the rest, then waits for interrupts, which take the CPU from it.
extern "C" fn run(context: &(Machine<'_>, Arguments<'_>)) -> ! {
    let (machine, arguments) = context;
    irq::timer::init(machine.timer_irq, arguments.tick);
    irq::init_console(machine.uart_irq);
    #[cfg(feature = "ktest")]
    if let Some(name) = arguments.ktest {
        crate::ktest::run(&name.chars().collect::<String>(), arguments.seed);
    }
    #[cfg(feature = "ktest")]
    if arguments.sweep {
        crate::ktest::sweep::init();
    }
    #[cfg(feature = "ktest")]
    if let Some(frames) = arguments.frames {
        mm::frames::audit::leave(frames);
    }
    if let Err(why) = fs::init(machine.initrd, PROC) {
        report::refuse(format_args!("{why}"));
    }
    let init = arguments.init.map_or_else(|| String::from("/bin/init"), |word| word.chars().collect());
    let mut words = bootargs::words(arguments.line).skip_while(|word| *word != *"--");
    words.next();
    if let Err(why) = process::start_init(&init, words.map(|word| word.chars().collect::<String>().into_bytes())) {
        report::refuse(format_args!("cannot start {init}: {why}"));
    }
    // SAFETY: interrupts have handlers, and SErrors and debug exceptions a report.
    unsafe { trace_point!(IRQS_ON, last "msr daifclr, #0xf") };
    sched::yield_now();
    loop {
        aarch64_cpu::asm::wfi();
    }
}
