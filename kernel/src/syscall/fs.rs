//! Files: the read-only initramfs and the console.

use super::{Errno, Result};
use crate::fs::{self, MAX_FILES, Node, OpenFile, PATH_MAX, PathError};
use crate::mm::heap;
use crate::sched::current;
use crate::uaccess::{self, copy_to_user};
use crate::{console, irq};
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec::Vec;
use core::sync::atomic::Ordering::Relaxed;
use linux_raw_sys::general::*;
use trap::frame::PtRegs;

/// Most bytes one read or write moves (Linux `MAX_RW_COUNT`).
pub(super) const MAX_RW: usize = 0x7fff_f000;
/// Most parts of one `writev` (Linux `UIO_MAXIOV`).
const MAX_PARTS: usize = 1024;
/// Bytes that go between user memory and the console at a time.
const CHUNK: usize = 256;
/// Bytes of a `linux_dirent64` before the name.
const DIRENT_HEADER: usize = 19;

impl From<PathError> for Errno {
    fn from(why: PathError) -> Self {
        match why {
            PathError::NotFound => Errno::ENOENT,
            PathError::NotADirectory => Errno::ENOTDIR,
            PathError::TooLong => Errno::ENAMETOOLONG,
            PathError::OutOfMemory => Errno::ENOMEM,
        }
    }
}

fn open_file(descriptor: u64) -> Result<Arc<OpenFile>> {
    current().files.lock().get(descriptor as u32 as usize).ok_or(Errno::EBADF)
}

/// A path argument.
pub(super) fn read_path(address: u64) -> Result<String> {
    let mut bytes = Vec::new();
    uaccess::strncpy_from_user(&mut bytes, address as usize, PATH_MAX).map_err(|why| why.errno(Errno::ENAMETOOLONG))?;
    // A name that is no text is no name here.
    let path = String::from_utf8(bytes).map_err(|_| Errno::ENOENT)?;
    if path.is_empty() { Err(Errno::ENOENT) } else { Ok(path) }
}

/// What a path relative to a directory descriptor leads to.
fn resolve(directory: u64, path: &str) -> Result<Node> {
    heap::reserve()?;
    if path.starts_with('/') || directory as i32 == AT_FDCWD {
        return Ok(fs::lookup("", path)?);
    }
    match &open_file(directory)?.node {
        Node::Directory(base) => Ok(fs::lookup(base, path)?),
        _ => Err(Errno::ENOTDIR),
    }
}

/// openat(directory, path, flags, mode)
pub fn openat(regs: &mut PtRegs) -> Result {
    let [directory, path, flags, ..] = regs.regs;
    let mut flags = flags as u32;
    if flags & O_PATH != 0 {
        flags &= O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;
    }
    // A directory is never made by opening it.
    if flags & (O_DIRECTORY | O_CREAT) == O_DIRECTORY | O_CREAT {
        return Err(Errno::EINVAL);
    }
    let writable = flags & O_ACCMODE != O_RDONLY;
    let node = match resolve(directory, &read_path(path)?) {
        Err(Errno::ENOENT) if flags & O_CREAT != 0 => return Err(Errno::EROFS),
        node => node?,
    };
    match &node {
        _ if flags & (O_CREAT | O_EXCL) == O_CREAT | O_EXCL => return Err(Errno::EEXIST),
        Node::Directory(_) if writable => return Err(Errno::EISDIR),
        Node::File { .. } | Node::Text(_) if flags & O_DIRECTORY != 0 => return Err(Errno::ENOTDIR),
        Node::File { .. } | Node::Text(_) if writable || flags & O_TRUNC != 0 => return Err(Errno::EROFS),
        _ => {}
    }
    let file = OpenFile::new(node, flags & O_PATH == 0, writable)?;
    current().files.lock().insert(file, flags & O_CLOEXEC != 0).ok_or(Errno::EMFILE)
}

/// close(descriptor)
pub fn close(regs: &mut PtRegs) -> Result {
    let descriptor = regs.regs[0] as u32 as usize;
    if current().files.lock().close(descriptor) { Ok(0) } else { Err(Errno::EBADF) }
}

/// A buffer that is not all user addresses is refused whole, before anything is moved.
pub(super) fn check_user(address: u64, length: u64) -> Result<()> {
    if uaccess::is_user(address as usize, length as usize) { Ok(()) } else { Err(Errno::EFAULT) }
}

/// read(descriptor, buffer, length)
pub fn read(regs: &mut PtRegs) -> Result {
    let [descriptor, buffer, length, ..] = regs.regs;
    let file = open_file(descriptor)?;
    if !file.readable {
        return Err(Errno::EBADF);
    }
    check_user(buffer, length)?;
    let (buffer, length) = (buffer as usize, (length as usize).min(MAX_RW));
    match &file.node {
        Node::Directory(_) => Err(Errno::EISDIR),
        Node::Console => read_console(buffer, length),
        node => {
            let data = node.data().unwrap_or_default();
            let offset = file.offset().min(data.len());
            let part = &data[offset..data.len().min(offset.saturating_add(length))];
            let copied = copied(part.len(), copy_to_user(buffer, part))?;
            file.offset.store(offset + copied, Relaxed);
            Ok(copied)
        }
    }
}

