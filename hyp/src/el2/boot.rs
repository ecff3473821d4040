//! From the first instruction to the first guest.

use crate::memory::{self, MAIR};
use crate::stacks::Guarded;
use crate::traps::HCR_EL2;
use crate::{
    console, control, gic, percpu, power, read_sysreg, report, sched, ssbd, stacks, stage2, timer, trace, write_sysreg,
};
use alloc::boxed::Box;
use alloc::string::String;
use core::arch::{asm, global_asm};
use core::ptr::NonNull;
use core::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use drivers::bootargs;
use drivers::dt::{self, Gic, Machine, Region};

/// Bytes of the boot stack, which becomes the one that the CPU idles on.
const STACK_SIZE: usize = 64 << 10;

/// SCTLR_EL2: its RES1 bits, the MMU, caches, and SP alignment checks (M, C, I, SA); no memory that is writable is executed
/// (WXN).
const SCTLR: u64 = 0x30c5_0830 | 1 | 1 << 2 | 1 << 12 | 1 << 3 | 1 << 19;
/// SCTLR_EL2.WXN: the early table maps the image writable and executable.
const WXN: u64 = 1 << 19;
/// TCR_EL2: 39 bits, 4 KiB granule, walks cacheable and inner-shareable; the boot code adds PS.
const TCR: u64 = 1 << 31 | 1 << 23 | 0b11 << 12 | 0b01 << 10 | 0b01 << 8 | (64 - 39);
/// A block of the early table: normal memory (MAIR index 1), inner-shareable, accessed, AP\[1\] (RES1), valid.
const EARLY_BLOCK: u64 = 1 << 10 | 0b11 << 8 | 1 << 6 | 1 << 2 | 0b01;

global_asm!(
    include_str!("boot.S"),
    HCR_EL2 = const HCR_EL2,
    BLOCK = const EARLY_BLOCK,
    MAIR = const MAIR,
    TCR = const TCR,
    SCTLR_EARLY = const SCTLR & !WXN,
    SCTLR = const SCTLR,
    STACK_SIZE = const STACK_SIZE,
    start = sym start,
    start_secondary = sym start_secondary,
);

/// CPTR_EL2: its RES1 bits; SVE and SME (TZ, TSM), trace (TTA) and activity monitors (TAM) are not virtualised, so they trap;
/// floating point is the guest's.
const CPTR_EL2: u64 = 0x32ff | 1 << 8 | 1 << 12 | 1 << 20 | 1 << 30;
/// MDCR_EL2: debug, trace, profiling and performance monitor registers trap (TTRF, TPMS, TDRA, TDOSA, TDA, TPM, TPMCR). HPMN is added.
const MDCR_EL2: u64 = 1 << 19 | 1 << 14 | 1 << 11 | 1 << 10 | 1 << 9 | 1 << 6 | 1 << 5;
/// CNTHCTL_EL2: the physical counter may be read (EL1PCTEN); the physical timer traps and is emulated.
const CNTHCTL_EL2: u64 = 1;
/// HSTR_EL2.T15: implementation-defined registers of AArch32.
const HSTR_EL2: u64 = 1 << 15;

