//! Where a guest's image, device tree and initramfs go in its RAM, and where it starts.
//!
//! By the arm64 boot protocol (Linux, `Documentation/arch/arm64/booting.rst`): the guest is entered at EL1 at
//! [`Plan::entry`] with the MMU off and [`Plan::dtb`] in x0. An image is
//! - an arm64 `Image`, with its 64-byte header;
//! - an ELF file, put where its physical addresses say, or, if it holds an `Image`, where that may go;
//! - any other file: code that is entered at its first byte.
//!
//! Nothing is copied here, and the files are not trusted: every piece of a [`Plan`] lies in RAM, none on another.

use core::fmt;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::{ELFMAGIC, EM_AARCH64, ET_DYN, ET_EXEC, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use elf::parse::ParseError;
use heapless::Vec;

/// The most segments an ELF file may have.
pub const PIECES_MAX: usize = 16;

/// What an `Image` is loaded relative to, and the size of the blocks in which a kernel maps its device tree.
const BLOCK: u64 = 2 << 20;
const PAGE: u64 = 4 << 10;
/// The longest device tree.
const DTB_MAX: u64 = BLOCK;
/// How far into RAM an image goes that does not say.
const TEXT_OFFSET: u64 = 0x8_0000;
/// How far into RAM the initramfs goes at most, if the image ends before: as QEMU's loader has it. It leaves the image
/// room to grow.
const INITRD_OFFSET: u64 = 128 << 20;

/// Bytes of the image, and their address in the guest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Piece<'a> {
    /// Where they go.
    pub address: u64,
    /// The bytes.
    pub bytes: &'a [u8],
}

/// What goes where. RAM that it leaves out is 0.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan<'a> {
    /// The image.
    pub pieces: Vec<Piece<'a>, PIECES_MAX>,
    /// The guest's first instruction.
    pub entry: u64,
    /// The address of the device tree.
    pub dtb: u64,
    /// The address of the initramfs; of no use if there is none.
    pub initrd: u64,
}

/// Why an image cannot be loaded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is nothing in the file.
    Empty,
    /// It is compressed, by gzip or as an EFI application that unpacks itself; firmware would have to do that.
    Compressed,
    /// It is big-endian.
    BigEndian,
    /// It is an ELF file that is damaged, or not for a machine; says what is wrong.
    Elf(&'static str),
    /// The image does not fit in RAM, or wants to be where there is none.
    ImageOutsideRam,
    /// The initramfs does not fit behind the image.
    InitrdTooLarge,
    /// The device tree does not fit behind them, or is more than 2 MiB long.
    DtbTooLarge,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Error::Empty => "the image is empty",
            Error::Compressed => "the image is compressed; unpack it first",
            Error::BigEndian => "the image is big-endian",
            Error::Elf(why) => return write!(f, "the image is an ELF file, but {why}"),
            Error::ImageOutsideRam => "the image does not lie in the guest's RAM",
            Error::InitrdTooLarge => "the initramfs does not fit in the guest's RAM",
            Error::DtbTooLarge => "the device tree does not fit in the guest's RAM, or is over 2 MiB",
        })
    }
}

/// The plan for a guest with this image and RAM, and with a device tree and an initramfs of these lengths in bytes.
pub fn plan<'a>(image: &'a [u8], ram: &Range<u64>, dtb_len: u64, initrd_len: u64) -> Result<Plan<'a>, Error> {
    let Loaded { pieces, entry, end } = load(image, ram)?;
    // Behind the image, in the order and at the distance that QEMU's loader has. That also keeps the initramfs in the
    // window of 32 GiB around the image that the protocol asks for.
    let half = ram.end.saturating_sub(ram.start) / 2;
    let initrd =
        align(end.max(ram.start.saturating_add(half.min(INITRD_OFFSET))), PAGE).ok_or(Error::InitrdTooLarge)?;
    let initrd_end = initrd.checked_add(initrd_len).filter(|&end| end <= ram.end).ok_or(Error::InitrdTooLarge)?;
    let dtb = align(initrd_end, BLOCK).ok_or(Error::DtbTooLarge)?;
    match dtb.checked_add(dtb_len) {
        Some(end) if end <= ram.end && dtb_len <= DTB_MAX => Ok(Plan { pieces, entry, dtb, initrd }),
        _ => Err(Error::DtbTooLarge),
    }
}

