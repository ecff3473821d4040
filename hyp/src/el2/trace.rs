//! What is watched of the life of traps, if the boot arguments ask for it: each event in this CPU's ring (`trace=MIB`), and what
//! the traps of each class cost (`count`).
//!
//! Not asked for, each point is one load and one branch that is never taken. Asked for, an event is written down with IRQs masked, in a
//! ring that only this CPU writes ([`trap::trace::Ring`]), in RAM that no guest maps; no lock, no allocation. Times are told without
//! what all this takes, so that a trace shows the machine as it is without one.
//!
//! All others call this, so it knows none of them: a vCPU is a number here ([`Vcpu::number`](crate::vcpu::Vcpu::number)).
//!
//! `cargo xtask hyp --trace` takes the rings from the machine's memory when it has ended.

use crate::cpu::counter;
use crate::memory::{self, BLOCK};
use crate::percpu::{SCHEDULE, this_cpu};
use crate::read_sysreg;
use crate::sync::IrqMask;
use core::fmt::Write;
use core::ptr::with_exposed_provenance;
use core::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering::Relaxed};
use heapless::String;
use hyp::config::{GUESTS_MAX, VCPUS};
use hyp::result::{Cost, MAX_CLASSES};
use hyp::vgic::{ListRegister, Version};
use trap::esr::{Ec, Esr, ec_name};
use trap::frame::CpuUserRegs;
use trap::slot::Slot;
use trap::trace::{
    Directory, Event, Left, MAGIC, MAX_CPUS, Name, RECORD_WORDS, Record, Ring, SCHEMA, Saved, State, Way,
};

unsafe extern "C" {
    /// The vector table. Behind it is nothing but the assembly of the way in and out (`hyp.ld`).
    static hyp_traps_vector: u8;
    /// The last part of the way to a guest, in which nothing unmasks or calls.
    static return_from_trap: u8;
}

/// Whether anything of the following is on.
static WATCHED: AtomicBool = AtomicBool::new(false);
/// Whether costs are added up.
static COUNTING: AtomicBool = AtomicBool::new(false);
/// After so many more traps the hypervisor crashes; 0 is never.
static CRASH: AtomicU64 = AtomicU64::new(0);

/// Counter ticks of an event that it cannot see itself: to come to it, and to go on.
static UNSEEN: AtomicU64 = AtomicU64::new(0);

/// Where the tool finds the rings.
#[unsafe(export_name = "trace_directory")]
static DIRECTORY: Directory = Directory::EMPTY;

/// vCPUs that there can be.
const VCPUS_MAX: usize = GUESTS_MAX * *VCPUS.end() as usize;
/// The class of an interrupt, behind those of ESR_EL2.EC.
const IRQ: usize = 64;

/// What the traps of a class cost.
struct Spent {
    count: AtomicU64,
    ticks: AtomicU64,
    max: AtomicU64,
}

/// By guest, in the order of their numbers, and class.
static COSTS: [[Spent; IRQ + 1]; GUESTS_MAX] = [const {
    [const { Spent { count: AtomicU64::new(0), ticks: AtomicU64::new(0), max: AtomicU64::new(0) } }; IRQ + 1]
}; GUESTS_MAX];

/// No class.
const NONE: u8 = u8::MAX;

/// A trap that has not come to its end.
struct Begun {
    /// [`NONE`] when there is none: a vCPU begins with an exit.
    class: AtomicU8,
    /// What it had taken when its vCPU was last switched away from.
    ticks: AtomicU64,
}

/// By vCPU.
static BEGUN: [Begun; VCPUS_MAX] =
    [const { Begun { class: AtomicU8::new(NONE), ticks: AtomicU64::new(0) } }; VCPUS_MAX];
/// By CPU, the vCPU that it has; 0 is none.
static RUNNING: [AtomicU32; MAX_CPUS] = [const { AtomicU32::new(0) }; MAX_CPUS];
/// By CPU, since when it works for the vCPU that it has.
static SINCE: [AtomicU64; MAX_CPUS] = [const { AtomicU64::new(0) }; MAX_CPUS];

