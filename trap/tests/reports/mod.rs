//! Reports that hold anything.

use trap::hint::{Hint, Recursion};
use trap::place::{Area, Place, StackKind};
use trap::record::*;
use trap::signal::SigInfo;
use trap::slot::Slot;

/// As much of `text` as fits.
pub fn cut<const N: usize>(text: &str) -> heapless::String<N> {
    let mut cut = heapless::String::new();
    text.chars().take_while(|&character| cut.push(character).is_ok()).for_each(drop);
    cut
}

/// Every kind of place.
pub fn places(value: u64) -> Vec<Place> {
    use {Area::*, StackKind::*};
    let bit = |bit: u64| value >> bit & 1 == 1;
    let mut places = vec![
        Place::UserGuard { below: value },
        Place::Ram { physical: Hex(value) },
        Place::Null,
        Place::Unmapped,
        Place::NonCanonical,
        Place::KernelText,
        Place::KernelRodata,
        Place::KernelData,
        Place::Device,
        Place::KernelUnmapped,
    ];
    for stack in [Task, Irq, Overflow, Boot] {
        let task = Some(value as u32).filter(|_| stack == Task);
        places.push(Place::Guard { stack, task, below: value });
        places.push(Place::Stack { stack, task, above: value });
    }
    places.extend([Image, Heap, Stack, Mapped].map(|area| Place::User {
        area,
        read: bit(0),
        write: bit(1),
        execute: bit(2),
    }));
    places
}

/// Every hint.
pub fn all_hints(value: u64) -> Vec<Hint> {
    let hex = Hex(value);
    let recursion = Recursion { address: hex, cycle: value as u32, frames: value as u32 };
    vec![
        Hint::Overflow(Some(recursion)),
        Hint::Text(hex),
        Hint::BadCall(hex),
        Hint::Overflow(None),
        Hint::NotAdvanced,
        Hint::ServedInVain,
        Hint::NotEnded(value as u32),
        Hint::BadBase(value as u8 % 32),
        Hint::BadReturn,
        Hint::OutsideWindow,
        Hint::KernelHalf,
        Hint::KernelReadOnly,
        Hint::NotReadable,
        Hint::NotWritable,
        Hint::NotExecutable,
        Hint::NoAccess,
        Hint::MapAllows,
        Hint::Privileged,
        Hint::NoCode,
        Hint::UnalignedExclusive,
        Hint::KernelFloat,
        Hint::Asynchronous,
        Hint::IllegalReturn,
    ]
}

/// A report filled to its capacity with one value and one text; `choice` says which variants come.
pub fn full(kind: Kind, value: u64, text: &str, choice: usize) -> Report {
    let hex = Hex(value);
    let slot = Slot::ALL[choice % 16];
    let some = choice.is_multiple_of(2);
    let places = places(value);
    let hints = all_hints(value);
    let chosen = |offset: usize| places[(choice + offset) % places.len()];
    let stack = Stack { name: StackKind::Overflow, low: hex, high: hex, overrun: value, in_use: some };
    let reached = if some { Reached::Exception { slot, esr: Some(hex) } } else { Reached::Call };
    let step = Step { address: hex, reached, cycle: value as u32, times: value as u32 };
    Report {
        kind,
        cause: cut(text),
        slot: Some(slot).filter(|_| some || choice.is_multiple_of(3)),
        signal: some.then_some(SigInfo { signal: value as u32, code: value as i32, addr: hex }),
        cpu: value as u32,
        task: value as u32,
        name: cut(text),
        irq: Some(value as u32),
        not_ended: Some(value as u32),
        esr: hex,
        far: hex,
        place: Some(chosen(0)),
        pc: hex,
        instruction: Some(hex),
        pstate: hex,
        sp: hex,
        regs: [hex; 31],
        window: some,
        repeats: value as u32,
        pointers: (0..32).map(|register| Pointer { register, place: chosen(usize::from(register)) }).collect(),
        stacks: std::iter::repeat_n(stack, 4).collect(),
        chain: std::iter::repeat_n(step, CHAIN_DEPTH).collect(),
        hints: (0..3).map(|offset| hints[(choice + offset) % hints.len()]).collect(),
        ..Report::EMPTY
    }
}