/// An image in its place.
struct Loaded<'a> {
    pieces: Vec<Piece<'a>, PIECES_MAX>,
    entry: u64,
    /// One past the memory it takes.
    end: u64,
}

fn load<'a>(image: &'a [u8], ram: &Range<u64>) -> Result<Loaded<'a>, Error> {
    if image.starts_with(&ELFMAGIC) {
        return load_elf(image, ram);
    }
    if image.starts_with(b"\x1f\x8b") || image.starts_with(b"MZ") && image.get(4..8) == Some(b"zimg") {
        return Err(Error::Compressed);
    }
    if image.is_empty() {
        return Err(Error::Empty);
    }
    let header = Header::of(image).unwrap_or(Header { text_offset: TEXT_OFFSET, size: 0, big_endian: false });
    let address = header.place(ram)?;
    let memory = within(ram, address, header.size.max(image.len() as u64))?;
    let mut pieces = Vec::new();
    // There is room.
    let _ = pieces.push(Piece { address, bytes: image });
    Ok(Loaded { pieces, entry: address, end: memory.end })
}

fn load_elf<'a>(image: &'a [u8], ram: &Range<u64>) -> Result<Loaded<'a>, Error> {
    const MALFORMED: Error = Error::Elf("its headers are malformed");
    const CUT: Error = Error::Elf("it is cut short: what its headers speak of is not in the file");
    let malformed = |error| match error {
        ParseError::SliceReadError(_) => CUT,
        ParseError::UnsupportedElfEndianness(_) => Error::Elf("it is not little-endian"),
        _ => MALFORMED,
    };
    let file = ElfBytes::<LittleEndian>::minimal_parse(image).map_err(malformed)?;
    if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_AARCH64 {
        return Err(Error::Elf("it is not for 64-bit AArch64"));
    }
    // Linux's vmlinux is of type ET_DYN.
    if !matches!(file.ehdr.e_type, ET_EXEC | ET_DYN) {
        return Err(Error::Elf("it is not linked"));
    }
    let segments = file.segments().ok_or(MALFORMED)?;
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0);
    let first = loads().min_by_key(|segment| segment.p_paddr).ok_or(Error::Elf("it has no segment to load"))?;
    let header = Header::of(file.segment_data(&first).map_err(malformed)?);
    // From the address in the file to that in the guest, modulo 2^64.
    let shift = header.as_ref().map_or(Ok(0), |header| Ok(header.place(ram)?.wrapping_sub(first.p_paddr)))?;

    let mut pieces = Vec::new();
    let mut taken = Vec::<Range<u64>, PIECES_MAX>::new();
    let mut entry = None;
    for segment in loads() {
        let bytes = file.segment_data(&segment).map_err(malformed)?;
        if bytes.len() as u64 > segment.p_memsz {
            return Err(MALFORMED);
        }
        let memory = within(ram, segment.p_paddr.wrapping_add(shift), segment.p_memsz)?;
        if taken.iter().any(|other| memory.start < other.end && other.start < memory.end) {
            return Err(Error::Elf("its segments overlap"));
        }
        let inside = file.ehdr.e_entry.wrapping_sub(segment.p_vaddr);
        if inside < segment.p_memsz {
            entry = Some(memory.start + inside);
        }
        pieces.push(Piece { address: memory.start, bytes }).map_err(|_| Error::Elf("it has too many segments"))?;
        // As many as pieces.
        let _ = taken.push(memory);
    }
    // The header's size may reach beyond the segments.
    let end = taken.iter().map(|memory| memory.end).max().unwrap_or(ram.start);
    let end = match header {
        Some(header) => end.max(within(ram, first.p_paddr.wrapping_add(shift), header.size)?.end),
        None => end,
    };
    let entry = entry.filter(|entry| entry.is_multiple_of(4)).ok_or(Error::Elf("its entry point is not in it"))?;
    Ok(Loaded { pieces, entry, end })
}

