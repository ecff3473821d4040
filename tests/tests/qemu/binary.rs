//! What must hold in the kernel's machine code, where no run could show that it does not.

use crate::machine::{Names, images, same, trial};
use anyhow::{Context, Result, bail, ensure};
use libtest_mimic::Trial;
use object::{Object, ObjectSegment, ObjectSymbol, SegmentFlags};
use std::fs;

const ERET: u32 = 0xd69f_03e0;
const DSB_NSH: u32 = 0xd503_379f;
const ISB: u32 = 0xd503_3fdf;
/// msr daifset, #0xf
pub const MASK_ALL: u32 = 0xd503_4fdf;
const MSR_ELR_EL1: u32 = 0xd518_4020;
const MSR_SPSR_EL1: u32 = 0xd518_4000;
/// sub sp, sp, #320
const RESERVE_FRAME: u32 = 0xd105_03ff;

pub fn trials() -> Vec<Trial> {
    type Scan = fn(&Code) -> Result<()>;
    let tests: [(&str, Scan); 7] = [
        ("barrier_after_eret", barrier_after_eret),
        ("masked_before_elr", masked_before_elr),
        ("vectors", vectors),
        ("irq_stack_switch", irq_stack_switch),
        ("user_values_are_cleared", user_values_are_cleared),
        ("entry_text", entry_text),
        ("segments", segments),
    ];
    let tests = tests.map(|(name, test)| trial(format!("binary::{name}"), move || test(&Code::read()?)));
    tests.into()
}

/// p_flags of a program header.
const EXECUTE: u32 = 1;
const WRITE: u32 = 2;
const READ: u32 = 4;

fn rights<'a>(segment: &impl ObjectSegment<'a>) -> u32 {
    match segment.flags() {
        SegmentFlags::Elf { p_flags, .. } => p_flags.0,
        _ => 0,
    }
}

/// The kernel's ELF file, its executable segment as words, and its symbols.
pub struct Code {
    file: Vec<u8>,
    base: u64,
    words: Vec<u32>,
    /// What is where.
    pub names: Names,
}

impl Code {
    /// The kernel's.
    pub fn read() -> Result<Code> {
        let path = &images(false).elf;
        let file = fs::read(path)?;
        let parsed = object::File::parse(&*file)?;
        let mut segments = parsed.segments().filter(|segment| rights(segment) & EXECUTE != 0);
        let (Some(text), None) = (segments.next(), segments.next()) else { bail!("not one executable segment") };
        let words = text.data()?.chunks_exact(4).map(|word| word.try_into().map(u32::from_le_bytes));
        let (base, words) = (text.address(), words.collect::<Result<_, _>>()?);
        Ok(Code { base, words, names: Names::read(path)?, file })
    }

    /// The word at `address`.
    pub fn word(&self, address: u64) -> Option<u32> {
        self.words.get(address.checked_sub(self.base)? as usize / 4).copied()
    }

    /// The words from the symbol `name` on.
    fn from(&self, name: &str) -> Result<&[u32]> {
        let index = (self.names.address(name)? - self.base) / 4;
        self.words.get(index as usize..).with_context(|| format!("{name} is not in the text"))
    }

    /// The words between two symbols.
    fn between(&self, start: &str, end: &str) -> Result<&[u32]> {
        let length = (self.names.address(end)? - self.names.address(start)?) / 4;
        Ok(&self.from(start)?[..length as usize])
    }
}

/// Where in `words` the word `wanted` is.
fn places(words: &[u32], wanted: u32) -> impl Iterator<Item = usize> {
    words.iter().enumerate().filter(move |(_, word)| **word == wanted).map(|(place, _)| place)
}

/// Branches of all kinds, and exception-generating instructions (Arm ARM C4, "Branches, Exception Generating and System
/// instructions"): everything after which another instruction than the next may come.
fn leaves_the_line(word: u32) -> bool {
    word >> 26 & 0x1f == 0b00101 || matches!(word >> 24 & 0x7e, 0x34 | 0x36) || matches!(word >> 24, 0x54 | 0xd4 | 0xd6)
}

/// Where a CBZ at `place` goes on, if it goes forward; else beyond everything.
fn skips_to(words: &[u32], place: usize) -> usize {
    let (word, offset) = (words[place], words[place] >> 5 & 0x7_ffff);
    if word >> 24 & 0x7f == 0x34 && offset < 0x4_0000 { place + offset as usize } else { usize::MAX }
}

/// Writes PSTATE or DAIF: MSR (immediate), and MSR DAIF.
fn writes_pstate(word: u32) -> bool {
    word & 0xfff8_f01f == 0xd500_401f || word & !0x1f == 0xd51b_4220
}

