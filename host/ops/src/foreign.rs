//! Programs for other machines: which the kernel can run by an emulator, and how to tell that it cannot.

use std::{
    fs::File,
    io::{BufRead, BufReader, Read},
    path::Path,
};

use pathrs::{Root, flags::OpenFlags};

/// Where the kernel lists what it hands to emulators.
const HANDLERS: &str = "/proc/sys/fs/binfmt_misc";
/// As much of a program is looked at.
const HEADER_BYTES: usize = 64;

/// Architectures as images name them, by the machine in an ELF header, whether it has 64 bits, and whether its numbers begin with
/// the lowest byte. In the order in which BuildKit lists them.
const MACHINES: [(&str, u16, bool, bool); 11] = [
    ("amd64", 62, true, true),
    ("arm64", 183, true, true),
    ("riscv64", 243, true, true),
    ("ppc64", 21, true, false),
    ("ppc64le", 21, true, true),
    ("s390x", 22, true, false),
    ("386", 3, false, true),
    ("mips64le", 8, true, true),
    ("mips64", 8, true, false),
    ("loong64", 258, true, true),
    ("arm", 40, false, true),
];

/// The architectures that are known here, as images name them.
pub(crate) fn architectures() -> impl Iterator<Item = &'static str> {
    MACHINES.iter().map(|(name, ..)| *name)
}

/// The architectures that this machine runs by emulators, as images name them.
pub fn emulated() -> Vec<&'static str> {
    let handlers = handlers(Path::new(HANDLERS));
    let runs = |(name, machine, wide, little): &(&'static str, u16, bool, bool)| {
        let header = header(*machine, *wide, *little);
        handlers.iter().any(|handler| handler.takes(&header)).then_some(*name)
    };
    MACHINES.iter().filter_map(runs).collect()
}

/// The architecture that the program `name` in the tree `root` is for, when it is not `native` and no emulator is there for it.
/// `path` is the process's PATH.
pub fn cannot_run(root: &Path, name: &str, path: &str, native: &str) -> Option<&'static str> {
    let header = read_header(&Root::open(root).ok()?, name, path)?;
    let architecture = architecture(&header)?;
    let runs = architecture == native
        || (native, architecture) == ("amd64", "386")
        || handlers(Path::new(HANDLERS)).iter().any(|handler| handler.takes(&header));
    (!runs).then_some(architecture)
}

fn read_header(root: &Root, name: &str, path: &str) -> Option<Vec<u8>> {
    let candidates: Vec<String> = match name.contains('/') {
        true => vec![name.to_owned()],
        false => path.split(':').map(|dir| format!("{dir}/{name}")).collect(),
    };
    let handle = candidates.iter().find_map(|path| root.resolve(path).ok())?;
    let metadata = rustix::fs::fstat(&handle).ok()?;
    // The type is looked at first: opening a fifo would wait for ever.
    if !rustix::fs::FileType::from_raw_mode(metadata.st_mode).is_file() {
        return None;
    }
    let mut header = Vec::with_capacity(HEADER_BYTES);
    handle.reopen(OpenFlags::O_RDONLY).ok()?.take(HEADER_BYTES as u64).read_to_end(&mut header).ok()?;
    Some(header)
}

/// What the ELF header of a program says.
fn architecture(header: &[u8]) -> Option<&'static str> {
    let (wide, little) = (*header.get(4)? == 2, *header.get(5)? == 1);
    let machine: [u8; 2] = header.get(18..20)?.try_into().ok()?;
    let machine = if little { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    let known = |it: &&(&str, u16, bool, bool)| (it.1, it.2, it.3) == (machine, wide, little);
    header.starts_with(b"\x7fELF").then(|| MACHINES.iter().find(known).map(|it| it.0)).flatten()
}

/// The header of an executable.
fn header(machine: u16, wide: bool, little: bool) -> Vec<u8> {
    let number = |number: u16| if little { number.to_le_bytes() } else { number.to_be_bytes() };
    let mut header = vec![0; HEADER_BYTES];
    header[..4].copy_from_slice(b"\x7fELF");
    header[4..7].copy_from_slice(&[1 + u8::from(wide), 2 - u8::from(little), 1]);
    header[16..18].copy_from_slice(&number(2));
    header[18..20].copy_from_slice(&number(machine));
    header
}