/// Sets what else EL2 controls of this CPU, so that nothing is left as the firmware had it (Arm ARM D19).
fn init_traps() {
    /// A field of four bits.
    fn field(register: u64, shift: u32) -> u64 {
        register >> shift & 0xf
    }
    let dfr0 = read_sysreg!("id_aa64dfr0_el1");
    let (mmfr0, mmfr1) = (read_sysreg!("id_aa64mmfr0_el1"), read_sysreg!("id_aa64mmfr1_el1"));
    // PMUVer: 0 is none, 15 one that is not the architecture's. All its counters are EL1's (HPMN), which traps.
    let counters = if matches!(field(dfr0, 8), 1..15) { read_sysreg!("pmcr_el0") >> 11 & 0x1f } else { 0 };
    // SAFETY: each of these is about what a guest may do; there is none yet.
    unsafe {
        write_sysreg!("mdcr_el2", MDCR_EL2 | counters);
        write_sysreg!("cptr_el2", CPTR_EL2);
        write_sysreg!("hstr_el2", HSTR_EL2);
        write_sysreg!("cnthctl_el2", CNTHCTL_EL2);
        write_sysreg!("cntvoff_el2", 0);
        write_sysreg!("vpidr_el2", read_sysreg!("midr_el1"));
        write_sysreg!("vttbr_el2", 0);
        if crate::vcpu::has_ras() {
            write_sysreg!("S3_4_C5_C2_3", 0); // VSESR_EL2
        }
        // FEAT_HCX: nothing of what it is about.
        if field(mmfr1, 40) != 0 {
            write_sysreg!("S3_4_C1_C2_2", 0); // HCRX_EL2
        }
        // FEAT_FGT: no fine-grained traps.
        if field(mmfr0, 56) != 0 {
            write_sysreg!("S3_4_C1_C1_4", 0); // HFGRTR_EL2
            write_sysreg!("S3_4_C1_C1_5", 0); // HFGWTR_EL2
            write_sysreg!("S3_4_C1_C1_6", 0); // HFGITR_EL2
            write_sysreg!("S3_4_C3_C1_4", 0); // HDFGRTR_EL2
            write_sysreg!("S3_4_C3_C1_5", 0); // HDFGWTR_EL2
        }
    }
    crate::cpu::isb();
}

/// The first Rust code: on the boot stack, with the early table, DAIF masked. `dtb` is the device tree's address.
extern "C" fn start(dtb: u64) -> ! {
    // Without a tree and its UART there is nothing to complain on, and no known way to power off.
    let Some((blob, Ok(console))) = device_tree(dtb).map(|blob| (blob, dt::Console::parse(blob))) else {
        loop {
            // SAFETY: waiting harms nobody.
            unsafe { core::arch::asm!("wfi", options(nostack, preserves_flags)) };
        }
    };
    // SAFETY: the tree says that a PL011 is there; RAM is in other gigabytes.
    unsafe {
        memory::map_device_early(console.uart);
        let uart = NonNull::new(core::ptr::with_exposed_provenance_mut(console.uart.base as usize));
        console::init(uart.expect("no device is at address 0"), console.clock);
    }
    power::init(console.psci);
    let machine = Machine::parse(blob).unwrap_or_else(|why| report::refuse(format_args!("{why}")));
    init_traps();

    let devices = match machine.gic {
        Gic::V2 { gicd, gicc, virtualization } => {
            let (gich, gicv) = virtualization
                .unwrap_or_else(|| report::refuse(format_args!("the GICv2 has no virtualization extensions")));
            [gicd, gicc, gich, gicv]
        }
        Gic::V3 { gicd, gicr } => [gicd, gicr, gicd, gicr],
    };
    let devices = [console.uart].into_iter().chain(devices).collect::<heapless::Vec<_, 5>>();
    let tree = Region { base: dtb, size: blob.len() as u64 };
    let kept = [tree].into_iter().chain(machine.initrd).chain(machine.reserved.iter().copied());
    // SAFETY: once, with the early table.
    unsafe {
        memory::init(&machine.memory, kept, &devices);
        write_sysreg!("sctlr_el2", SCTLR);
    }
    crate::cpu::isb();
    gic::init(&machine);
    timer::init();
    stage2::init();
    sched::init();
    let cpus = start_cpus(blob);
    log::info!(
        "Ventry hypervisor {}: {cpus} CPU{}, {} MiB, {}",
        env!("CARGO_PKG_VERSION"),
        if cpus == 1 { "" } else { "s" },
        machine.memory.iter().map(|region| region.size).sum::<u64>() >> 20,
        match machine.gic {
            Gic::V2 { .. } => "GICv2",
            Gic::V3 { .. } => "GICv3",
        },
    );
    ssbd::init(console.psci == Some(dt::Conduit::Smc));
    let (mut keyboard, mut watched) = (false, trace::Wanted::default());
    for word in bootargs::words(console.bootargs) {
        let number = |name| word.value_of(name).and_then(|value| value.chars().collect::<String>().parse::<u32>().ok());
        if let Some(mib) = number("trace") {
            watched.mib = mib;
        } else if let Some(trap) = number("crash") {
            watched.crash = trap.into();
        } else if word == *"count" {
            watched.count = true;
        } else if word == *"keyboard" {
            keyboard = true;
        } else if word == *"ssbd=force" {
            ssbd::force();
        } else {
            log::warn!("boot: unknown argument `{}`", word.chars().collect::<String>());
        }
    }
    if trace::init(watched, cpus).is_err() {
        report::refuse(format_args!("trace={}: the machine has no such RAM in one piece to spare", watched.mib));
    }
    control::init(machine.initrd, blob);
    if keyboard {
        console::enable_keyboard();
    }
    // SAFETY: one that boot left behind is the hypervisor's own, and is reported before a guest could be blamed for it.
    unsafe { asm!("msr daifclr, #4", options(nostack, preserves_flags)) };
    sched::idle_loop()
}

