//! Files: copying without reading, holes, durability, space.

use std::{
    ffi::OsStr,
    fs::File,
    io::{self, Read, Seek, SeekFrom as IoSeek, Write},
    ops::Range,
    os::fd::AsFd,
    path::Path,
};

use rustix::fs::SeekFrom;

/// Makes `to` share the blocks of `from`. `Unsupported` where the file system cannot (most but btrfs, xfs, bcachefs, overlay of these).
pub fn reflink(from: &File, to: &File) -> io::Result<()> {
    use rustix::io::Errno;
    match rustix::fs::ioctl_ficlone(to, from) {
        Err(Errno::OPNOTSUPP | Errno::NOTTY | Errno::INVAL | Errno::XDEV | Errno::NOSYS) => {
            Err(io::ErrorKind::Unsupported.into())
        }
        other => Ok(other?),
    }
}

/// Copies all of `from` to the empty file `to`: shares blocks where it can, and keeps holes. Returns the size.
pub fn copy(from: &mut File, to: &mut File) -> io::Result<u64> {
    let size = from.metadata()?.len();
    if size == 0 {
        return Ok(0);
    }
    if reflink(from, to).is_ok() {
        return Ok(size);
    }
    to.set_len(size)?;
    for range in data_ranges(from)? {
        copy_range(from, to, range)?;
    }
    Ok(size)
}

/// Where `file` has data: ranges of bytes in order. What lies between is holes, that is, zeros.
pub fn data_ranges(file: &File) -> io::Result<Vec<Range<u64>>> {
    let size = file.metadata()?.len();
    let mut ranges = Vec::new();
    let mut at = 0;
    while at < size {
        let start = match rustix::fs::seek(file, SeekFrom::Data(at)) {
            // ENXIO: no data behind `at`.
            Err(rustix::io::Errno::NXIO) => break,
            // A file system that knows no holes.
            Err(rustix::io::Errno::INVAL) if ranges.is_empty() => 0,
            other => other?.min(size),
        };
        let end = match rustix::fs::seek(file, SeekFrom::Hole(start)) {
            Err(rustix::io::Errno::INVAL) => size,
            other => other?.min(size),
        };
        if end <= start {
            break;
        }
        ranges.push(start..end);
        at = end;
    }
    Ok(ranges)
}

/// Copies a range of bytes inside the kernel where it can, else through memory.
fn copy_range(from: &mut File, to: &mut File, range: Range<u64>) -> io::Result<()> {
    use rustix::io::Errno;
    let mut at = range.start;
    while at < range.end {
        let want = usize::try_from(range.end - at).unwrap_or(usize::MAX).min(1 << 30);
        let (mut source_at, mut dest_at) = (at, at);
        match rustix::fs::copy_file_range(&*from, Some(&mut source_at), &*to, Some(&mut dest_at), want) {
            // The file was cut meanwhile: the rest reads as zeros.
            Ok(0) => return Ok(()),
            Ok(copied) => at += copied as u64,
            Err(Errno::INTR) => {}
            Err(Errno::XDEV | Errno::NOSYS | Errno::OPNOTSUPP | Errno::INVAL | Errno::PERM) => {
                return copy_through_memory(from, to, at..range.end);
            }
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

fn copy_through_memory(from: &mut File, to: &mut File, range: Range<u64>) -> io::Result<()> {
    from.seek(IoSeek::Start(range.start))?;
    to.seek(IoSeek::Start(range.start))?;
    let mut left = range.end - range.start;
    let mut buffer = vec![0; 128 << 10];
    while left > 0 {
        let want = buffer.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        let got = from.read(&mut buffer[..want])?;
        if got == 0 {
            break;
        }
        to.write_all(&buffer[..got])?;
        left -= got as u64;
    }
    Ok(())
}

/// Puts all of the file system that holds `file` on disk.
pub fn sync_file_system(file: impl AsFd) -> io::Result<()> {
    Ok(rustix::fs::syncfs(file)?)
}

/// Bytes that are free for us on the file system of `path`, and all bytes that it has.
pub fn space(path: &Path) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::statvfs(path)?;
    Ok((stat.f_bavail.saturating_mul(stat.f_frsize), stat.f_blocks.saturating_mul(stat.f_frsize)))
}

/// The value of extended attribute `name` of an open file; `None` where it has none, or the file system knows none.
pub fn xattr(file: impl AsFd, name: &OsStr) -> io::Result<Option<Vec<u8>>> {
    use rustix::io::Errno;
    let mut value = vec![0; 256];
    loop {
        match rustix::fs::fgetxattr(&file, name, value.as_mut_slice()) {
            Ok(len) => {
                value.truncate(len);
                return Ok(Some(value));
            }
            Err(Errno::RANGE) if value.len() < XATTR_MAX => value.resize(XATTR_MAX, 0),
            Err(Errno::NODATA | Errno::OPNOTSUPP) => return Ok(None),
            Err(error) => return Err(error.into()),
        }
    }
}

/// The most bytes that an extended attribute, or a list of their names, has on Linux (`XATTR_SIZE_MAX`).
const XATTR_MAX: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_copy_keeps_bytes_and_holes() {
        let mut from = tempfile::tempfile().unwrap();
        from.set_len(8 << 20).unwrap();
        from.seek(IoSeek::Start(3 << 20)).unwrap();
        from.write_all(&[7; 4096]).unwrap();
        let mut to = tempfile::tempfile().unwrap();
        assert_eq!(copy(&mut from, &mut to).unwrap(), 8 << 20);
        assert_eq!(data_ranges(&to).unwrap(), data_ranges(&from).unwrap());
        let mut bytes = Vec::new();
        to.seek(IoSeek::Start(0)).unwrap();
        to.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes.len(), 8 << 20);
        assert_eq!(bytes.iter().filter(|&&byte| byte == 7).count(), 4096);
    }

    #[test]
    fn the_way_through_memory_copies_the_same() {
        let mut from = tempfile::tempfile().unwrap();
        from.write_all(&(0..=255).collect::<Vec<u8>>().repeat(1000)).unwrap();
        let mut to = tempfile::tempfile().unwrap();
        copy_through_memory(&mut from, &mut to, 0..256_000).unwrap();
        let mut bytes = Vec::new();
        to.seek(IoSeek::Start(0)).unwrap();
        to.read_to_end(&mut bytes).unwrap();
        assert_eq!(bytes, (0..=255).collect::<Vec<u8>>().repeat(1000));
    }
}
