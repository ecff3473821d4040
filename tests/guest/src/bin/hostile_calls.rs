//! A hostile guest: HVC and SMC with every immediate and any function, PSCI with bad targets and addresses, and vCPUs that are
//! started and stopped in a storm.
//!
//! Only what ends the guest is left out. A call changes x0, of the workarounds x1 too, and no other register. Boot arguments:
//! `seed=N`, `vcpus=N`.
#![no_std]
#![no_main]

use core::sync::atomic::{AtomicU64, Ordering::SeqCst};
use guest::attempt::{Attempt, class, pstate};
use guest::random::Random;
use guest::{hostile, psci, slot};

guest::guest!(main, hostile::exception);

const HVC: u32 = 0xd400_0002;
const SMC: u32 = 0xd400_0003;
/// PSCI's answers.
const SUCCESS: u64 = 0;
const INVALID_PARAMETERS: u64 = -2_i64 as u64;
const ALREADY_ON: u64 = -4_i64 as u64;
const INVALID_ADDRESS: u64 = -9_i64 as u64;

static STARTED: AtomicU64 = AtomicU64::new(0);

fn main(dtb: u64) -> ! {
    let (seed, vcpus) = (guest::argument(dtb, b"seed="), guest::argument(dtb, b"vcpus="));
    let mut random = Random::new(seed);
    // Its timer is always due, so that CPU_SUSPEND does not wait.
    // SAFETY: its interrupt is not enabled.
    unsafe {
        guest::write_sysreg!("cntv_cval_el0", 0);
        guest::write_sysreg!("cntv_ctl_el0", 1);
    }
    let mut calls = 0;
    for number in 0..=0xffff_u32 {
        if number < 256 || number % 61 == 0 {
            for conduit in [HVC, SMC] {
                call(conduit | number << 5, random.word() as u32 | 1 << 31, &mut random);
                calls += 1;
            }
        }
    }
    for owner in 0..64_u32 {
        for kind in 0..4_u32 {
            for number in 0..0x50 {
                let number = if number < 0x30 { number } else { random.word() as u32 & 0xffff };
                let function = kind << 30 | owner << 24 | number;
                if !is_last(function) {
                    call([HVC, SMC][calls as usize & 1], function, &mut random);
                    calls += 1;
                }
            }
        }
    }
    for conduit in [HVC, SMC] {
        for immediate in (0..0x1_0000).step_by(0x111) {
            let taken = Attempt::new(0x8400_0008).run(pstate::EL0, &[conduit | immediate << 5]);
            if (taken.slot, taken.class(), taken.offset) != (slot::EL0_SYNC, class::UNDEFINED, 0) {
                hostile::wrong(format_args!("a call of EL0 ended in {taken:x?}"));
            }
        }
    }
    power(vcpus, &mut random);
    let started = STARTED.load(SeqCst);
    hostile::finish(seed, format_args!("\"calls\":{calls},\"started\":{started}"))
}

/// Functions that would end the guest, or this vCPU, or start another.
fn is_last(function: u32) -> bool {
    let psci = function & !(1 << 30);
    matches!(psci, psci::CPU_OFF | 0x8400_0003 | psci::SYSTEM_OFF | psci::SYSTEM_RESET)
}

/// One call with random arguments.
fn call(word: u32, function: u32, random: &mut Random) {
    let mut attempt = Attempt { x: core::array::from_fn(|_| random.any()) };
    attempt.x[0] = random.word() << 32 | u64::from(function);
    let before = attempt.x;
    let taken = attempt.run(pstate::EL1H, &[word]);
    let workaround = word == HVC && matches!(function, 0x8000_8000 | 0x8000_7fff | 0x8000_3fff);
    let same = attempt.x[2..] == before[2..] && (attempt.x[1] == before[1] || workaround);
    // What a call answers is small.
    let answer = attempt.x[0] as i64;
    if !taken.done() || !same || !(-16..0x1_0002).contains(&answer) && answer as u32 != u32::MAX {
        hostile::wrong(format_args!("call {function:#x} by {word:#x} ended in {taken:x?}, {:#x}", attempt.x[0]));
    }
}

fn expect(what: &str, expected: u64, found: u64) {
    if expected != found {
        hostile::wrong(format_args!("{what} answers {found:#x}, not {expected:#x}"));
    }
}

fn power(vcpus: u64, random: &mut Random) {
    let on = |target, entry| psci::call(psci::CPU_ON, target, entry, 0);
    expect("CPU_ON of itself", ALREADY_ON, on(0, 0x4008_0000));
    for _ in 0..1000 {
        let target = random.any() | vcpus.next_power_of_two();
        expect("CPU_ON of none", INVALID_PARAMETERS, on(target, 0x4008_0000));
        expect("AFFINITY_INFO of none", INVALID_PARAMETERS, psci::call(psci::AFFINITY_INFO, target, 0, 0));
        let level = random.any() | 4;
        expect("AFFINITY_INFO of no level", INVALID_PARAMETERS, psci::call(psci::AFFINITY_INFO, 0, level, 0));
        if vcpus > 1 {
            let entry = random.any();
            let entry = if (0x4000_0000..0x4400_0000).contains(&entry) { entry | 2 } else { entry };
            expect("CPU_ON at no instruction", INVALID_ADDRESS, on(1 + random.below(vcpus - 1), entry));
        }
    }
    // A storm: each ends as soon as it begins.
    let mut started = 0;
    for number in 0..500 * (vcpus - 1) {
        let cpu = 1 + number % (vcpus - 1);
        match psci::start(cpu as usize, stop) {
            SUCCESS => started += 1,
            ALREADY_ON => hostile::yield_now(),
            other => expect("CPU_ON", SUCCESS, other),
        }
    }
    // The last of them end.
    while (1..vcpus).any(|cpu| psci::call(psci::AFFINITY_INFO, cpu, 0, 0) == 0) {
        hostile::yield_now();
    }
    expect("the storm", started, STARTED.load(SeqCst));
}

fn stop(_: usize) -> ! {
    STARTED.fetch_add(1, SeqCst);
    loop {
        psci::call(psci::CPU_OFF, 0, 0, 0);
    }
}