/// What is to be watched.
#[derive(Clone, Copy, Default)]
pub struct Wanted {
    /// MiB of each CPU's ring; 0 for none.
    pub mib: u32,
    /// Whether costs are added up.
    pub count: bool,
    /// The trap at which the hypervisor crashes, for those who want to see its report; 0 is none.
    pub crash: u64,
}

/// There is no RAM for the rings.
pub struct OutOfMemory;

/// Begins to watch, on a machine with so many CPUs.
pub fn init(wanted: Wanted, cpus: usize) -> Result<(), OutOfMemory> {
    if wanted.mib > 0 {
        let size = (u64::from(wanted.mib) << 20).next_multiple_of(BLOCK);
        for ring in DIRECTORY.rings.iter().take(cpus) {
            let storage = memory::take(size).ok_or(OutOfMemory)?;
            ring.address.store(storage.base, Relaxed);
            ring.size.store(size / 8, Relaxed);
        }
        let (entry, exit) = length();
        DIRECTORY.entry[Way::El0 as usize].store(entry, Relaxed);
        DIRECTORY.exit[Way::El0 as usize].store(exit, Relaxed);
        DIRECTORY.frequency.store(read_sysreg!("cntfrq_el0"), Relaxed);
        DIRECTORY.schema.store(SCHEMA, Relaxed);
        DIRECTORY.magic.store(MAGIC, Relaxed);
    }
    COUNTING.store(wanted.count, Relaxed);
    CRASH.store(wanted.crash, Relaxed);
    WATCHED.store(wanted.mib > 0 || wanted.count || wanted.crash > 0, Relaxed);
    if wanted.mib > 0 {
        calibrate();
    }
    Ok(())
}

/// Whether anything is watched.
#[inline(always)]
pub fn is_on() -> bool {
    WATCHED.load(Relaxed)
}

/// The instructions of a trap outside of its two events, but for what Rust does to call and return: from the first one of its slot, and
/// up to `eret`.
fn length() -> (u64, u64) {
    const ERET: u32 = 0xd69f_03e0;
    const RET: u32 = 0xd65f_03c0;
    let table = (&raw const hyp_traps_vector).addr();
    let walk = |mut pc: usize| {
        let (mut count, mut back) = (0, 0);
        loop {
            // SAFETY: the text of the way in and out, which ends in one of the two below.
            let instruction = unsafe { with_exposed_provenance::<u32>(pc).read() };
            count += 1;
            // B and BL; B.cond, by which all but HVC #0 leave the fast path. What skips the window for SErrors is not taken.
            let distance = match instruction >> 24 {
                0x14..0x18 | 0x94..0x98 => (instruction << 6) as i32 >> 6,
                0x54 => (instruction << 8) as i32 >> 13,
                _ => 1,
            };
            let target = pc.wrapping_add_signed(4 * distance as isize);
            // The end of the way out; and of the way in: the first call of Rust.
            if instruction == ERET || target < table {
                return count;
            }
            back = if instruction >> 26 == 0x25 { pc + 4 } else { back };
            pc = if instruction == RET { back } else { target };
        }
    };
    let slot = Slot::El0Sync as usize * 128;
    (walk(table + slot), walk((&raw const return_from_trap).addr()))
}

/// The counter, without what watching has taken on this CPU.
fn clock(ring: &Ring) -> u64 {
    counter() - ring.spent.load(Relaxed)
}

fn ring() -> &'static Ring {
    mine(&DIRECTORY.rings)
}

/// What this CPU has of a table with a row a CPU.
fn mine<T>(table: &'static [T; MAX_CPUS]) -> &'static T {
    &table[this_cpu().index % MAX_CPUS]
}

/// The trap of a vCPU that has not come to its end.
fn begun(vcpu: u32) -> &'static Begun {
    &BEGUN[(vcpu as usize).wrapping_sub(1) % VCPUS_MAX]
}

/// What this CPU is in events: the vCPU that it has, or idling by its own number.
fn task(vcpu: u32) -> u32 {
    match (vcpu, this_cpu().index) {
        (0, 0) => 0,
        (0, cpu) => (VCPUS_MAX + cpu) as u32,
        (vcpu, _) => vcpu,
    }
}

