//! Names for code addresses of the kernel and of the programs, from their ELF files.

use crate::console::{NAME_MAX, Token};
use crate::disassembly::disassemble;
use crate::elf;
use crate::explain::parse_hex;
use crate::images::Images;
use ::hyp::config::OWN_NAME;
use anyhow::{Context, Result, anyhow};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSegment, ObjectSymbol};
use std::collections::BTreeMap;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

/// Where the kernel puts a position-independent program (`kernel/src/process/exec.rs`).
const PIE_BASE: u64 = 0x20_0000_0000;

/// The names in one ELF file.
pub struct Symbols {
    elf: PathBuf,
    loader: addr2line::Loader,
    /// Where it was loaded, less where it was linked to.
    bias: u64,
    /// The stubs of the kernel's trace points, by address, and what is executed in them: the instruction at a trace point.
    stubs: BTreeMap<u64, u64>,
    /// Behind the last stub.
    stubs_end: u64,
    /// What the names of our own source files begin with.
    root: String,
}

impl Symbols {
    /// Opens the ELF file at `elf`, of what runs where it was linked to; file names below `root` are given relative to it.
    pub fn open(elf: &Path, root: &Path) -> Result<Self> {
        let loader =
            addr2line::Loader::new(elf).map_err(|error| anyhow!("no symbols from {}: {error}", elf.display()))?;
        let bytes = fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
        let (stubs, stubs_end) = trace_stubs(&bytes).unwrap_or_default();
        Ok(Symbols { elf: elf.into(), loader, bias: 0, stubs, stubs_end, root: format!("{}/", root.display()) })
    }

    /// Opens the ELF file of a program that the kernel loaded.
    fn open_program(elf: &Path, root: &Path) -> Result<Self> {
        let bytes = fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
        let bias = if elf::is_position_independent(&bytes) { PIE_BASE } else { 0 };
        Ok(Symbols { bias, ..Symbols::open(elf, root)? })
    }

    /// The address of a place like `function+0x34/0x80`, where the second number is the function's size. None where no
    /// function, or more than one, is called so.
    pub fn address_of(&self, place: &str) -> Option<u64> {
        let (function, offsets) = place.split_once("+0x")?;
        let mut offsets = offsets.split(|c: char| c != 'x' && !c.is_ascii_hexdigit()).map(parse_hex);
        let (offset, size) = (offsets.next()?.ok()?, offsets.next().and_then(Result::ok));
        let bytes = fs::read(&self.elf).ok()?;
        let file = ElfFile64::<object::Endianness>::parse(&*bytes).ok()?;
        let is_it = |name: &str| name == function || format!("{:#}", rustc_demangle::demangle(name)) == function;
        let named = file.symbols().filter(|symbol| symbol.is_definition() && symbol.name().is_ok_and(is_it));
        let mut addresses: Vec<_> = named
            .filter(|symbol| size.is_none_or(|size| symbol.size() == size))
            .map(|symbol| symbol.address())
            .collect();
        addresses.dedup();
        // Of two functions with one name it may be either.
        let [address] = addresses[..] else { return None };
        address.wrapping_add(self.bias).checked_add(offset)
    }

    /// `address` in words: `ffffffc080001234 function+0x34 (kernel/src/main.rs:12)`, as much of it as is known.
    pub fn describe(&self, address: u64) -> String {
        let mut text = format!("{address:016x}");
        let address = self.site(address.wrapping_sub(self.bias));
        // What the linker left out is at address 0 for the line table, but has no symbol.
        let Some(symbol) = self.loader.find_symbol_info(address) else { return text };
        // `#` leaves out the hash.
        let name = rustc_demangle::demangle(symbol.name());
        let _ = write!(text, " {name:#}+{:#x}", address - symbol.address());
        if let Some((file, line)) = self.line_of(address) {
            let _ = match line {
                Some(line) => write!(text, " ({file}:{line})"),
                None => write!(text, " ({file})"),
            };
        }
        text
    }

    /// The trace point whose stub `address` is in; else `address`.
    fn site(&self, address: u64) -> u64 {
        let stub = self.stubs.range(..=address).next_back().filter(|_| address < self.stubs_end);
        stub.map_or(address, |(_, &site)| site)
    }

    /// The source line of `address`: where others' code is inlined into ours, the line of ours.
    fn line_of(&self, address: u64) -> Option<(String, Option<u32>)> {
        let mut frames = self.loader.find_frames(address).ok()?;
        let mut innermost = None;
        while let Ok(Some(frame)) = frames.next() {
            let Some((file, line)) = frame.location.and_then(|location| Some((location.file?, location.line))) else {
                continue;
            };
            if let Some(ours) = file.strip_prefix(&self.root) {
                return Some((ours.into(), line));
            }
            // The standard library's own, `core/src/ptr/mod.rs`, and another crate's, `spin-0.12.3/src/mutex.rs`.
            let library = file.strip_prefix("/rustc/").and_then(|file| file.split_once("/library/"));
            let package = file.split_once("/registry/src/").and_then(|(_, file)| file.split_once('/'));
            innermost.get_or_insert((library.or(package).map_or(file, |(_, file)| file).into(), line));
        }
        innermost
    }
}

