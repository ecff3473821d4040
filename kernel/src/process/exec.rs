//! From an ELF file to a program that can start: its memory, its stack as the ABI lays it out, its registers.

use crate::fs::{self, PathError};
use crate::mm::user::{AddressSpace, Fault, Rights, USER_START};
use crate::mm::{OutOfMemory, PAGE_SIZE, USER_END, heap, page_down, page_up};
use crate::random;
use alloc::vec::Vec;
use core::fmt;
use core::ops::Range;
use elf::ElfBytes;
use elf::abi::{EM_AARCH64, ET_DYN, ET_EXEC, PF_R, PF_W, PF_X, PT_INTERP, PT_LOAD};
use elf::endian::LittleEndian;
use elf::file::Class;
use linux_raw_sys::auxvec::*;
use trap::frame::PtRegs;

/// Bytes of stack a program may use (Linux's default `RLIMIT_STACK`).
pub const STACK_SIZE: usize = 8 << 20;
/// One past the stack. Above it is nothing.
const STACK_TOP: usize = USER_END - PAGE_SIZE;
/// Bytes that arguments and environment may take, pointers included.
pub const ARG_MAX: usize = 128 << 10;
/// Where a position-independent program is put.
const PIE_BASE: usize = 0x20_0000_0000;
/// The program segments end below this.
const IMAGE_END: usize = 0x40_0000_0000;

/// Why a program cannot be started.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error {
    /// There is no such file.
    Path(PathError),
    /// The file is a directory or a device.
    NotAFile,
    /// The file is no static AArch64 ELF program; says what is wrong.
    Format(&'static str),
    /// Arguments and environment are longer than [`ARG_MAX`].
    TooLong,
    /// There is no memory for it.
    OutOfMemory,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Path(PathError::NotFound) => f.write_str("no such file in the initramfs"),
            Error::Path(PathError::NotADirectory) => f.write_str("a part of the path is no directory"),
            Error::Path(PathError::TooLong) => f.write_str("a name in the path is too long"),
            Error::Path(PathError::OutOfMemory) => Error::OutOfMemory.fmt(f),
            Error::NotAFile => f.write_str("not a file"),
            Error::Format(why) => write!(f, "not a program this kernel can run: {why}"),
            Error::TooLong => write!(f, "arguments and environment are over {} KiB", ARG_MAX >> 10),
            Error::OutOfMemory => f.write_str("out of memory"),
        }
    }
}

impl From<OutOfMemory> for Error {
    fn from(_: OutOfMemory) -> Self {
        Error::OutOfMemory
    }
}

impl From<Fault> for Error {
    fn from(fault: Fault) -> Self {
        match fault {
            Fault::OutOfMemory => Error::OutOfMemory,
            Fault::Refused(_) | Fault::Stuck(_) => Error::Format("a segment is not where it says"),
        }
    }
}

/// What the stack tells the program about its image.
struct Image {
    entry: usize,
    program_headers: usize,
    header_size: usize,
    header_count: usize,
    start: usize,
    end: usize,
}

/// A new address space with the program at `path`, and the registers that start it.
pub fn load(path: &str, argv: &[Vec<u8>], envp: &[Vec<u8>]) -> Result<(AddressSpace, PtRegs), Error> {
    let data = match fs::lookup("", path).map_err(Error::Path)? {
        fs::Node::File { data, .. } => data,
        _ => return Err(Error::NotAFile),
    };
    let mut space = AddressSpace::new()?;
    let image = load_image(&mut space, data)?;
    space.set_image(page_down(image.start)..page_up(image.end).ok_or(Error::Format("it ends beyond all addresses"))?);
    let sp = build_stack(&mut space, &image, path, argv, envp)?;
    // EL0t, nothing masked, everything else zero.
    let regs = PtRegs { pc: image.entry as u64, sp: sp as u64, ..PtRegs::ZERO };
    Ok((space, regs))
}

fn load_image(space: &mut AddressSpace, data: &[u8]) -> Result<Image, Error> {
    let malformed = Error::Format("its ELF headers are malformed");
    let file = ElfBytes::<LittleEndian>::minimal_parse(data)
        .map_err(|_| Error::Format("it is not a little-endian ELF file"))?;
    if file.ehdr.class != Class::ELF64 || file.ehdr.e_machine != EM_AARCH64 {
        return Err(Error::Format("it is not for 64-bit AArch64"));
    }
    let base = match file.ehdr.e_type {
        ET_EXEC => 0,
        ET_DYN => PIE_BASE,
        _ => return Err(Error::Format("it is not an executable")),
    };
    let at = |address: u64| usize::try_from(address).ok()?.checked_add(base).filter(|&address| address < IMAGE_END);
    let segments = file.segments().ok_or(malformed)?;
    if segments.iter().any(|segment| segment.p_type == PT_INTERP) {
        return Err(Error::Format("it is dynamically linked (it asks for an interpreter)"));
    }
    let entry = at(file.ehdr.e_entry).ok_or(malformed)?;
    let mut image = Image {
        entry,
        program_headers: 0,
        header_size: file.ehdr.e_phentsize.into(),
        header_count: segments.len(),
        start: usize::MAX,
        end: 0,
    };
    let loads = || segments.iter().filter(|segment| segment.p_type == PT_LOAD && segment.p_memsz > 0);
    for segment in loads() {
        let start = at(segment.p_vaddr).filter(|&start| start >= USER_START).ok_or(malformed)?;
        let end = segment.p_vaddr.checked_add(segment.p_memsz).and_then(at).ok_or(malformed)?;
        let pages = page_down(start)..page_up(end).ok_or(malformed)?;
        if !space.is_free(pages.clone()) {
            return Err(Error::Format("its segments overlap"));
        }
        let has = |flag| segment.p_flags & flag != 0;
        space.map(pages, Rights { read: has(PF_R), write: has(PF_W), execute: has(PF_X) })?;
        image.start = image.start.min(start);
        image.end = image.end.max(end);
        // The program headers, where a segment holds them.
        let headers = file.ehdr.e_phoff;
        if segment.p_offset <= headers && headers < segment.p_offset.saturating_add(segment.p_filesz) {
            image.program_headers = start + (headers - segment.p_offset) as usize;
        }
    }
    if image.end == 0 {
        return Err(Error::Format("it has nothing to load"));
    }
    for segment in loads().filter(|segment| segment.p_filesz > 0) {
        if segment.p_filesz > segment.p_memsz {
            return Err(malformed);
        }
        let content = file.segment_data(&segment).map_err(|_| Error::Format("it is truncated"))?;
        space.write(base + segment.p_vaddr as usize, content)?;
    }
    Ok(image)
}