/// What the 64-byte header of an arm64 `Image` says, which is little-endian whatever the kernel is.
struct Header {
    /// Offset from a multiple of 2 MiB.
    text_offset: u64,
    /// Bytes of memory from the image's first on, file and what is 0 behind it; 0 if the header does not say.
    size: u64,
    big_endian: bool,
}

impl Header {
    fn of(image: &[u8]) -> Option<Header> {
        if image.get(56..60)? != b"ARM\x64" {
            return None;
        }
        let word = |at: usize| image.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let (text_offset, size, flags) = (word(8)?, word(16)?, word(24)?);
        // Before Linux 3.17 there was no size, and the offset was not to be relied on.
        let text_offset = if size == 0 { TEXT_OFFSET } else { text_offset };
        Some(Header { text_offset, size, big_endian: flags & 1 != 0 })
    }

    /// Where the image goes: as low as it may.
    fn place(&self, ram: &Range<u64>) -> Result<u64, Error> {
        if self.big_endian {
            return Err(Error::BigEndian);
        }
        align(ram.start, BLOCK).and_then(|base| base.checked_add(self.text_offset)).ok_or(Error::ImageOutsideRam)
    }
}

/// The addresses of `size` bytes from `start` on, if they all are in RAM.
fn within(ram: &Range<u64>, start: u64, size: u64) -> Result<Range<u64>, Error> {
    match start.checked_add(size) {
        Some(end) if start >= ram.start && end <= ram.end => Ok(start..end),
        _ => Err(Error::ImageOutsideRam),
    }
}

