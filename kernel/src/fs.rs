//! Files: the initramfs (read-only), the console, and the files of `/proc`; and a task's table of open ones.
//!
//! Paths are absolute or taken from `/`; `.` and `..` are understood, links do not exist.

use crate::mm::{OutOfMemory, heap, phys_to_virt};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::fmt;
use core::sync::atomic::{AtomicUsize, Ordering::Relaxed};
use drivers::dt::Region;
use spin::Once;
use tar_no_std::{CorruptDataError, TarArchiveRef};

/// Descriptors a task can have open.
pub const MAX_FILES: usize = 64;
/// Longest path in bytes (Linux `PATH_MAX`, its NUL included).
pub const PATH_MAX: usize = 4096;

/// What makes a file's text.
pub type Text = fn() -> String;

/// What a path leads to.
#[derive(Clone)]
pub enum Node {
    /// The console: never ends, has no position.
    Console,
    /// A file of the initramfs.
    File {
        /// Its number in the archive.
        index: usize,
        /// Its content.
        data: &'static [u8],
    },
    /// A directory, by its path without slashes at the ends.
    Directory(String),
    /// Text made when it was opened.
    Text(Arc<[u8]>),
}

/// An open file; descriptors made by `fork` share it, and so its position.
pub struct OpenFile {
    /// What is open.
    pub node: Node,
    /// The position in bytes; for a directory in entries.
    pub offset: AtomicUsize,
    /// Whether it was opened for writing.
    pub writable: bool,
    /// Whether it was opened for reading.
    pub readable: bool,
}

/// A task's open files by descriptor.
pub struct Files {
    slots: [Option<Arc<OpenFile>>; MAX_FILES],
    /// Bit n: descriptor n is closed by `execve`.
    close_on_exec: u64,
}

struct Entry {
    name: String,
    data: &'static [u8],
}

/// The files that are made when they are opened, sorted by name.
static PROC: Once<&'static [(&'static str, Text)]> = Once::new();

/// The files of the initramfs, sorted by name.
static INITRAMFS: Once<Vec<Entry>> = Once::new();

/// Why there is no initramfs.
#[derive(Debug)]
pub enum InitramfsError {
    /// The boot loader passed none.
    Missing,
    /// It is not a tar archive, or not a whole one.
    Corrupt(CorruptDataError),
    /// A name in it is no text.
    Name,
    /// There is no memory for its table of contents.
    Memory,
}

impl fmt::Display for InitramfsError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            InitramfsError::Missing => f.write_str("the boot loader passed no initramfs (QEMU: -initrd)"),
            InitramfsError::Corrupt(why) => write!(f, "the initramfs is no whole tar archive: {why}"),
            InitramfsError::Name => f.write_str("the initramfs has a file whose name is not UTF-8"),
            InitramfsError::Memory => f.write_str("no memory for the initramfs's table of contents"),
        }
    }
}

/// Reads the initramfs's table of contents; it stays where the boot loader put it. `proc` are the files that are made when
/// they are opened, sorted by name.
pub fn init(region: Option<Region>, proc: &'static [(&'static str, Text)]) -> Result<(), InitramfsError> {
    PROC.call_once(|| proc);
    let region = region.filter(|region| region.size > 0).ok_or(InitramfsError::Missing)?;
    // SAFETY: the region is RAM that the frame allocator leaves alone, and nobody writes it.
    let archive: &'static [u8] =
        unsafe { core::slice::from_raw_parts(phys_to_virt(region.base), region.size as usize) };
    // The boot loader may round its size up to pages; the archive itself is in blocks.
    let archive = TarArchiveRef::new(archive).map_err(InitramfsError::Corrupt)?;
    let mut entries = Vec::new();
    for entry in archive.entries() {
        let name = entry.filename();
        let name = normal(name.as_str().map_err(|_| InitramfsError::Name)?).map_err(|_| InitramfsError::Memory)?;
        entries.push(Entry { name, data: entry.data() });
    }
    entries.sort_by(|a, b| a.name.cmp(&b.name));
    INITRAMFS.call_once(|| entries);
    Ok(())
}

fn proc() -> &'static [(&'static str, Text)] {
    PROC.get().copied().unwrap_or_default()
}

fn initramfs() -> &'static [Entry] {
    INITRAMFS.get().map_or(&[], Vec::as_slice)
}

/// Longest name of one file in bytes (Linux `NAME_MAX`).
const NAME_MAX: usize = 255;

/// Why a path leads nowhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PathError {
    /// There is no such file.
    NotFound,
    /// A part of it that should be a directory is a file.
    NotADirectory,
    /// One of its names is longer than any can be.
    TooLong,
    /// There is no memory to look.
    OutOfMemory,
}

/// An empty path with room for `path`, taken from `directory`.
fn room_for(directory: &str, path: &str) -> Result<String, OutOfMemory> {
    let mut bytes = Vec::new();
    heap::grow(&mut bytes, directory.len() + 1 + path.len())?;
    Ok(String::from_utf8(bytes).expect("nothing is UTF-8"))
}

