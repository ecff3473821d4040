//! ELF files: which may run as a program, and the flat boot image of a kernel.

use anyhow::{Context, Result, ensure};
use object::Endianness::Little;
use object::elf::{self, FileHeader64};
use object::read::elf::{FileHeader, ProgramHeader};
use std::fs;
use std::path::Path;

/// Length of the header that opens an arm64 boot image (Linux `Documentation/arch/arm64/booting.rst`).
const HEADER_LEN: usize = 64;
/// Where in the header its magic number lies.
const MAGIC_AT: usize = 56;
const MAGIC: &[u8] = b"ARM\x64";
/// No kernel of ours comes near this many bytes; a longer one is a linking mistake.
const IMAGE_LIMIT: u64 = 64 << 20;

/// The bytes of the file at `path`, which must be a program that the kernel can run: a static ELF executable for AArch64.
pub fn read_program(path: &Path) -> Result<Vec<u8>> {
    let bytes = fs::read(path).with_context(|| format!("{} cannot be read", path.display()))?;
    check_program(&bytes).with_context(|| format!("{} cannot run on the machine", path.display()))?;
    Ok(bytes)
}

fn check_program(bytes: &[u8]) -> Result<()> {
    let (header, segments) = open(bytes)?;
    let has = |kind| segments.iter().any(|segment| segment.p_type(Little) == kind);
    ensure!(!has(elf::PT_INTERP), "it is dynamically linked, and there are no shared libraries; link it with -static");
    match header.e_type(Little) {
        elf::ET_EXEC => ensure!(has(elf::PT_LOAD), "it has no segment to load"),
        elf::ET_DYN => anyhow::bail!("it is position-independent; link it with -static and -no-pie"),
        elf::ET_REL => anyhow::bail!("it is an object file that was not linked yet"),
        other => anyhow::bail!("it is not an executable (ELF type {})", other.0),
    }
    Ok(())
}

/// Whether these bytes are an ELF file that may be loaded anywhere.
pub fn is_position_independent(bytes: &[u8]) -> bool {
    FileHeader64::<object::Endianness>::parse(bytes).is_ok_and(|header| header.e_type(Little) == elf::ET_DYN)
}

/// The file header and the program headers of a little-endian 64-bit Arm ELF whose segments are all in the file.
fn open(bytes: &[u8]) -> Result<(&FileHeader64<object::Endianness>, &[elf::ProgramHeader64<object::Endianness>])> {
    ensure!(bytes.starts_with(&elf::ELFMAG), "it is not an ELF file");
    let [class, data] = [4, 5].map(|at| bytes.get(at).copied().unwrap_or(0));
    ensure!(class != elf::ELFCLASS32.0, "it is a 32-bit ELF file, not one for AArch64");
    ensure!(data != elf::ELFDATA2MSB.0, "it is a big-endian ELF file, not a little-endian one");
    let header = FileHeader64::parse(bytes).ok().context("its ELF header is truncated or damaged")?;
    let machine = header.e_machine(Little);
    ensure!(
        machine == elf::EM_AARCH64,
        "it is an ELF file for {}, not for AArch64",
        match machine {
            elf::EM_X86_64 => "x86-64".to_string(),
            elf::EM_RISCV => "RISC-V".to_string(),
            other => format!("machine {}", other.0),
        }
    );
    let segments =
        header.program_headers(Little, bytes).ok().context("it is truncated: its program headers are not all there")?;
    for (number, segment) in segments.iter().enumerate() {
        ensure!(segment.data(Little, bytes).is_ok(), "it is truncated: segment {number} is not all there");
    }
    Ok((header, segments))
}

/// A program without what lies behind its segments: sections and debug information, which take most of the file and which
/// the kernel never reads.
pub fn strip(program: &[u8]) -> Result<Vec<u8>> {
    let (header, segments) = open(program)?;
    let ends = segments.iter().map(|segment| segment.p_offset(Little) + segment.p_filesz(Little));
    let headers = header.e_phoff(Little) + size_of_val(segments) as u64;
    let end = ends.chain([headers]).max().unwrap_or_default();
    let mut stripped = program[..end as usize].to_vec();
    // e_shoff, then e_shnum and e_shstrndx: no sections are left.
    for field in [40..48, 60..64] {
        stripped[field].fill(0);
    }
    Ok(stripped)
}