/// Writes an event down, if they are. `time` is from when on it is not the hypervisor's own work that is done.
#[inline(never)]
fn write_down(time: u64, event: Event) {
    let _mask = IrqMask::new();
    let ring = ring();
    let size = ring.size.load(Relaxed) as usize;
    if size == 0 {
        return;
    }
    let record = Record {
        time,
        spent: ring.spent.load(Relaxed),
        calls: 0,
        task: task(mine(&RUNNING).load(Relaxed)),
        state: State {
            irqs_off: read_sysreg!("daif") & 1 << 7 != 0,
            need_resched: this_cpu().softirqs.load(Relaxed) & SCHEDULE != 0,
            ..State::default()
        },
        event,
    };
    let mut words = [0; RECORD_WORDS];
    let length = record.write(&mut words);
    let storage = with_exposed_provenance::<AtomicU64>(ring.address.load(Relaxed) as usize);
    // SAFETY: the ring's RAM, which was zeroes or another's words, and of which only this CPU makes use.
    ring.push(unsafe { core::slice::from_raw_parts(storage, size) }, &words[..length]);
    let spent = ring.spent.load(Relaxed) + UNSEEN.load(Relaxed);
    ring.spent.store(spent + (counter() - time), Relaxed);
}

/// Finds out what of an event's cost [`write_down`] does not see, by many of them, which are then forgotten.
fn calibrate() {
    const EVENTS: u64 = 256;
    let ring = ring();
    let began = counter();
    for _ in 0..EVENTS {
        drop(0);
    }
    UNSEEN.store((counter() - began - ring.spent.load(Relaxed)) / EVENTS, Relaxed);
    for word in [&ring.head, &ring.tail, &ring.lost, &ring.spent] {
        word.store(0, Relaxed);
    }
}

/// A point of the trace: `$event` is made only if something is watched.
macro_rules! point {
    ($event:expr) => {
        if is_on() {
            write_down(counter(), $event);
        }
    };
}

/// A trap from the current vCPU: its frame is saved.
#[inline(always)]
pub fn enter(regs: &CpuUserRegs) {
    if is_on() {
        entered(regs);
    }
}

#[cold]
fn entered(regs: &CpuUserRegs) {
    if CRASH.load(Relaxed) > 0 && CRASH.fetch_sub(1, Relaxed) == 1 {
        // SAFETY: there is nothing at this address, which is the point.
        unsafe { with_exposed_provenance::<u64>(8).read_volatile() };
    }
    // Where there is no syndrome the vector says so; of the class UNKNOWN at least IL is set.
    let (class, kind) = match (regs.hsr, Esr(regs.hsr).ec()) {
        (0, _) => (IRQ, 1),
        (_, Ec::SERROR) => (usize::from(Ec::SERROR.number()), 3),
        (_, ec) => (usize::from(ec.number()), 0),
    };
    let slot = if regs.is_aarch32() { Slot::El032Sync } else { Slot::El0Sync };
    point!(Event::Enter {
        slot: Slot::ALL[slot as usize + kind],
        frame: core::ptr::from_ref(regs).addr() as u64,
        esr: regs.hsr,
        far: read_sysreg!("far_el2"),
        window: false,
        saved: Saved { regs: regs.regs, sp: regs.sp_el1, pc: regs.pc, pstate: regs.cpsr },
    });
    let begun = begun(mine(&RUNNING).load(Relaxed));
    begun.class.store(class as u8, Relaxed);
    begun.ticks.store(0, Relaxed);
    mine(&SINCE).store(clock(ring()), Relaxed);
}

/// The current vCPU's guest is about to be entered. IRQs are masked.
#[inline(always)]
pub fn exit(regs: &CpuUserRegs) {
    if is_on() {
        left(regs);
    }
}