/// An executable with this code.
pub(crate) fn program(architecture: &str, code: &[u8]) -> Option<Vec<u8>> {
    /// Where the one segment is loaded, from the first byte of the file on.
    const BASE: u64 = 0x1_0000;
    let (_, machine, wide, little) = *MACHINES.iter().find(|(name, ..)| *name == architecture)?;
    let (file_header, program_header): (u16, u16) = if wide { (64, 56) } else { (52, 32) };
    let start = u64::from(file_header + program_header);
    let word = |number: u64, bytes: usize| {
        let all = if little { number.to_le_bytes() } else { number.to_be_bytes() };
        if little { all[..bytes].to_vec() } else { all[8 - bytes..].to_vec() }
    };
    let address = |number: u64| word(number, if wide { 8 } else { 4 });
    let half = |number: u16| word(number.into(), 2);
    let mut file = header(machine, wide, little);
    file.truncate(20);
    file.extend([word(1, 4), address(BASE + start), address(file_header.into()), address(0), word(0, 4)].concat());
    file.extend([half(file_header), half(program_header), half(1), half(0), half(0), half(0)].concat());
    let size = address(start + code.len() as u64);
    let (load, readable_and_executable) = (word(1, 4), word(5, 4));
    let segment = match wide {
        true => [load, readable_and_executable, address(0), address(BASE), address(BASE), size.clone(), size],
        false => [load, address(0), address(BASE), address(BASE), size.clone(), size, readable_and_executable],
    };
    file.extend(segment.concat());
    file.extend([address(0x1000), code.to_vec()].concat());
    Some(file)
}

/// What the kernel looks for to hand a program to an emulator.
#[derive(Debug, Default, PartialEq, Eq)]
struct Handler {
    offset: usize,
    magic: Vec<u8>,
    /// Which bits of the magic count; empty: all.
    mask: Vec<u8>,
}

impl Handler {
    /// Reads what the kernel says of a handler; `None` for one that is off, or goes by the names of files.
    fn read(text: impl Read) -> Option<Self> {
        let mut lines = BufReader::new(text).lines().map_while(Result::ok);
        if lines.next()? != "enabled" {
            return None;
        }
        let mut handler = Handler::default();
        for line in lines {
            match line.split_once(' ') {
                Some(("offset", offset)) => handler.offset = offset.parse().ok()?,
                Some(("magic", magic)) => handler.magic = hex::decode(magic).ok()?,
                Some(("mask", mask)) => handler.mask = hex::decode(mask).ok()?,
                _ => {}
            }
        }
        (!handler.magic.is_empty()).then_some(handler)
    }

    fn takes(&self, header: &[u8]) -> bool {
        let Some(part) = header.get(self.offset..).filter(|part| part.len() >= self.magic.len()) else { return false };
        let mask = self.mask.iter().copied().chain(std::iter::repeat(0xff));
        self.magic.iter().zip(part).zip(mask).all(|((magic, byte), mask)| magic & mask == byte & mask)
    }
}

fn handlers(dir: &Path) -> Vec<Handler> {
    let Ok(entries) = std::fs::read_dir(dir) else { return Vec::new() };
    let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
    let paths = paths.filter(|path| !path.ends_with("register") && !path.ends_with("status"));
    paths.filter_map(|path| Handler::read(File::open(path).ok()?)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const AARCH64: &str = "enabled\ninterpreter /usr/bin/qemu-aarch64-static\nflags: F\noffset 0\n\
        magic 7f454c460201010000000000000000000200b700\nmask ffffffffffffff00fffffffffffffffffeffffff\n";

    #[test]
    fn handlers_know_their_programs() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("qemu-aarch64"), AARCH64).unwrap();
        std::fs::write(dir.path().join("off"), AARCH64.replacen("enabled", "disabled", 1)).unwrap();
        std::fs::write(dir.path().join("by-name"), "enabled\ninterpreter /x\nflags: \nextension .x\n").unwrap();
        std::fs::write(dir.path().join("status"), "enabled\n").unwrap();
        let handlers = handlers(dir.path());
        assert_eq!(handlers.len(), 1);
        for (name, machine, wide, little) in MACHINES {
            assert_eq!(handlers[0].takes(&header(machine, wide, little)), name == "arm64", "{name}");
        }
        assert!(!handlers[0].takes(b"\x7fELF"));
    }

    #[test]
    fn programs_say_what_they_are_for() {
        for (name, machine, wide, little) in MACHINES {
            assert_eq!(architecture(&header(machine, wide, little)), Some(name));
        }
        assert_eq!(architecture(b"#!/bin/sh\n# a script that is long enough"), None);
        assert_eq!(architecture(&header(9999, true, true)), None);
        assert_eq!(architecture(b"\x7fELF"), None);
    }

    #[test]
    fn programs_are_found_as_the_process_would() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("usr/bin")).unwrap();
        // No emulator that anybody registers takes this one.
        std::fs::write(dir.path().join("usr/bin/tool"), header(258, true, true)).unwrap();
        std::os::unix::fs::symlink("/usr/bin/tool", dir.path().join("sh")).unwrap();
        let cannot = |name: &str, native: &str| cannot_run(dir.path(), name, "/bin:/usr/bin", native);
        assert_eq!(cannot("tool", "loong64"), None);
        if !emulated().contains(&"loong64") {
            assert_eq!(cannot("tool", "amd64"), Some("loong64"));
            assert_eq!(cannot("/sh", "amd64"), Some("loong64"));
        }
        assert_eq!(cannot("other", "amd64"), None);
    }
}