/// The next multiple of `unit`.
fn align(address: u64, unit: u64) -> Option<u64> {
    address.checked_next_multiple_of(unit)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::vec::Vec as Bytes;

    const MIB: u64 = 1 << 20;
    const RAM: Range<u64> = 0x4000_0000..0x4000_0000 + 64 * MIB;

    /// An `Image` of `len` bytes with this header.
    fn image(text_offset: u64, size: u64, flags: u64, len: usize) -> Bytes<u8> {
        let mut image = [0, text_offset, size, flags, 0, 0, 0].map(u64::to_le_bytes).concat();
        image.extend(b"ARM\x64\0\0\0\0");
        image.resize(len, 0xaa);
        image
    }

    /// An ELF file with these segments: type, virtual and physical address, bytes, size in memory.
    fn elf(kind: u16, machine: u16, entry: u64, segments: &[(u32, u64, u64, &[u8], u64)]) -> Bytes<u8> {
        let mut file = b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0".to_vec();
        file.extend([kind, machine].iter().flat_map(|half| half.to_le_bytes()));
        file.extend(1u32.to_le_bytes());
        file.extend([entry, 64, 0].iter().flat_map(|word| word.to_le_bytes()));
        file.extend(0u32.to_le_bytes());
        file.extend([64, 56, segments.len() as u16, 64, 0, 0].iter().flat_map(|half| half.to_le_bytes()));
        let mut offset = 64 + 56 * segments.len() as u64;
        for (kind, virtual_address, physical, bytes, memory) in segments {
            let size = bytes.len() as u64;
            file.extend([*kind, 5].iter().flat_map(|word| word.to_le_bytes()));
            let words = [offset, *virtual_address, *physical, size, *memory, 8];
            file.extend(words.iter().flat_map(|word| word.to_le_bytes()));
            offset += size;
        }
        segments.iter().for_each(|segment| file.extend(segment.3));
        file
    }

    fn one_piece<'a>(plan: &Plan<'a>) -> Piece<'a> {
        assert_eq!(plan.pieces.len(), 1);
        plan.pieces[0]
    }

    #[test]
    fn an_image_goes_where_its_header_says() {
        for (text_offset, size, address) in
            [(0, 0x1_0000, RAM.start), (0x8_0000, 0x1_0000, RAM.start + 0x8_0000), (0x1234, 0, RAM.start + 0x8_0000)]
        {
            let image = image(text_offset, size, 0b1010, 0x1000);
            let plan = plan(&image, &RAM, 0x100, 0).unwrap();
            assert_eq!((one_piece(&plan), plan.entry), (Piece { address, bytes: &image }, address));
        }
        let odd = RAM.start + MIB..RAM.end;
        assert_eq!(plan(&image(0, 64, 0, 64), &odd, 0, 0).unwrap().entry, RAM.start + 2 * MIB);
    }

    #[test]
    fn any_other_file_is_code() {
        let code = [0x20, 0, 0x80, 0xd2];
        let plan = plan(&code, &RAM, 0x100, 0).unwrap();
        let address = RAM.start + 0x8_0000;
        assert_eq!((one_piece(&plan), plan.entry), (Piece { address, bytes: &code }, address));
    }

    #[test]
    fn device_tree_and_initramfs_lie_behind() {
        let half = RAM.start + 32 * MIB;
        let small = image(0, 0x1_0000, 0, 64);
        let at = |image: &[u8], dtb, initrd| plan(image, &RAM, dtb, initrd).map(|plan| (plan.initrd, plan.dtb));
        assert_eq!(at(&small, 0x1000, 0), Ok((half, half)));
        assert_eq!(at(&small, 0x1000, 1), Ok((half, half + 2 * MIB)));
        // The image reaches beyond the middle.
        assert_eq!(
            at(&image(0, 40 * MIB + 1, 0, 64), 0x1000, MIB),
            Ok((RAM.start + 40 * MIB + PAGE, RAM.start + 42 * MIB))
        );
        assert_eq!(at(&small, 2 * MIB, 30 * MIB), Ok((half, half + 30 * MIB)));
        assert_eq!(at(&small, 2 * MIB, 30 * MIB + 1), Err(Error::DtbTooLarge));
        assert_eq!(at(&small, 2 * MIB + 1, 0), Err(Error::DtbTooLarge));
        assert_eq!(at(&small, 0, 32 * MIB + 1), Err(Error::InitrdTooLarge));
        assert_eq!(at(&small, 0, u64::MAX), Err(Error::InitrdTooLarge));
        // In a large RAM it stays near.
        let large = RAM.start..RAM.start + 1024 * MIB;
        assert_eq!(plan(&small, &large, 1, 1).unwrap().initrd, RAM.start + 128 * MIB);
    }

    #[test]
    fn images_that_are_refused() {
        let mut zboot = b"MZ\0\0zimg".to_vec();
        zboot.resize(0x1000, 0);
        let refused = |image: &[u8]| plan(image, &RAM, 0, 0).unwrap_err();
        assert_eq!(refused(b""), Error::Empty);
        assert_eq!(refused(&zboot), Error::Compressed);
        assert_eq!(refused(b"\x1f\x8b\x08\0"), Error::Compressed);
        assert_eq!(refused(&image(0, 64, 1, 64)), Error::BigEndian);
        assert_eq!(refused(&image(0, 64 * MIB + 1, 0, 64)), Error::ImageOutsideRam);
        let small = RAM.start..RAM.start + 0x1000;
        assert_eq!(plan(&image(0, 64, 0, 0x1001), &small, 0, 0), Err(Error::ImageOutsideRam), "longer than it says");
        assert_eq!(refused(&image(u64::MAX, 64, 0, 64)), Error::ImageOutsideRam);
        assert_eq!(refused(&image(MIB, u64::MAX, 0, 64)), Error::ImageOutsideRam);
    }

    #[test]
    fn elf_by_physical_addresses() {
        let (text, data) = ([1; 16], [2; 8]);
        let base = RAM.start + MIB;
        let file = elf(
            ET_EXEC,
            EM_AARCH64,
            0xffff_0000_0000_0008,
            &[
                (PT_LOAD, 0xffff_0000_0000_1000, base + 0x1000, &data, 32 * MIB),
                (6, 0, 0, &[], 1),
                (PT_LOAD, 0xffff_0000_0000_0000, base, &text, 16),
            ],
        );
        let plan = plan(&file, &RAM, 1, 1).unwrap();
        assert_eq!(
            plan.pieces,
            [Piece { address: base + 0x1000, bytes: &data }, Piece { address: base, bytes: &text }]
        );
        assert_eq!(
            (plan.entry, plan.initrd),
            (base + 8, base + 0x1000 + 32 * MIB),
            "behind what the segments take in memory"
        );
    }

    #[test]
    fn elf_with_the_header_of_an_image_goes_where_that_may() {
        let text = image(0, 40 * MIB, 0b1010, 128);
        let link = 0xffff_ffc0_8000_0000;
        let file = elf(
            ET_DYN,
            EM_AARCH64,
            link,
            &[(PT_LOAD, link, link, &text, 128), (PT_LOAD, link + 0x1000, link + 0x1000, &[7], 0x1000)],
        );
        let plan = plan(&file, &RAM, 1, 1).unwrap();
        assert_eq!(
            (plan.entry, plan.pieces[0].address, plan.pieces[1].address),
            (RAM.start, RAM.start, RAM.start + 0x1000)
        );
        assert_eq!(plan.initrd, RAM.start + 40 * MIB, "the header's size counts");
    }

    #[test]
    fn elf_that_is_refused() {
        let at = RAM.start;
        let refused = |file: &[u8]| plan(file, &RAM, 0, 0).unwrap_err();
        let with = |segments: &[(u32, u64, u64, &[u8], u64)]| refused(&elf(ET_EXEC, EM_AARCH64, at, segments));
        assert!(matches!(refused(&elf(1, EM_AARCH64, at, &[(PT_LOAD, at, at, &[0], 1)])), Error::Elf(_)), "not linked");
        assert!(matches!(refused(&elf(ET_EXEC, 62, at, &[(PT_LOAD, at, at, &[0], 1)])), Error::Elf(_)), "x86");
        assert!(matches!(with(&[]), Error::Elf(_)), "nothing");
        assert!(matches!(with(&[(PT_LOAD, at + 4, at, &[0], 1)]), Error::Elf(_)), "its entry is elsewhere");
        assert!(
            matches!(refused(&elf(ET_EXEC, EM_AARCH64, at + 2, &[(PT_LOAD, at, at, &[0], 8)])), Error::Elf(_)),
            "odd entry"
        );
        assert!(matches!(with(&[(PT_LOAD, at, at, &[0, 0], 1)]), Error::Elf(_)), "more in the file than in memory");
        assert!(
            matches!(with(&[(PT_LOAD, at, at, &[], 8), (PT_LOAD, at + 4, at + 4, &[], 8)]), Error::Elf(_)),
            "overlap"
        );
        let empty: &[u8] = &[];
        let many: Bytes<_> = (0..17).map(|n| (PT_LOAD, at + 8 * n, at + 8 * n, empty, 8)).collect();
        assert!(
            matches!(with(&many), Error::Elf(_))
                && plan(&elf(ET_EXEC, EM_AARCH64, at, &many[..16]), &RAM, 0, 0).is_ok()
        );
        assert_eq!(with(&[(PT_LOAD, at, RAM.end - 4, &[], 8)]), Error::ImageOutsideRam);
        assert_eq!(with(&[(PT_LOAD, at, at - 4, &[], 8)]), Error::ImageOutsideRam);
        assert_eq!(with(&[(PT_LOAD, at, u64::MAX, &[], 8)]), Error::ImageOutsideRam);
        assert!(matches!(refused(b"\x7fELF"), Error::Elf(why) if why.contains("cut short")), "truncated");
    }

    /// What a plan must never be: parts outside RAM, or on each other.
    fn assert_sound(plan: &Plan<'_>, ram: &Range<u64>, dtb_len: u64, initrd_len: u64) {
        let mut parts: Bytes<(u64, u64)> =
            plan.pieces.iter().map(|piece| (piece.address, piece.bytes.len() as u64)).collect();
        parts.extend([(plan.initrd, initrd_len), (plan.dtb, dtb_len)]);
        parts.retain(|&(_, len)| len > 0);
        parts.sort();
        let mut free = ram.start;
        for (start, len) in parts {
            assert!(start >= free, "{plan:?}");
            free = start + len;
        }
        assert!(
            free <= ram.end && ram.contains(&plan.entry) && plan.entry.is_multiple_of(4) && plan.dtb.is_multiple_of(8)
        );
    }

    proptest! {
        // Most of what they make up is refused.
        #![proptest_config(ProptestConfig::with_cases(3000))]

        #[test]
        fn any_header_is_survived(
            offset in prop_oneof![0..MIB, any::<u64>()], size in prop_oneof![0..70 * MIB, any::<u64>()], flags: u64,
            len in 0_usize..200, start in prop_oneof![0..1_u64 << 40, any::<u64>()], ram_size in 0..128 * MIB,
            dtb in 0..3 * MIB, initrd in 0..70 * MIB,
        ) {
            // An entry point is a multiple of 4 in anything that was built.
            let (file, start) = (image(offset & !3, size, flags, len), start & !0xfff);
            let ram = start..start.saturating_add(ram_size);
            if let Ok(plan) = plan(&file, &ram, dtb, initrd) {
                assert_sound(&plan, &ram, dtb, initrd);
            }
        }

        #[test]
        fn any_elf_is_survived(
            segments in prop::collection::vec((0_u32..3, 0..8_u64, 0..16_u64, 0_usize..9, 0_u64..20), 0..5),
            entry in 0..80_u64, image_header: bool, initrd in 0..MIB,
        ) {
            let contents = image(0, 64, 0, 64);
            let bytes = |len| if image_header { &contents[..] } else { &contents[..len] };
            let at = |unit: u64| RAM.start + 8 * unit;
            let segment = |&(kind, v, p, len, memory)| (kind, at(v), at(p), bytes(len), memory * 8);
            let segments: Bytes<_> = segments.iter().map(segment).collect();
            let file = elf(ET_EXEC, EM_AARCH64, RAM.start + entry, &segments);
            if let Ok(plan) = plan(&file, &RAM, 1, initrd) {
                assert_sound(&plan, &RAM, 1, initrd);
            }
        }

        #[test]
        fn a_damaged_elf_is_survived(
            damage in prop::collection::vec((0_usize..200, any::<u8>()), 1..6), cut in 0_usize..300,
        ) {
            let (first, second) = (RAM.start, RAM.start + 64);
            let segments: [(u32, u64, u64, &[u8], u64); 2] =
                [(PT_LOAD, first, first, &[0; 64], 64), (PT_LOAD, second, second, &[0; 8], 64)];
            let mut file = elf(ET_EXEC, EM_AARCH64, first, &segments);
            for (at, byte) in damage {
                let at = at % file.len();
                file[at] = byte;
            }
            file.truncate(cut.max(4));
            if let Ok(plan) = plan(&file, &RAM, 1, 1) {
                assert_sound(&plan, &RAM, 1, 1);
            }
        }

        #[test]
        fn any_bytes_are_survived(file: Bytes<u8>) {
            if let Ok(plan) = plan(&file, &RAM, 1, 1) {
                assert_sound(&plan, &RAM, 1, 1);
            }
        }
    }
}