#[cold]
fn left(regs: &CpuUserRegs) {
    let since = mine(&SINCE).load(Relaxed);
    let ticks = clock(ring()) - since;
    if COUNTING.load(Relaxed) {
        let vcpu = mine(&RUNNING).load(Relaxed);
        let begun = begun(vcpu);
        let ticks = begun.ticks.load(Relaxed) + ticks;
        let class = usize::from(begun.class.swap(NONE, Relaxed));
        if let Some(spent) = COSTS[guest_of(vcpu)].get(class) {
            spent.count.fetch_add(1, Relaxed);
            spent.ticks.fetch_add(ticks, Relaxed);
            spent.max.fetch_max(ticks, Relaxed);
        }
    }
    point!(Event::Exit {
        frame: core::ptr::from_ref(regs).addr() as u64,
        pc: regs.pc,
        pstate: regs.cpsr,
        x0: regs.regs[0],
        syscallno: trap::frame::NO_SYSCALL,
    });
}

/// The place in [`COSTS`] of a vCPU's guest.
fn guest_of(vcpu: u32) -> usize {
    (vcpu as usize).wrapping_sub(1) / usize::from(*VCPUS.end()) % GUESTS_MAX
}

/// This CPU is about to go from what it has to a vCPU with this number, of a guest of this name and called so in it; or to idling. Why it
/// goes is `left`. IRQs are masked.
#[inline(always)]
pub fn switch(left: Left, to: Option<(u32, &str, usize)>) {
    if is_on() {
        switched(left, to);
    }
}

#[cold]
fn switched(left: Left, to: Option<(u32, &str, usize)>) {
    let (since, running) = (mine(&SINCE), mine(&RUNNING));
    let from = running.load(Relaxed);
    if from != 0 {
        let ticks = &begun(from).ticks;
        ticks.store(ticks.load(Relaxed) + (clock(ring()) - since.load(Relaxed)), Relaxed);
    }
    let mut name: String<32> = String::new();
    // There is room for the longest.
    let _ = match (to, this_cpu().index) {
        (Some((_, guest, id)), _) => write!(name, "{guest}.{id}"),
        (None, 0) => write!(name, "idle"),
        (None, cpu) => write!(name, "idle.{cpu}"),
    };
    let to = to.map_or(0, |(number, ..)| number);
    point!(Event::Switch { left, next: task(to), name: Name::from(&*name) });
    running.store(to, Relaxed);
    since.store(clock(ring()), Relaxed);
}

/// A vCPU may run from now on.
pub fn wake(vcpu: u32) {
    point!(Event::Wake { task: vcpu });
}

/// A physical interrupt was acknowledged.
pub fn irq(intid: u32) {
    point!(Event::Irq { intid });
}

/// Its priority was dropped.
pub fn drop(intid: u32) {
    point!(Event::Drop { intid });
}

/// It was handled, if the hypervisor has a handler for it; a guest's has been injected.
pub fn irq_end(intid: u32, handled: bool) {
    point!(Event::IrqEnd { intid, handled });
}

/// A virtual interrupt is pending for a vCPU.
pub fn inject(vcpu: u32, intid: u32) {
    point!(Event::Inject { task: vcpu, intid });
}

/// A List Register was written.
#[inline(always)]
pub fn list_register(n: usize, value: ListRegister) {
    if is_on() {
        list_register_event(n, value, false);
    }
}

/// A List Register was read back.
#[inline(always)]
pub fn read_back(n: usize, value: ListRegister) {
    if is_on() {
        list_register_event(n, value, true);
    }
}

#[cold]
fn list_register_event(n: usize, value: ListRegister, read: bool) {
    let (n, value) = (n as u8, value.encode(Version::V3));
    point!(if read { Event::ReadBack { n, value } } else { Event::ListRegister { n, value } });
}

/// What the traps of the guest with this number cost, by class.
pub fn costs(guest: u32) -> heapless::Vec<Cost, MAX_CLASSES> {
    let class = |class: usize| if class == IRQ { "irq" } else { ec_name(class as u8) };
    let costs = COSTS[(guest as usize).wrapping_sub(1) % GUESTS_MAX].iter().enumerate().map(|(number, spent)| Cost {
        class: class(number).chars().take(32).collect(),
        count: spent.count.load(Relaxed),
        ticks: spent.ticks.load(Relaxed),
        max: spent.max.load(Relaxed),
    });
    costs.filter(|cost| cost.count > 0).take(MAX_CLASSES).collect()
}