/// How much of `length` bytes a copy moved; an error only when it moved none.
fn copied(length: usize, result: core::result::Result<(), uaccess::Fault>) -> Result {
    match result {
        Ok(()) => Ok(length),
        Err(fault) if fault.left < length => Ok(length - fault.left),
        Err(_) => Err(Errno::EFAULT),
    }
}

/// Waits for input, then takes what there is.
fn read_console(buffer: usize, length: usize) -> Result {
    if length == 0 {
        return Ok(0);
    }
    loop {
        let mut chunk = [0; CHUNK];
        let count = console::read(&mut chunk[..length.min(CHUNK)]);
        if count > 0 {
            return copied(count, copy_to_user(buffer, &chunk[..count]));
        }
        if !irq::wait_for_input() {
            return Err(Errno::EINTR);
        }
    }
}

/// write(descriptor, buffer, length)
pub fn write(regs: &mut PtRegs) -> Result {
    let [descriptor, buffer, length, ..] = regs.regs;
    writable_file(descriptor)?;
    check_user(buffer, length)?;
    write_console(buffer as usize, (length as usize).min(MAX_RW))
}

fn writable_file(descriptor: u64) -> Result<Arc<OpenFile>> {
    open_file(descriptor).and_then(|file| if file.writable { Ok(file) } else { Err(Errno::EBADF) })
}

/// Only the console can be open for writing.
fn write_console(buffer: usize, length: usize) -> Result {
    let mut done = 0;
    while done < length {
        let mut chunk = [0; CHUNK];
        let chunk = &mut chunk[..CHUNK.min(length - done)];
        let result = uaccess::copy_from_user(chunk, buffer.wrapping_add(done));
        let count = match copied(chunk.len(), result) {
            Ok(count) => count,
            Err(_) if done > 0 => return Ok(done),
            Err(errno) => return Err(errno),
        };
        console::write(&chunk[..count]);
        done += count;
        if result.is_err() || current().is_interrupted() {
            break;
        }
    }
    Ok(done)
}

/// writev(descriptor, parts, count)
pub fn writev(regs: &mut PtRegs) -> Result {
    let [descriptor, parts, count, ..] = regs.regs;
    writable_file(descriptor)?;
    let count = u64::from(count as u32);
    if count as usize > MAX_PARTS {
        return Err(Errno::EINVAL);
    }
    // As on Linux: all lengths are looked at first, then all addresses, before anything is written.
    for index in 0..count {
        let [_, length] = read_part(parts, index)?;
        isize::try_from(length).map_err(|_| Errno::EINVAL)?;
    }
    for index in 0..count {
        let [base, length] = read_part(parts, index)?;
        check_user(base, length)?;
    }
    let mut done = 0;
    for index in 0..count {
        let [base, length] = read_part(parts, index)?;
        let length = (length as usize).min(MAX_RW - done);
        match write_console(base as usize, length) {
            Ok(count) => {
                done += count;
                if count < length {
                    break;
                }
            }
            Err(_) if done > 0 => break,
            Err(errno) => return Err(errno),
        }
    }
    Ok(done)
}

/// One `struct iovec`: base and length.
fn read_part(parts: u64, index: u64) -> Result<[u64; 2]> {
    Ok(uaccess::get_user((parts as usize).wrapping_add(index as usize * size_of::<[u64; 2]>()))?)
}

/// lseek(descriptor, offset, whence)
pub fn lseek(regs: &mut PtRegs) -> Result {
    let [descriptor, offset, whence, ..] = regs.regs;
    let file = open_file(descriptor)?;
    let base = match (&file.node, whence as u32) {
        (Node::Console, _) => return Err(Errno::ESPIPE),
        (_, SEEK_SET) => 0,
        (_, SEEK_CUR) => file.offset(),
        (_, SEEK_END) => file.node.size(),
        // No file has holes: all is data, up to the one behind its end.
        (Node::File { .. } | Node::Text(_), SEEK_DATA | SEEK_HOLE) => {
            let offset =
                usize::try_from(offset).ok().filter(|&offset| offset < file.node.size()).ok_or(Errno::ENXIO)?;
            let target = if whence as u32 == SEEK_DATA { offset } else { file.node.size() };
            file.offset.store(target, Relaxed);
            return Ok(target);
        }
        _ => return Err(Errno::EINVAL),
    };
    let target = base.checked_add_signed(offset as isize).filter(|&target| target <= isize::MAX as usize);
    let target = target.ok_or(Errno::EINVAL)?;
    file.offset.store(target, Relaxed);
    Ok(target)
}