/// The stubs of a kernel's trace points (`kernel/src/site.rs`), with their sites, and where they end; none in another program.
fn trace_stubs(elf: &[u8]) -> Option<(BTreeMap<u64, u64>, u64)> {
    let file = ElfFile64::<object::Endianness>::parse(elf).ok()?;
    let symbol = |name| file.symbols().find(|symbol| symbol.name() == Ok(name)).map(|symbol| symbol.address());
    let (start, end) = (symbol("_trace_sites")?, symbol("_trace_sites_end")?);
    let table = file.segments().find_map(|segment| segment.data_range(start, end - start).ok().flatten())?;
    let words = table.as_chunks().0.iter().map(|&word| i64::from(i32::from_le_bytes(word)));
    // Each is relative to its own place.
    let targets: Vec<_> =
        (start..).step_by(4).zip(words).map(|(place, offset)| place.wrapping_add_signed(offset)).collect();
    let stubs = targets.as_chunks().0.iter().map(|&[site, stub]| (stub, site)).collect();
    Some((stubs, symbol("_trace_stubs_end")?))
}

/// The ELF files of one kernel or hypervisor, and of what runs on it.
#[derive(Clone, Debug, Default)]
pub struct Files {
    /// Its own; none where it has no symbols.
    kernel: Option<PathBuf>,
    /// By task's name.
    programs: BTreeMap<String, PathBuf>,
}

impl Files {
    /// That of a kernel alone.
    pub fn of_kernel(elf: &Path) -> Files {
        Files { kernel: Some(elf.into()), programs: BTreeMap::new() }
    }

    /// Those of our kernel and its programs, and a program of the host if it runs one.
    pub fn new(images: &Images, host: Option<&Path>) -> Files {
        let host = host.and_then(|path| Some((path.file_name()?.to_str()?.to_string(), path.to_path_buf())));
        let programs = images.programs.clone().into_iter().chain(host);
        let programs = programs.map(|(name, path)| (task_name(&name).to_string(), path)).collect();
        Files { kernel: Some(images.elf.clone()), programs }
    }
}

/// The names in all ELF files that a machine runs. A file is opened when the console first speaks of it.
pub struct Names {
    root: PathBuf,
    machine: Files,
    /// By guest's name.
    guests: BTreeMap<String, Files>,
    /// None for a file that has no symbols.
    open: BTreeMap<PathBuf, Option<Symbols>>,
}

impl Names {
    /// Those of a machine that boots `images`, and of a program of the host if it runs one.
    pub fn new(images: &Images, host: Option<&Path>) -> Names {
        Names {
            root: images.root.clone(),
            machine: Files::new(images, host),
            guests: BTreeMap::new(),
            open: BTreeMap::new(),
        }
    }

    /// Those of a machine that boots the hypervisor with the ELF file `elf`, with guests.
    pub fn with_guests(root: &Path, elf: &Path, guests: BTreeMap<String, Files>) -> Names {
        Names { root: root.into(), machine: Files::of_kernel(elf), guests, open: BTreeMap::new() }
    }

    /// The guests there are.
    pub fn guests(&self) -> Vec<String> {
        self.guests.keys().cloned().collect()
    }

    /// On a machine with guests, the guest or the hypervisor that is called so.
    fn system(&self, name: &str) -> Option<&Files> {
        let hypervisor = (name == OWN_NAME && !self.guests.is_empty()).then_some(&self.machine);
        hypervisor.or_else(|| self.guests.get(name))
    }

    /// Whether an unmarked token is the machine's own: the hypervisor has no programs, and no addresses in the upper half.
    fn is_own(&self, token: Token<'_>) -> bool {
        self.guests.is_empty()
            || match token {
                Token::Kernel(address) => address >> 63 == 0,
                Token::Program(name, _) => self.system(name).is_some(),
                Token::Instruction(_) => true,
            }
    }

    /// A token in words, of the machine itself or of what `guest` prints. On a machine with guests a token of its own with a
    /// name is of the guest that is called so, or of the hypervisor.
    pub fn describe(&mut self, guest: Option<&str>, token: Token<'_>) -> String {
        let files = match guest {
            Some(guest) => self.guests.get(guest),
            None if self.is_own(token) => Some(&self.machine),
            // The guest with the keyboard writes as if it were alone; whose it is, is known where there is one only.
            None => self.guests.values().next().filter(|_| self.guests.len() == 1),
        };
        let (address, file, open): (_, _, fn(&Path, &Path) -> _) = match token {
            Token::Instruction(word) => return instruction(word),
            Token::Kernel(address) => (address, files.and_then(|files| files.kernel.as_ref()), Symbols::open),
            Token::Program(name, address) => match self.system(name).filter(|_| guest.is_none()) {
                Some(system) => (address, system.kernel.as_ref(), Symbols::open),
                None => (address, files.and_then(|files| files.programs.get(name)), Symbols::open_program),
            },
        };
        let Some(file) = file.cloned() else { return format!("{address:016x}") };
        if !self.open.contains_key(&file) {
            let symbols = open(&file, &self.root).ok();
            self.open.insert(file.clone(), symbols);
        }
        match &self.open[&file] {
            Some(symbols) => symbols.describe(address),
            None => format!("{address:016x}"),
        }
    }
}

