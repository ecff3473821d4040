//! A hostile guest: accesses of every kind to every address that is not its memory.
//!
//! Each must end in an abort at its own EL1 that says where; only where an emulated device is may there be an answer. Boot
//! argument: `seed=N`, by which its own RAM is looked at for what others have left there.
#![no_std]
#![no_main]

use guest::attempt::{Attempt, Taken, class, pstate};
use guest::{canary, gic, hostile, slot};

guest::guest!(main, hostile::exception);

/// The guest's RAM.
const RAM: core::ops::Range<u64> = 0x4000_0000..0x4400_0000;
/// Where its image is at most.
const IMAGE_END: u64 = 0x4020_0000;

/// A way to access the address in x1.
struct Kind {
    name: &'static str,
    word: u32,
    write: bool,
    /// It may be without effect: maintenance, and instructions that this CPU does not have.
    lenient: bool,
}

const fn kind(name: &'static str, word: u32, write: bool, lenient: bool) -> Kind {
    Kind { name, word, write, lenient }
}

const KINDS: [Kind; 24] = [
    kind("ldr x0, [x1]", 0xf940_0020, false, false),
    kind("str x0, [x1]", 0xf900_0020, true, false),
    kind("ldrb w0, [x1]", 0x3940_0020, false, false),
    kind("strh w0, [x1]", 0x7900_0020, true, false),
    kind("ldr w0, [x1], #4", 0xb840_4420, false, false),
    kind("str xzr, [x1, #0]!", 0xf800_0c3f, true, false),
    kind("ldp x0, x2, [x1]", 0xa940_0820, false, false),
    kind("stp x0, x2, [x1]", 0xa900_0820, true, false),
    kind("ldnp x0, x2, [x1]", 0xa840_0820, false, false),
    kind("ldur x0, [x1, #3]", 0xf840_3020, false, false),
    kind("stur x0, [x1, #3]", 0xf800_3020, true, false),
    kind("ldtr x0, [x1]", 0xf840_0820, false, false),
    kind("ldar x0, [x1]", 0xc8df_fc20, false, false),
    kind("stlr x0, [x1]", 0xc89f_fc20, true, false),
    kind("ldxr x0, [x1]", 0xc85f_7c20, false, false),
    kind("ldaxp x0, x2, [x1]", 0xc87f_8820, false, false),
    kind("ldr q0, [x1]", 0x3dc0_0020, false, false),
    kind("st1 {v0.16b}, [x1]", 0x4c00_7020, true, false),
    kind("dc zva, x1", 0xd50b_7421, true, false),
    // These read first.
    kind("ldadd x0, x2, [x1]", 0xf820_0022, false, true),
    kind("cas x0, x2, [x1]", 0xc8a0_7c22, false, true),
    kind("stxr w0, x2, [x1]", 0xc800_7c22, true, true),
    kind("dc civac, x1", 0xd50b_7e21, true, true),
    kind("ic ivau, x1", 0xd50b_7521, false, true),
];

/// Where devices are emulated.
fn is_device(address: u64) -> bool {
    /// A register of one byte.
    const PVPANIC: u64 = 0x0906_0000;
    (gic::GICD..0x0900_1000).contains(&address) || address == PVPANIC
}

fn main(dtb: u64) -> ! {
    let seed = guest::argument(dtb, b"seed=");
    // SAFETY: CPACR_EL1.FPEN: floating point may be used.
    unsafe { guest::write_sysreg!("cpacr_el1", 0b11 << 20) };
    // The device tree is the guest's own.
    let tree = dtb..dtb + u64::from(u32::from_be(guest::read(dtb + 4)));
    for address in (IMAGE_END..RAM.end).step_by(8).filter(|address| !tree.contains(address)) {
        let found = guest::read::<u64>(address);
        if canary::is_marked(found) || found != 0 {
            hostile::wrong(format_args!("RAM {address:#x} is {found:#x}"));
        }
    }
    let (mut aborts, mut answers) = (0_u64, 0_u64);
    let mut count = |aborted: bool| if aborted { aborts += 1 } else { answers += 1 };
    // All kinds where devices may be, and at the ends of ranges.
    let devices = (gic::GICD..0x0c00_0000).step_by(0x1_0000);
    let ends = (40..64).flat_map(|bit| [1 << bit, (1 << bit) | RAM.start, !0 << bit]);
    for address in devices.chain(ends) {
        KINDS.iter().for_each(|kind| count(access(address, kind)));
        count(fetch(address));
    }
    // Elsewhere one after another.
    let rest = (0..RAM.start).step_by(0x1_0000).chain((RAM.end..1 << 40).step_by(2 << 20));
    for (number, address) in rest.enumerate() {
        match KINDS.get(number % (KINDS.len() + 1)) {
            Some(kind) => count(access(address, kind)),
            None => count(fetch(address)),
        }
    }
    let edges = edges();
    hostile::finish(seed, format_args!("\"aborts\":{aborts},\"answers\":{answers},\"edges\":{edges}"))
}

fn abort(taken: &Taken, class: u64) -> bool {
    // An external abort, which the hypervisor injects; an address of more bits than the CPU has, which is EL1's own fault (levels
    // 0 to 3); an alignment fault of DC ZVA and exclusives on Device memory.
    (taken.slot, taken.class()) == (slot::SYNC, class) && matches!(taken.status(), 0x10 | 0x00..=0x03 | 0x21)
}

/// Whether an access ended in an abort.
fn access(address: u64, kind: &Kind) -> bool {
    let mut attempt = Attempt::new(0);
    attempt.x[1] = address;
    let taken = attempt.run(pstate::EL1H, &[kind.word]);
    let far = taken.far.wrapping_sub(address);
    let write = taken.esr >> 6 & 1 != 0;
    if abort(&taken, class::DATA) && taken.offset == 0 && far < 64 && write == kind.write {
        return true;
    }
    let answered = taken.done() && (kind.lenient || is_device(address));
    let missing = kind.lenient && taken.class() == class::UNDEFINED;
    if !answered && !missing {
        hostile::wrong(format_args!("{} of {address:#x} ended in {taken:x?}", kind.name));
    }
    if taken.done() && canary::is_marked(attempt.x[0]) {
        hostile::wrong(format_args!("{} of {address:#x} reads {:#x}", kind.name, attempt.x[0]));
    }
    false
}

/// Whether a fetch ended in an abort, as it always must.
fn fetch(address: u64) -> bool {
    let taken = Attempt::new(0).jump(pstate::EL1H, address);
    let aborted = abort(&taken, class::FETCH) && (taken.far, taken.offset) == (address, 0);
    if !aborted {
        hostile::wrong(format_args!("a fetch of {address:#x} ended in {taken:x?}"));
    }
    aborted
}

/// Accesses of which only a part is RAM: how many ended in aborts.
fn edges() -> u64 {
    let mut aborts = 0;
    for kind in KINDS.iter().filter(|kind| !kind.lenient) {
        for address in [RAM.start - 4, RAM.end - 4] {
            let mut attempt = Attempt::new(0);
            attempt.x[1] = address;
            let taken = attempt.run(pstate::EL1H, &[kind.word]);
            if taken.done() {
                continue;
            }
            let near = taken.far.wrapping_sub(address & !63) < 128;
            if !abort(&taken, class::DATA) || !near || taken.offset != 0 {
                hostile::wrong(format_args!("{} of {address:#x} ended in {taken:x?}", kind.name));
            }
            aborts += 1;
        }
    }
    aborts
}