/// getdents64(descriptor, buffer, length)
pub fn getdents64(regs: &mut PtRegs) -> Result {
    let [descriptor, buffer, length, ..] = regs.regs;
    let file = open_file(descriptor)?;
    let Node::Directory(path) = &file.node else { return Err(Errno::ENOTDIR) };
    let length = (length as i32).max(0) as usize;
    let mut done = 0;
    let names = [(".", true), ("..", true)].into_iter().chain(fs::children(path));
    for (index, (name, is_directory)) in names.enumerate().skip(file.offset()) {
        // ino, off, reclen, type, then the name with its NUL, in whole words.
        let size = (DIRENT_HEADER + name.len() + 1).next_multiple_of(8);
        if done + size > length {
            if done == 0 {
                return Err(Errno::EINVAL);
            }
            break;
        }
        let mut record = Vec::with_capacity(size);
        record.extend_from_slice(&(index as u64 + 1).to_le_bytes());
        record.extend_from_slice(&(index as u64 + 1).to_le_bytes());
        record.extend_from_slice(&(size as u16).to_le_bytes());
        record.push(if is_directory { DT_DIR } else { DT_REG } as u8);
        record.extend_from_slice(name.as_bytes());
        record.resize(size, 0);
        match copy_to_user((buffer as usize).wrapping_add(done), &record) {
            Err(_) if done == 0 => return Err(Errno::EFAULT),
            Err(_) => break,
            Ok(()) => {}
        }
        done += size;
        file.offset.store(index + 1, Relaxed);
    }
    Ok(done)
}

/// `struct stat` of a node, in words.
fn put_stat(address: u64, node: &Node) -> Result {
    let (mode, inode, device) = match node {
        Node::Console => (S_IFCHR | 0o600, 1, 5 << 8 | 1),
        Node::Directory(_) => (S_IFDIR | 0o555, 2, 0),
        Node::Text(_) => (S_IFREG | 0o444, 3, 0),
        Node::File { index, .. } => (S_IFREG | 0o555, 16 + *index as u64, 0),
    };
    let size = node.size() as u64;
    let mut words = [0u64; size_of::<stat>() / size_of::<u64>()];
    words[core::mem::offset_of!(stat, st_ino) / 8] = inode;
    // st_mode and st_nlink share a word.
    words[core::mem::offset_of!(stat, st_mode) / 8] = u64::from(mode) | 1 << 32;
    words[core::mem::offset_of!(stat, st_rdev) / 8] = device;
    words[core::mem::offset_of!(stat, st_size) / 8] = size;
    words[core::mem::offset_of!(stat, st_blksize) / 8] = crate::mm::PAGE_SIZE as u64;
    words[core::mem::offset_of!(stat, st_blocks) / 8] = size.next_multiple_of(crate::mm::PAGE_SIZE as u64) / 512;
    uaccess::put_user(address as usize, words)?;
    Ok(0)
}

/// fstat(descriptor, stat)
pub fn fstat(regs: &mut PtRegs) -> Result {
    let [descriptor, stat, ..] = regs.regs;
    put_stat(stat, &open_file(descriptor)?.node)
}

/// newfstatat(directory, path, stat, flags)
pub fn newfstatat(regs: &mut PtRegs) -> Result {
    let [directory, path, stat, flags, ..] = regs.regs;
    let flags = flags as u32;
    if flags & !(AT_SYMLINK_NOFOLLOW | AT_NO_AUTOMOUNT | AT_EMPTY_PATH | AT_STATX_SYNC_TYPE) != 0 {
        return Err(Errno::EINVAL);
    }
    if flags & AT_EMPTY_PATH != 0 && uaccess::get_user::<u8>(path as usize)? == 0 {
        return match directory as i32 {
            AT_FDCWD => put_stat(stat, &Node::Directory(String::new())),
            _ => put_stat(stat, &open_file(directory)?.node),
        };
    }
    put_stat(stat, &resolve(directory, &read_path(path)?)?)
}

/// readlinkat(directory, path, buffer, length): there are no links.
pub fn readlinkat(regs: &mut PtRegs) -> Result {
    let [directory, path, _, length, ..] = regs.regs;
    if length as i32 <= 0 {
        return Err(Errno::EINVAL);
    }
    resolve(directory, &read_path(path)?)?;
    Err(Errno::EINVAL)
}

/// ioctl(descriptor, request, argument): nothing here is a terminal.
pub fn ioctl(regs: &mut PtRegs) -> Result {
    open_file(regs.regs[0])?;
    Err(Errno::ENOTTY)
}

/// Soft and hard limit of open files.
pub const FILE_LIMIT: u64 = MAX_FILES as u64;