/// An instruction as [`Names::describe`] tells it: `d65f03c0 ret`.
pub fn instruction(word: u32) -> String {
    format!("{word:08x} {}", disassemble(word))
}

/// The name the kernel gives a task that runs the program `name`: what of it fits, by whole characters.
fn task_name(name: &str) -> &str {
    &name[..name.floor_char_boundary(NAME_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whose_an_unmarked_token_is() {
        let names = |guests: &[&str]| {
            let guests = guests.iter().map(|name| (name.to_string(), Files::default())).collect();
            Names::with_guests(Path::new("/"), Path::new("hyp"), guests)
        };
        let kernel = Token::Kernel(0xffff_ffc0_8000_0000);
        assert!(names(&[]).is_own(kernel));
        for (token, own) in [
            (kernel, false),
            (Token::Kernel(0x4020_0000), true),
            (Token::Program("left", 0x4000_0000), true),
            (Token::Program(OWN_NAME, 0x4020_0000), true),
            (Token::Program("crash", 0x40_0000), false),
        ] {
            assert_eq!(names(&["left"]).is_own(token), own);
        }
    }

    #[test]
    fn names_as_tasks_have_them() {
        assert_eq!(task_name("crash"), "crash");
        assert_eq!(task_name("a-program-of-the-host"), "a-program-of-the");
        assert_eq!(task_name("fifteen bytes..é"), "fifteen bytes..");
    }

    #[test]
    fn what_has_no_symbols_is_told_as_it_is() {
        let images = Images {
            root: "/nowhere".into(),
            ktest: false,
            elf: "/nowhere/kernel".into(),
            image: "/nowhere/Image".into(),
            programs: [("crash".to_string(), "/nowhere/crash".into())].into(),
            initramfs: "/nowhere/initramfs".into(),
        };
        let mut names = Names::new(&images, Some(Path::new("/nowhere/a-program-of-the-host")));
        assert!(names.machine.programs.contains_key("a-program-of-the"));
        assert_eq!(names.describe(None, Token::Kernel(0x1234)), "0000000000001234");
        assert_eq!(names.describe(None, Token::Kernel(!0xf)), "fffffffffffffff0");
        assert_eq!(names.describe(None, Token::Program("crash", 0x1234)), "0000000000001234");
        assert_eq!(names.describe(None, Token::Program("other", 0x1234)), "0000000000001234");
        assert_eq!(names.describe(None, Token::Instruction(0xd65f_03c0)), "d65f03c0 ret");
        assert_eq!(names.open.len(), 2, "a file is tried once, and only when it is spoken of");
    }

    /// This test's own executable stands in for a guest's kernel; nothing else has symbols.
    #[test]
    fn what_a_guest_prints_is_named_by_its_own_file() {
        let path = std::env::current_exe().unwrap();
        let address = Symbols::open(&path, Path::new("/nowhere")).unwrap().address_of("main+0x4 [module]").unwrap();
        let guests = [("has".to_string(), Files::of_kernel(&path)), ("has not".to_string(), Files::default())].into();
        let mut names = Names::with_guests(Path::new("/nowhere"), Path::new("/nowhere/hyp"), guests);
        assert_eq!(names.guests(), ["has", "has not"]);
        let bare = format!("{address:016x}");
        let mut named = |guest, token| names.describe(guest, token) == format!("{bare} main+0x4");
        assert!(named(Some("has"), Token::Kernel(address)));
        assert!(named(None, Token::Program("has", address)));
        for (guest, token) in [
            (None, Token::Kernel(address)),
            (Some("has not"), Token::Kernel(address)),
            (Some("has not"), Token::Program("has", address)),
            (Some("has"), Token::Program("has", address)),
            (Some("none"), Token::Kernel(address)),
            (None, Token::Program("none", address)),
        ] {
            assert_eq!(names.describe(guest, token), bare, "{guest:?} {token:?}");
        }
    }

    /// This test's own executable stands in for a program: it has symbols, and it is position-independent.
    #[test]
    fn a_program_is_named_where_it_was_loaded() {
        let path = std::env::current_exe().unwrap();
        let symbols = Symbols::open(&path, Path::new("/nowhere")).unwrap();
        let loaded = Symbols::open_program(&path, Path::new("/nowhere")).unwrap();
        let address = loaded.address_of("main+0x4 [module]").unwrap();
        let (here, there) = (symbols.describe(address - PIE_BASE), loaded.describe(address));
        assert_eq!(there, format!("{address:016x} {}", here.split_once(' ').unwrap().1));
        assert!(there.contains(" main+0x4"), "{there}");
        assert_eq!(symbols.address_of("main+0x4/0xfffff"), None, "no function of that size");
        assert_eq!(symbols.address_of("main"), None);
    }
}
