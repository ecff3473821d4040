//! The machine's memory as a file, and the trace in it once the machine has ended, however it ended.

use anyhow::{Context, Result, ensure};
use nix::fcntl::{FcntlArg, FdFlag, fcntl};
use object::read::elf::ElfFile64;
use object::{Object, ObjectSymbol};
use std::fs::{self, File};
use std::os::fd::AsRawFd;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering::Relaxed;
use trap::trace::{Directory, Record, Ring, Way};

/// Where QEMU's `virt` machine has its RAM.
const RAM: u64 = 0x4000_0000;

/// How far into RAM the kernel's image lies, or the hypervisor's (`text_offset` of its header).
const TEXT_OFFSET: u64 = 0x20_0000;

/// What the kernel wrote down, and what its times mean.
#[derive(Clone, Debug, Default)]
pub struct Rings {
    /// Counter ticks a second.
    pub frequency: u64,
    /// As [`Directory::uncounted`].
    pub uncounted: u64,
    /// As [`Directory::entry`].
    pub entry: [u64; Way::COUNT],
    /// As [`Directory::exit`].
    pub exit: [u64; Way::COUNT],
    /// By CPU.
    pub cpus: Vec<Cpu>,
}

/// One CPU's events.
#[derive(Clone, Debug, Default)]
pub struct Cpu {
    /// How many were overwritten by newer ones.
    pub lost: u64,
    /// How many could not be written down, as [`Ring::skipped`].
    pub skipped: u64,
    /// Those that were not, the oldest first.
    pub records: Vec<Record>,
}

/// A machine's memory. Its file has no name, so that nothing is left of it however this process ends.
#[derive(Debug)]
pub struct Memory(File);

impl Memory {
    /// So many MiB of zeroes, which take no room on the disk.
    pub fn new(mib: u32) -> Result<Memory> {
        let file = tempfile::tempfile().context("no temporary file can be made")?;
        file.set_len(u64::from(mib) << 20).context("the temporary file cannot hold the machine's memory")?;
        // QEMU, which this process starts, opens it by its number.
        fcntl(&file, FcntlArg::F_SETFD(FdFlag::empty())).context("the temporary file cannot be shared")?;
        Ok(Memory(file))
    }

    /// The path that processes started by this one have it at.
    pub fn path(&self) -> PathBuf {
        format!("/dev/fd/{}", self.0.as_raw_fd()).into()
    }

    /// The trace in it, where the kernel with the ELF file `kernel` has run.
    pub fn rings(&self, kernel: &Path) -> Result<Rings> {
        self.rings_by(TEXT_OFFSET + image_offset(kernel, "trace_directory")?)
    }

    /// The trace with its directory at `offset`.
    pub(super) fn rings_by(&self, offset: u64) -> Result<Rings> {
        let words = self.words(offset, Directory::WORDS as u64)?;
        let directory = words.first_chunk().and_then(Directory::parse).context(
            "the kernel has set up no trace: it ended before it could, or its memory has no room for the ring (then its \
             log says so: try a smaller --ring, or more --mem)",
        )?;
        let cpus = directory.rings.iter().take_while(|ring| ring.address.load(Relaxed) != 0).enumerate();
        Ok(Rings {
            frequency: directory.frequency.load(Relaxed),
            uncounted: directory.uncounted.load(Relaxed),
            entry: directory.entry.each_ref().map(|word| word.load(Relaxed)),
            exit: directory.exit.each_ref().map(|word| word.load(Relaxed)),
            cpus: cpus
                .map(|(number, ring)| self.ring(ring).with_context(|| format!("the trace of CPU {number} is damaged")))
                .collect::<Result<_>>()?,
        })
    }

    /// So many bytes where an image with the ELF file `image`, loaded at the beginning of RAM, has `symbol`.
    pub fn of_image(&self, image: &Path, symbol: &str, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        let read = self.0.read_exact_at(&mut bytes, TEXT_OFFSET + image_offset(image, symbol)?);
        read.context("the machine's memory cannot be read")?;
        Ok(bytes)
    }

    fn ring(&self, ring: &Ring) -> Result<Cpu> {
        let offset = ring.address.load(Relaxed).checked_sub(RAM).context("its ring is not in RAM")?;
        let storage = self.words(offset, ring.size.load(Relaxed))?;
        let records = ring.records(&storage).collect::<Result<_, _>>()?;
        Ok(Cpu { lost: ring.lost.load(Relaxed), skipped: ring.skipped.load(Relaxed), records })
    }

    /// So many words from `offset` on.
    fn words(&self, offset: u64, count: u64) -> Result<Vec<u64>> {
        let end = count.checked_mul(8).and_then(|bytes| bytes.checked_add(offset));
        let size = self.0.metadata().context("the machine's memory cannot be read")?.len();
        ensure!(end.is_some_and(|end| end <= size), "{count} words at {offset:#x} are not all in RAM");
        let mut bytes = vec![0; count as usize * 8];
        self.0.read_exact_at(&mut bytes, offset).context("the machine's memory cannot be read")?;
        Ok(bytes.as_chunks().0.iter().map(|&word| u64::from_le_bytes(word)).collect())
    }
}

/// How far into an image, which has this ELF file, `name` lies.
fn image_offset(elf: &Path, name: &str) -> Result<u64> {
    let bytes = fs::read(elf).with_context(|| format!("{} cannot be read", elf.display()))?;
    let file = ElfFile64::<object::Endianness>::parse(&*bytes).context("the image is no ELF file")?;
    let symbol = |name| {
        let found = file.symbols().find(|symbol| symbol.name() == Ok(name));
        found.map(|symbol| symbol.address()).with_context(|| format!("the image has no symbol `{name}`"))
    };
    symbol(name)?.checked_sub(symbol("_text")?).context("the image's symbols make no sense")
}
