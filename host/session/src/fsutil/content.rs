//! A file's content as it comes: for a new file, or compared with what is there.

use std::{
    fs::File,
    io::{self, Read, Seek, Write},
    os::fd::OwnedFd,
    sync::Arc,
};

use rustix::fs::{Mode, OFlags};

use super::{apply::remove, open_beneath};

/// The name that a file is to have, in the directory that it is to be in.
pub(super) struct Place {
    pub dir: Arc<OwnedFd>,
    pub name: String,
}

impl Place {
    /// Creates the file, empty. What had its name is gone then.
    fn create(&self) -> io::Result<File> {
        let flags = OFlags::WRONLY | OFlags::CREATE | OFlags::EXCL | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        let create = || rustix::fs::openat(&self.dir, &self.name, flags, Mode::RUSR | Mode::WUSR);
        let created = match create() {
            // A new file, for the old one may have other names.
            Err(rustix::io::Errno::EXIST) => {
                remove(&self.dir, self.name.as_str())?;
                create()
            }
            other => other,
        };
        Ok(created?.into())
    }
}

/// Where a file's content goes.
pub(super) enum Content {
    /// Into this file.
    New(File),
    /// What came so far is what this file begins with, which stays if that holds to its end.
    Old(File, Place),
}

impl Content {
    /// For a new file.
    pub(super) fn new(place: &Place) -> io::Result<Content> {
        place.create().map(Content::New)
    }

    /// To be compared with the file that is there.
    pub(super) fn compared(place: Place) -> io::Result<Content> {
        let old = open_beneath(&place.dir, &place.name, OFlags::RDONLY)?;
        Ok(Content::Old(old.into(), place))
    }
}

impl Write for Content {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        if let Content::Old(old, place) = self {
            let equal = old.stream_position()?;
            let mut known = Vec::with_capacity(data.len());
            (&*old).take(data.len() as u64).read_to_end(&mut known)?;
            if known == data {
                return Ok(data.len());
            }
            old.rewind()?;
            // The old file is open, so that it is there to be read from although its name goes to the new one.
            let mut new = place.create()?;
            io::copy(&mut (&*old).take(equal), &mut new)?;
            *self = Content::New(new);
        }
        match self {
            Content::New(file) => file.write(data),
            Content::Old(..) => unreachable!("it was replaced"),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        match self {
            Content::New(file) => file.flush(),
            Content::Old(..) => Ok(()),
        }
    }
}