/// Entries of the auxiliary vector.
const AUXILIARY: usize = 19;

/// Bytes being laid out downwards from the top of a stack.
struct Stack<'a> {
    space: &'a mut AddressSpace,
    sp: usize,
}

impl Stack<'_> {
    fn push(&mut self, bytes: &[u8]) -> Result<usize, Error> {
        self.sp -= bytes.len();
        self.space.write(self.sp, bytes)?;
        Ok(self.sp)
    }

    /// Pushes a NUL-terminated string.
    fn push_string(&mut self, string: &[u8]) -> Result<u64, Error> {
        self.push(&[0])?;
        Ok(self.push(string)? as u64)
    }

    /// Pushes NUL-terminated strings, the first one lowest; gives its address.
    fn push_strings(&mut self, strings: &[Vec<u8>]) -> Result<u64, Error> {
        for string in strings.iter().rev() {
            self.push_string(string)?;
        }
        Ok(self.sp as u64)
    }
}

/// Appends the addresses of strings that follow each other from `address` on, and the 0 that ends such a list, to `words`.
fn list(words: &mut Vec<u64>, mut address: u64, strings: &[Vec<u8>]) {
    for string in strings {
        words.push(address);
        address += string.len() as u64 + 1;
    }
    words.push(0);
}

/// The stack of a new program (AArch64 ELF ABI, "Process initialization"): argc, argv, envp, the auxiliary vector, and
/// above them the strings, in Linux's order, which programs that change their names rely on. Returns SP.
fn build_stack(
    space: &mut AddressSpace,
    image: &Image,
    path: &str,
    argv: &[Vec<u8>],
    envp: &[Vec<u8>],
) -> Result<usize, Error> {
    let strings: usize = argv.iter().chain(envp).map(|string| string.len() + 1 + size_of::<u64>()).sum();
    if strings > ARG_MAX {
        return Err(Error::TooLong);
    }
    let area: Range<usize> = STACK_TOP - STACK_SIZE..STACK_TOP;
    space.map(area.clone(), Rights::READ_WRITE)?;
    space.set_stack(area);
    let mut stack = Stack { space, sp: STACK_TOP };
    stack.push(&[0; 8])?;
    let executable = stack.push_string(path.as_bytes())?;
    let environment = stack.push_strings(envp)?;
    let arguments = stack.push_strings(argv)?;
    let platform = stack.push_string(b"aarch64")?;
    let mut seed = [0; 16];
    random::fill(&mut seed);
    let random = stack.push(&seed)? as u64;
    // argc, two lists with their ends, and the auxiliary vector.
    let mut words = Vec::new();
    heap::grow(&mut words, 1 + argv.len() + 1 + envp.len() + 1 + 2 * AUXILIARY)?;
    words.push(argv.len() as u64);
    list(&mut words, arguments, argv);
    list(&mut words, environment, envp);

    let auxiliary: [_; AUXILIARY] = [
        (AT_PHDR, image.program_headers as u64),
        (AT_PHENT, image.header_size as u64),
        (AT_PHNUM, image.header_count as u64),
        (AT_PAGESZ, PAGE_SIZE as u64),
        (AT_BASE, 0),
        (AT_FLAGS, 0),
        (AT_ENTRY, image.entry as u64),
        (AT_UID, 0),
        (AT_EUID, 0),
        (AT_GID, 0),
        (AT_EGID, 0),
        (AT_SECURE, 0),
        (AT_RANDOM, random),
        (AT_HWCAP, HWCAP_FP | HWCAP_ASIMD | HWCAP_CPUID),
        (AT_HWCAP2, 0),
        (AT_PLATFORM, platform),
        (AT_CLKTCK, 100),
        (AT_EXECFN, executable),
        (AT_NULL, 0),
    ];
    words.extend(auxiliary.iter().flat_map(|&(key, value)| [u64::from(key), value]));
    // SAFETY: the words' own memory, all of it initialised.
    let bytes = unsafe { core::slice::from_raw_parts(words.as_ptr().cast::<u8>(), size_of_val(&words[..])) };
    // SP is 16-byte aligned at the start of a program.
    stack.sp -= (stack.sp - bytes.len()) % 16;
    stack.push(bytes)
}

/// AT_HWCAP: FP and Advanced SIMD, and that ID registers can be read (Linux `asm/hwcap.h`; linux-raw-sys has no constants for them).
const HWCAP_FP: u64 = 1 << 0;
const HWCAP_ASIMD: u64 = 1 << 1;
const HWCAP_CPUID: u64 = 1 << 11;