/// Goes on from the path `reached` by one name.
fn step(reached: &mut String, name: &str) {
    match name {
        "" | "." => {}
        ".." => reached.truncate(reached.rfind('/').unwrap_or(0)),
        name => {
            if !reached.is_empty() {
                reached.push('/');
            }
            reached.push_str(name);
        }
    }
}

/// `path` from the root, without empty parts, `.` and `..`.
fn normal(path: &str) -> Result<String, OutOfMemory> {
    let mut normal = room_for("", path)?;
    path.split('/').for_each(|name| step(&mut normal, name));
    Ok(normal)
}

/// What `path` leads to, from a directory whose path is normal. Whatever it goes on from must be a directory, also where `..`
/// leaves it again.
pub fn lookup(directory: &str, path: &str) -> Result<Node, PathError> {
    let mut reached = room_for(directory, path).map_err(|OutOfMemory| PathError::OutOfMemory)?;
    reached.push_str(directory);
    for name in path.split('/').filter(|name| !name.is_empty()) {
        check_directory(&reached)?;
        if name.len() > NAME_MAX {
            return Err(PathError::TooLong);
        }
        step(&mut reached, name);
    }
    match file(&reached) {
        Some(file) if !path.ends_with('/') => Ok(file),
        _ => check_directory(&reached).map(|()| Node::Directory(reached)),
    }
}

/// What is called so and is no directory.
fn file(path: &str) -> Option<Node> {
    let files = initramfs();
    if let Ok(index) = files.binary_search_by(|entry| entry.name.as_str().cmp(path)) {
        return Some(Node::File { index, data: files[index].data });
    }
    let made = proc().iter().find(|(name, _)| *name == path);
    made.map(|(_, text)| Node::Text(text().into_bytes().into()))
}

fn check_directory(path: &str) -> Result<(), PathError> {
    if children(path).next().is_some() {
        return Ok(());
    }
    Err(if file(path).is_some() { PathError::NotADirectory } else { PathError::NotFound })
}

/// What is in a directory: names, each once, and whether it is a directory itself.
pub fn children(directory: &str) -> impl Iterator<Item = (&'static str, bool)> + '_ {
    let mut last = None;
    let names = initramfs().iter().map(|entry| entry.name.as_str()).chain(proc().iter().map(|(name, _)| *name));
    names.filter_map(move |name| {
        let below = if directory.is_empty() { name } else { name.strip_prefix(directory)?.strip_prefix('/')? };
        let child = match below.split_once('/') {
            Some((child, _)) => (child, true),
            None => (below, false),
        };
        // Sorted names: the same child comes in a row.
        (last != Some(child)).then(|| *last.insert(child))
    })
}

impl Node {
    /// Bytes in it, where that means something.
    pub fn size(&self) -> usize {
        self.data().map_or(0, <[u8]>::len)
    }

    /// Its content, if it has one.
    pub fn data(&self) -> Option<&[u8]> {
        match self {
            Node::File { data, .. } => Some(data),
            Node::Text(text) => Some(text),
            Node::Console | Node::Directory(_) => None,
        }
    }
}

impl OpenFile {
    /// Opens a node.
    pub fn new(node: Node, readable: bool, writable: bool) -> Result<Arc<Self>, OutOfMemory> {
        heap::reserve()?;
        Ok(Arc::new(OpenFile { node, offset: AtomicUsize::new(0), readable, writable }))
    }

    /// The position.
    pub fn offset(&self) -> usize {
        self.offset.load(Relaxed)
    }
}

impl Files {
    /// No files.
    pub const fn new() -> Self {
        Files { slots: [const { None }; MAX_FILES], close_on_exec: 0 }
    }

    /// Opens the console as descriptors 0, 1 and 2.
    pub fn open_console(&mut self) -> Result<(), OutOfMemory> {
        let console = OpenFile::new(Node::Console, true, true)?;
        self.slots[..3].fill(Some(console));
        Ok(())
    }

    /// The file behind a descriptor.
    pub fn get(&self, descriptor: usize) -> Option<Arc<OpenFile>> {
        self.slots.get(descriptor)?.clone()
    }

    /// Puts a file behind the lowest free descriptor; none when there is no free one.
    pub fn insert(&mut self, file: Arc<OpenFile>, close_on_exec: bool) -> Option<usize> {
        let descriptor = self.slots.iter().position(Option::is_none)?;
        self.slots[descriptor] = Some(file);
        self.close_on_exec &= !(1 << descriptor);
        self.close_on_exec |= u64::from(close_on_exec) << descriptor;
        Some(descriptor)
    }

    /// Closes a descriptor; false when it was not open.
    pub fn close(&mut self, descriptor: usize) -> bool {
        self.slots.get_mut(descriptor).is_some_and(|slot| slot.take().is_some())
    }

    /// Closes what `execve` is to close.
    pub fn close_for_exec(&mut self) {
        for (descriptor, slot) in self.slots.iter_mut().enumerate() {
            if self.close_on_exec >> descriptor & 1 != 0 {
                *slot = None;
            }
        }
        self.close_on_exec = 0;
    }

    /// The table for a forked task: the same open files.
    pub fn duplicate(&self) -> Files {
        Files { slots: self.slots.clone(), close_on_exec: self.close_on_exec }
    }
}