/// Invariant 7: no speculation past an exception return.
fn barrier_after_eret(code: &Code) -> Result<()> {
    let mut found = 0;
    for place in places(&code.words, ERET) {
        let address = code.base + 4 * place as u64;
        let behind = code.words.get(place + 1..place + 3);
        ensure!(behind == Some(&[DSB_NSH, ISB]), "eret at {address:#x} is followed by {behind:x?}");
        found += 1;
    }
    // Two of the boot code and one of each handler at least.
    ensure!(found >= 8, "{found} erets");
    Ok(())
}

/// Invariant 5: on the straight way to each `eret` of the entry code, but for what a CBZ skips, DAIF is fully masked first, then ELR and SPSR are
/// loaded, and neither is touched again.
fn masked_before_elr(code: &Code) -> Result<()> {
    let words = code.between("_entry_text", "_entry_text_end")?;
    let mut found = 0;
    for eret in places(words, ERET) {
        let leaves = |place: &usize| leaves_the_line(words[*place]) && skips_to(words, *place) >= eret;
        let line = (0..eret).rev().find(leaves).map_or(0, |branch| branch + 1);
        let line = &words[line..eret];
        let masks: Vec<_> = (0..line.len()).filter(|&place| writes_pstate(line[place])).collect();
        ensure!(masks.len() == 1 && line[masks[0]] == MASK_ALL, "writes of PSTATE before eret {found}: {masks:?}");
        for register in [MSR_ELR_EL1, MSR_SPSR_EL1] {
            let loads: Vec<_> = (0..line.len()).filter(|&place| line[place] & !0x1f == register).collect();
            ensure!(loads.len() == 1 && loads[0] > masks[0], "loads of ELR or SPSR before eret {found}: {loads:?}");
        }
        found += 1;
    }
    ensure!(found >= 7, "{found} exception exits");
    Ok(())
}

/// Sixteen live slots.
fn vectors(code: &Code) -> Result<()> {
    same("alignment", code.names.address("vectors")? % 2048, 0)?;
    let table = code.from("vectors")?;
    for slot in 0..16 {
        same(&format!("first word of slot {slot}"), table[slot * 32], RESERVE_FRAME)?;
    }
    Ok(())
}

/// Invariant 6: the switch to the interrupt stack is one write to SP, and so is the way back.
fn irq_stack_switch(code: &Code) -> Result<()> {
    let words = code.from("call_on_irq_stack")?;
    // ret
    let end = places(words, 0xd65f_03c0).next().context("it does not return")?;
    // ADD and SUB to SP, of an immediate or an extended register.
    let writes_sp = |word: &&u32| *word & 0xbf80_001f == 0x9100_001f || *word & 0xbfe0_001f == 0x8b20_001f;
    let writes: Vec<_> = words[..end].iter().filter(writes_sp).collect();
    // mov sp, x1; mov sp, x29
    same("writes to SP", writes, vec![&0x9100_003f, &0x9100_03bf])
}

/// No value of a program reaches a handler in a register: between the last save and the call x0 is set and x1..x28 are zero.
fn user_values_are_cleared(code: &Code) -> Result<()> {
    for entry in
        ["el0_sync", "el0_irq", "el0_error", "el0_fiq", "el0_32_sync", "el0_32_irq", "el0_32_fiq", "el0_32_error"]
    {
        let words = code.from(entry)?;
        // bl
        let call = words.iter().position(|word| word >> 26 == 0b100101).context("no call")?;
        // mov x<n>, xzr; mov x0, sp
        let cleared = |register: u32| words[..call].contains(&(0xaa1f_03e0 | register));
        ensure!((1..=28).all(cleared) && words[..call].contains(&0x9100_03e0), "{entry} leaves registers as they were");
    }
    Ok(())
}

/// Pages of its own, so that it can be mapped alone, and all of the vectors and exits in it.
fn entry_text(code: &Code) -> Result<()> {
    let [start, end] = ["_entry_text", "_entry_text_end"].map(|name| code.names.address(name));
    let (start, end) = (start?, end?);
    same("alignment", (start % 4096, end % 4096), (0, 0))?;
    for name in ["vectors", "el0_sync", "el0_irq", "el1h_sync", "el1h_irq", "ret_from_fork", "bad_stack"] {
        ensure!((start..end).contains(&code.names.address(name)?), "{name} is not in the entry text");
    }
    Ok(())
}

/// No memory of the kernel is writable and executable; nothing writable lies in the text, nothing executable elsewhere.
fn segments(code: &Code) -> Result<()> {
    let file = object::File::parse(&*code.file)?;
    let at = |name: &str| code.names.address(name);
    let mut kinds = Vec::new();
    for segment in file.segments() {
        ensure!(segment.address() % 4096 == 0, "a segment begins within a page");
        kinds.push((segment.address(), rights(&segment)));
    }
    same(
        "segments",
        kinds,
        vec![(at("_text")?, READ | EXECUTE), (at("_rodata")?, READ), (at("_data")?, READ | WRITE)],
    )?;
    let undefined = file.symbols().filter(|symbol| symbol.is_undefined() && symbol.name().is_ok_and(|n| !n.is_empty()));
    same("undefined symbols", undefined.count(), 0)
}
