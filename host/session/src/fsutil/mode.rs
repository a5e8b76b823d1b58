//! File modes on the wire are those of Go's `os.FileMode`: permissions as in Unix, types and special bits at the top.

use rustix::fs::{FileType, Mode, RawMode};

const DIR: u32 = 1 << 31;
const SYMLINK: u32 = 1 << 27;
const DEVICE: u32 = 1 << 26;
const NAMED_PIPE: u32 = 1 << 25;
const SETUID: u32 = 1 << 23;
const SETGID: u32 = 1 << 22;
const CHAR_DEVICE: u32 = 1 << 21;
const STICKY: u32 = 1 << 20;
/// All bits that say what kind of file it is; sockets and irregular files included.
const TYPE: u32 = DIR | SYMLINK | DEVICE | NAMED_PIPE | CHAR_DEVICE | 1 << 24 | 1 << 19;

/// What a STAT describes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Kind {
    Regular,
    Directory,
    Symlink,
    Fifo,
    CharDevice,
    BlockDevice,
    Unknown,
}

/// The kind that the wire mode `mode` stands for.
pub(super) fn kind(mode: u32) -> Kind {
    match mode & TYPE {
        0 => Kind::Regular,
        DIR => Kind::Directory,
        SYMLINK => Kind::Symlink,
        NAMED_PIPE => Kind::Fifo,
        DEVICE => Kind::BlockDevice,
        m if m == DEVICE | CHAR_DEVICE => Kind::CharDevice,
        _ => Kind::Unknown,
    }
}

/// The wire mode of a file with the Unix mode `raw`. A socket is sent as an empty regular file, as BuildKit does, since no archive
/// can hold one.
pub(super) fn to_wire(raw: RawMode) -> u32 {
    let kind = match FileType::from_raw_mode(raw) {
        FileType::Directory => DIR,
        FileType::Symlink => SYMLINK,
        FileType::Fifo => NAMED_PIPE,
        FileType::BlockDevice => DEVICE,
        FileType::CharacterDevice => DEVICE | CHAR_DEVICE,
        _ => 0,
    };
    let special = [(Mode::SUID, SETUID), (Mode::SGID, SETGID), (Mode::SVTX, STICKY)];
    let special = special.iter().filter(|(unix, _)| raw & unix.bits() != 0).fold(0, |all, (_, wire)| all | wire);
    kind | special | raw & 0o777
}

/// The permission bits, set-id and sticky bits of a wire mode.
pub(super) fn permissions(mode: u32) -> Mode {
    let mut out = Mode::from_bits_truncate(mode & 0o777);
    out.set(Mode::SUID, mode & SETUID != 0);
    out.set(Mode::SGID, mode & SETGID != 0);
    out.set(Mode::SVTX, mode & STICKY != 0);
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn modes_survive_the_wire() {
        let types = [0o040000, 0o100000, 0o120000, 0o010000, 0o020000, 0o060000];
        for (raw, want) in types.into_iter().zip([
            Kind::Directory,
            Kind::Regular,
            Kind::Symlink,
            Kind::Fifo,
            Kind::CharDevice,
            Kind::BlockDevice,
        ]) {
            for bits in 0..=0o7777 {
                let wire = to_wire(raw | bits);
                assert_eq!(kind(wire), want);
                assert_eq!(permissions(wire).bits(), bits);
            }
        }
    }

    #[test]
    fn values_that_go_programs_send() {
        // os.ModeDir|0755, os.ModeSymlink|0777, os.ModeSetuid|0755, os.ModeSticky|os.ModeDir|0777.
        assert_eq!(to_wire(0o040755), 0x8000_01ed);
        assert_eq!(to_wire(0o120777), 0x0800_01ff);
        assert_eq!(to_wire(0o104755), 0x0080_01ed);
        assert_eq!(to_wire(0o041777), 0x8010_01ff);
        assert_eq!(kind(1 << 24), Kind::Unknown);
    }
}