/// The flat boot image of a kernel: its segments as they lie in memory from the lowest address on, without the zeroes
/// behind the last. The kernel's first bytes already are the header of the arm64 boot protocol.
pub fn flatten(kernel: &[u8]) -> Result<Vec<u8>> {
    let (_, segments) = open(kernel)?;
    let loaded = segments.iter().filter(|s| s.p_type(Little) == elf::PT_LOAD && s.p_filesz(Little) > 0);
    let base = loaded.clone().map(|segment| segment.p_vaddr(Little)).min().context("it has no segment to load")?;
    let mut image = Vec::new();
    for segment in loaded {
        let bytes = segment.data(Little, kernel).ok().context("a segment is not all there")?;
        let start = segment.p_vaddr(Little) - base;
        ensure!(
            start < IMAGE_LIMIT && bytes.len() as u64 <= IMAGE_LIMIT,
            "a segment at {:#x} lies too far from the first at {base:#x}: see linker/kernel.ld",
            segment.p_vaddr(Little)
        );
        let start = start as usize;
        image.resize(image.len().max(start + bytes.len()), 0);
        image[start..start + bytes.len()].copy_from_slice(bytes);
    }
    ensure!(
        image.len() >= HEADER_LEN && image[MAGIC_AT..].starts_with(MAGIC),
        "it does not begin with the arm64 boot header: see linker/kernel.ld"
    );
    Ok(image)
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use proptest::prelude::*;

    /// A little ELF file: its type, machine, and segments as (type, address, bytes).
    pub(crate) fn elf(kind: u16, machine: u16, segments: &[(u32, u64, &[u8])]) -> Vec<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([kind, machine].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1u32.to_le_bytes());
        file.extend([0u64, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, segments.len() as u16, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        let mut offset = 64 + 56 * segments.len() as u64;
        for (kind, address, bytes) in segments {
            let size = bytes.len() as u64;
            file.extend([*kind, 5].iter().flat_map(|word| word.to_le_bytes()));
            file.extend([offset, *address, *address, size, size, 8].iter().flat_map(|word| word.to_le_bytes()));
            offset += size;
        }
        for (_, _, bytes) in segments {
            file.extend(*bytes);
        }
        file
    }

    fn refusal(bytes: &[u8]) -> String {
        check_program(bytes).unwrap_err().to_string()
    }

    #[test]
    fn only_static_executables_for_aarch64_run() {
        let text = (1, 0x1000, &b"code"[..]);
        let good = elf(2, 183, &[text]);
        check_program(&good).unwrap();
        assert!(refusal(b"#!/bin/sh").contains("not an ELF file"));
        assert!(refusal(b"").contains("not an ELF file"));
        assert!(refusal(&elf(2, 62, &[text])).contains("x86-64"));
        assert!(refusal(&elf(2, 40, &[text])).contains("machine 40"));
        assert!(refusal(&elf(3, 183, &[text])).contains("position-independent"));
        assert!(refusal(&elf(3, 183, &[text, (3, 0, b"/lib/ld.so")])).contains("dynamically linked"));
        assert!(refusal(&elf(1, 183, &[])).contains("not linked yet"));
        assert!(refusal(&elf(4, 183, &[text])).contains("ELF type 4"));
        assert!(refusal(&elf(2, 183, &[])).contains("no segment"));
        let with = |at: usize, byte| {
            let mut file = good.clone();
            file[at] = byte;
            file
        };
        assert!(refusal(&with(4, 1)).contains("32-bit"));
        assert!(refusal(&with(5, 2)).contains("big-endian"));
        for len in 4..good.len() {
            let why = refusal(&good[..len]);
            assert!(why.contains("truncated"), "{len}: {why}");
        }
    }

    proptest! {
        #[test]
        fn damaged_files_are_refused_or_taken_but_never_panic(at in 4usize..140, byte: u8) {
            let mut file = elf(2, 183, &[(1, 0x1000, &[0; 64])]);
            file[at] = byte;
            let _ = check_program(&file);
            let _ = flatten(&file);
        }
    }

    #[test]
    fn an_image_holds_its_segments_at_their_distance() {
        let mut head = [0; 64];
        head[MAGIC_AT..][..4].copy_from_slice(MAGIC);
        let base = 0xffff_ffc0_8000_0000;
        let image = flatten(&elf(2, 183, &[(1, base + 0x100, b"data"), (1, base, &head), (4, 0, b"note")])).unwrap();
        assert_eq!(image.len(), 0x104);
        assert_eq!((&image[..64], &image[0x100..]), (&head[..], &b"data"[..]));
        assert!(image[64..0x100].iter().all(|&byte| byte == 0));
    }

    #[test]
    fn a_stripped_program_keeps_its_segments() {
        let bare = elf(2, 183, &[(1, 0x1000, b"code"), (1, 0x2000, b"data")]);
        let mut whole = [&bare[..], b"debug information"].concat();
        whole[40] = bare.len() as u8;
        whole[60] = 7;
        whole[62] = 6;
        assert_eq!(strip(&whole).unwrap(), bare);
        assert_eq!(strip(&bare).unwrap(), bare);
    }

    #[test]
    fn a_kernel_without_the_header_or_with_a_stray_segment_is_refused() {
        let why = flatten(&elf(2, 183, &[(1, 0, &[0; 64])])).unwrap_err().to_string();
        assert!(why.contains("boot header"), "{why}");
        let why = flatten(&elf(2, 183, &[(1, 0, &[0; 64]), (1, 1 << 40, b"far")])).unwrap_err().to_string();
        assert!(why.contains("0x10000000000"), "{why}");
    }
}
