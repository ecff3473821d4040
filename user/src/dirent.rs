//! Directory entries as `getdents64` packs them.

use core::{ffi::CStr, mem::offset_of};
use linux_raw_sys::general::linux_dirent64;

/// One entry of a directory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    /// Inode number.
    pub inode: u64,
    /// `DT_REG`, `DT_DIR`, ...
    pub kind: u8,
    /// Its name.
    pub name: &'a CStr,
}

/// The entries in `bytes`, the part of a buffer that `getdents64` filled. Ends early at a malformed one.
pub fn entries(mut bytes: &[u8]) -> impl Iterator<Item = Entry<'_>> {
    core::iter::from_fn(move || {
        let length = field(bytes, offset_of!(linux_dirent64, d_reclen)).map(u16::from_ne_bytes)?;
        let (entry, rest) = bytes.split_at_checked(length.into())?;
        bytes = rest;
        Some(Entry {
            inode: field(entry, offset_of!(linux_dirent64, d_ino)).map(u64::from_ne_bytes)?,
            kind: *entry.get(offset_of!(linux_dirent64, d_type))?,
            name: CStr::from_bytes_until_nul(entry.get(offset_of!(linux_dirent64, d_name)..)?).ok()?,
        })
    })
}

/// Calls `each` with every entry of the directory `path`.
///
/// # Errors
/// What opening or reading it fails with.
#[cfg(target_os = "none")]
pub fn list(path: &CStr, mut each: impl FnMut(Entry<'_>)) -> Result<(), crate::Errno> {
    let directory = crate::sys::open(path)?;
    let mut buffer = [0; 1024];
    loop {
        match crate::sys::getdents64(directory, &mut buffer) {
            Ok(used @ 1..) => entries(&buffer[..used]).for_each(&mut each),
            end => return crate::sys::close(directory).and(end.map(drop)),
        }
    }
}

fn field<const N: usize>(entry: &[u8], offset: usize) -> Option<[u8; N]> {
    entry.get(offset..)?.first_chunk().copied()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pack(inode: u64, kind: u8, name: &CStr, out: &mut [u8]) -> usize {
        let length = (offset_of!(linux_dirent64, d_name) + name.count_bytes() + 1).next_multiple_of(8);
        out[..8].copy_from_slice(&inode.to_ne_bytes());
        out[16..18].copy_from_slice(&(length as u16).to_ne_bytes());
        out[18] = kind;
        out[19..][..name.count_bytes()].copy_from_slice(name.to_bytes());
        length
    }

    #[test]
    fn packed_entries_come_back() {
        let mut buffer = [0; 64];
        let first = pack(7, 4, c"..", &mut buffer);
        let used = first + pack(8, 8, c"registers", &mut buffer[first..]);
        let mut found = entries(&buffer[..used]);
        assert_eq!(found.next(), Some(Entry { inode: 7, kind: 4, name: c".." }));
        assert_eq!(found.next(), Some(Entry { inode: 8, kind: 8, name: c"registers" }));
        assert_eq!(found.next(), None);
        // Cut short, or of length zero: an end, not an endless loop.
        assert_eq!(entries(&buffer[..used - 1]).count(), 1);
        assert_eq!(entries(&[0; 32]).count(), 0);
    }
}