/// What another CPU needs until it has a stack and tables.
#[repr(C, align(64))]
struct Secondary {
    /// TTBR0_EL2.
    tables: u64,
    /// Its [`percpu::PerCpu`].
    cpu: *const percpu::PerCpu,
    /// The end of its stack.
    stack: *mut u8,
}

unsafe extern "C" {
    /// `boot.S`
    static secondary_start: u8;
}

/// CPUs that run.
static STARTED: AtomicUsize = AtomicUsize::new(1);

/// Starts the other CPUs that the device tree tells of, one by one; says how many run.
fn start_cpus(blob: &[u8]) -> usize {
    /// How long one may take.
    const SECONDS: u64 = 5;
    const AFFINITY: u64 = 0xff_00ff_ffff;
    let this = read_sysreg!("mpidr_el1") & AFFINITY;
    let others = dt::cpus(blob).filter(|&affinity| affinity != this);
    for (cpu, affinity) in percpu::all().iter().skip(1).zip(others) {
        let started = STARTED.load(SeqCst);
        // SAFETY: bytes.
        let stack = unsafe { Guarded::<[u8; stacks::STACK_SIZE]>::zeroed() };
        // SAFETY: one past the last byte.
        let end = unsafe { stack.as_ptr().add(1).cast() };
        // It is the CPU's for good.
        core::mem::forget(stack);
        // It reads this with its caches off; it is never freed, for one that is late.
        let boot = Box::leak(Box::new(Secondary { tables: read_sysreg!("ttbr0_el2"), cpu, stack: end }));
        // SAFETY: what is in the caches goes to memory.
        unsafe { asm!("dc cvac, {}", "dsb sy", in(reg) &raw const *boot, options(nostack, preserves_flags)) };
        if let Err(why) = power::cpu_on(affinity, &raw const secondary_start as u64, &raw const *boot as u64) {
            log::warn!("CPU {} does not start: {why:?}", cpu.index);
            break;
        }
        let deadline = timer::now() + SECONDS * read_sysreg!("cntfrq_el0");
        while STARTED.load(SeqCst) == started {
            if timer::now() > deadline {
                report::refuse(format_args!("CPU {} was started and did not come", cpu.index));
            }
        }
    }
    STARTED.load(SeqCst)
}

/// The first Rust code of another CPU: on its own stack, with the final tables, DAIF masked.
extern "C" fn start_secondary() -> ! {
    init_traps();
    stage2::init();
    gic::init_cpu();
    timer::init();
    STARTED.fetch_add(1, SeqCst);
    // SAFETY: as in `start`.
    unsafe { asm!("msr daifclr, #4", options(nostack, preserves_flags)) };
    // It looks for work once, by which it is known to have none.
    sched::raise(sched::SCHEDULE);
    sched::idle_loop()
}

/// The device tree at an address, if there is one; its gigabyte is mapped.
fn device_tree(dtb: u64) -> Option<&'static [u8]> {
    if dtb == 0 || !dtb.is_multiple_of(8) {
        return None;
    }
    let start: *const u8 = core::ptr::with_exposed_provenance(dtb as usize);
    // SAFETY: the boot protocol: the tree is in RAM, and nobody writes it.
    let header = unsafe { start.cast::<[u8; 8]>().read() };
    // The boot protocol again: it is at most 2 MiB long.
    let size = dt::total_size(header).filter(|&size| size <= 2 << 20)?;
    // SAFETY: as above.
    Some(unsafe { core::slice::from_raw_parts(start, size) })
}
