//! Files that this machine made and may trust later, such as machine code compiled from a WebAssembly component.
//!
//! An artifact is stored with a MAC under a random key that lies beside it, in a file that only the owner can read. What was not
//! written by [`Vault::put`] with this key, under this name, is not loaded.
//!
//! File format ([`FORMAT`]): the bytes, from the file's beginning on so that they can be mapped, and 32 bytes of BLAKE3 in its keyed mode
//! over `LENGTH NAME DIGEST...`: the length of the name as 8 bytes, little endian, and the BLAKE3 of each [`PART_BYTES`] of the bytes.
//! BLAKE3 because what is compiled of a Python is 40 MB, and is compared each time that it is loaded: SHA-256 takes three times as long.
#![allow(
    unsafe_code,
    reason = "three calls, of functions that trust their bytes: `call_unsafe` twice, and `call_in_place`"
)]

use std::{
    borrow::Cow,
    fs::{self, File, OpenOptions},
    io::{self, Read, Write},
    num::NonZero,
    ops::Range,
    os::{fd::AsRawFd, unix::fs::FileExt},
    path::{Path, PathBuf},
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering},
    thread,
};

use blake3::{Hash, Hasher};

/// The number of the file format. Whoever keeps artifacts over versions of this program makes it part of their names: files of another
/// format are not loaded, and two programs would take turns in replacing what the other one stored.
pub const FORMAT: u32 = 2;
const MAC_LEN: usize = 32;
const KEY_LEN: usize = 32;
const KEY_FILE: &str = "key";
/// Bytes that one thread hashes in one go: of a large file several are hashed at once.
const PART_BYTES: u64 = 2 << 20;
/// Bytes that are read at once to be hashed. They stay in a processor's cache.
const READ_BYTES: usize = 64 << 10;
/// The longest name of an artifact, in bytes.
pub const MAX_NAME_LEN: usize = 200;

/// A directory of artifacts and the key that they are trusted by.
pub struct Vault {
    dir: PathBuf,
    key: [u8; KEY_LEN],
}

/// Bytes that this machine may trust: what [`Vault::put`] was given, what is part of this program, or what it made just now.
pub struct Verified {
    bytes: Cow<'static, [u8]>,
}

/// A file of bytes that this machine may trust, to be mapped into memory.
pub struct VerifiedFile(File);

impl Vault {
    /// Opens the vault in `dir`; makes the directory (mode 0700) and the key where they are not there. Refuses a key file that
    /// others than the owner can read or write.
    pub fn open(dir: &Path) -> io::Result<Vault> {
        make_private_dir(dir)?;
        let path = dir.join(KEY_FILE);
        let key = match read_key(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                make_key(dir, &path)?;
                read_key(&path)?
            }
            other => other?,
        };
        Ok(Vault { dir: dir.to_owned(), key })
    }

    /// Stores `bytes` under `name`, in place of what was there. `name` is letters, digits and `._-`, and does not begin with a dot.
    pub fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.path(name)?;
        let temporary = self.dir.join(temporary_name());
        let written = (|| {
            let mut file = private_file(&temporary)?;
            file.write_all(bytes)?;
            file.write_all(self.mac(name, &parts_of(bytes)).as_bytes())?;
            fs::rename(&temporary, &path)
        })();
        if written.is_err() {
            let _ = fs::remove_file(&temporary);
        }
        written
    }

    /// What was stored under `name`; `None` where nothing was, or what is there is not what was stored.
    pub fn load(&self, name: &str) -> io::Result<Option<Verified>> {
        let Some((mut file, length)) = self.file(name)? else { return Ok(None) };
        let mut bytes = Vec::with_capacity(length as usize + MAC_LEN);
        file.read_to_end(&mut bytes)?;
        let Some((body, mac)) = bytes.split_last_chunk() else { return Ok(None) };
        if self.mac(name, &parts_of(body)) != *mac {
            return Ok(None);
        }
        bytes.truncate(bytes.len() - MAC_LEN);
        Ok(Some(Verified { bytes: bytes.into() }))
    }

    /// As [`Vault::load`], where the bytes stay in their file: they are read to be compared, and not held.
    pub fn open_file(&self, name: &str) -> io::Result<Option<VerifiedFile>> {
        let Some((file, length)) = self.file(name)? else { return Ok(None) };
        let mut mac = [0; MAC_LEN];
        file.read_exact_at(&mut mac, length)?;
        let parts = parts(length, |buffer, at| file.read_exact_at(buffer, at))?;
        Ok((self.mac(name, &parts) == mac).then_some(VerifiedFile(file)))
    }

    /// A file, and how many bytes are before its MAC; `None` where there is none, or no whole one.
    fn file(&self, name: &str) -> io::Result<Option<(File, u64)>> {
        let file = match File::open(self.path(name)?) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            other => other?,
        };
        let length = file.metadata()?.len().checked_sub(MAC_LEN as u64);
        Ok(length.map(|length| (file, length)))
    }

    /// Whether something was stored under `name`; it is not looked at.
    pub fn has(&self, name: &str) -> bool {
        self.path(name).is_ok_and(|path| path.is_file())
    }

    /// Compared with bytes, it takes a time that does not depend on where they differ.
    fn mac(&self, name: &str, parts: &[[u8; MAC_LEN]]) -> Hash {
        let mut hasher = Hasher::new_keyed(&self.key);
        hasher.update(&(name.len() as u64).to_le_bytes()).update(name.as_bytes()).update(parts.as_flattened());
        hasher.finalize()
    }

    fn path(&self, name: &str) -> io::Result<PathBuf> {
        let plain = name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte));
        if !plain || name.is_empty() || name.starts_with('.') || name.len() > MAX_NAME_LEN || name == KEY_FILE {
            return Err(io::Error::new(
                io::ErrorKind::InvalidInput,
                format!("artifact name {name:?}: want at most {MAX_NAME_LEN} letters, digits and \"._-\""),
            ));
        }
        Ok(self.dir.join(name))
    }
}

impl Verified {
    /// Bytes that were compiled into this program (`include_bytes!`), and are trusted as its code is. Whoever calls this vouches
    /// for that.
    pub fn built_in(bytes: &'static [u8]) -> Verified {
        Verified { bytes: bytes.into() }
    }

    /// Bytes that this program made just now, itself or in another process of its own. Whoever calls this vouches for that.
    pub fn made(bytes: Vec<u8>) -> Verified {
        Verified { bytes: bytes.into() }
    }

    /// The bytes.
    pub fn bytes(&self) -> &[u8] {
        &self.bytes
    }

    /// Calls `f(a, bytes)`. `f` must be unsafe for one reason alone: that it trusts its bytes to be an unchanged output of its
    /// counterpart. Whoever calls this vouches that only such outputs are [`put`](Vault::put) under the name that was loaded.
    pub fn call_unsafe<'a, A, R>(&'a self, a: A, f: unsafe fn(A, &'a [u8]) -> R) -> R {
        // SAFETY: the bytes are what `put` was given, or a part of this program; by the contract above, that is all that `f` asks for.
        unsafe { f(a, &self.bytes) }
    }

    /// As [`Verified::call_unsafe`], for an `f` that goes on using the bytes where they are. Only what was compiled into this program
    /// stays there, so `None` for all else, and for what does not begin at a page.
    pub fn call_in_place<A, R>(&self, a: A, f: unsafe fn(A, NonNull<[u8]>) -> R) -> Option<R> {
        let Cow::Borrowed(bytes) = self.bytes else { return None };
        if !bytes.as_ptr().addr().is_multiple_of(crate::code::page_size()) {
            return None;
        }
        // SAFETY: as above; and the bytes are there, and the same, as long as the program runs.
        Some(unsafe { f(a, NonNull::from(bytes)) })
    }
}

impl VerifiedFile {
    /// Calls `f(a, path)`, where `path` is that of this very file, whatever is under its name by now. `f` must be unsafe for one reason
    /// alone: that it trusts the file to be an unchanged output of its counterpart, with anything after it, and to stay unchanged while
    /// what it returns is in use. Whoever calls this vouches that only such outputs are [`put`](Vault::put) under the name.
    pub fn call_unsafe<A, R>(&self, a: A, f: unsafe fn(A, PathBuf) -> R) -> R {
        // SAFETY: the bytes are what `put` was given; and they stay so, for the directory is this user's alone, and nothing writes to a
        // file in it: another takes its place.
        unsafe { f(a, PathBuf::from(format!("/proc/self/fd/{}", self.0.as_raw_fd()))) }
    }
}

/// The digests of the parts of `length` bytes, which `read` reads from an offset on; several threads may call it.
fn parts(length: u64, read: impl Fn(&mut [u8], u64) -> io::Result<()> + Sync) -> io::Result<Vec<[u8; MAC_LEN]>> {
    let mut digests = vec![[0; MAC_LEN]; length.div_ceil(PART_BYTES) as usize];
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let share = digests.len().div_ceil(threads).max(1);
    let hash = |digests: &mut [[u8; MAC_LEN]], first: usize| {
        let mut buffer = [0; READ_BYTES];
        for (number, digest) in (first as u64..).zip(digests) {
            *digest = part(&mut buffer, number * PART_BYTES..length.min((number + 1) * PART_BYTES), &read)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let mut shares = digests.chunks_mut(share).enumerate();
        let own = shares.next();
        let others: Vec<_> =
            shares.map(|(number, share_of)| scope.spawn(move || hash(share_of, number * share))).collect();
        own.map_or(Ok(()), |(_, share_of)| hash(share_of, 0))?;
        others
            .into_iter()
            .try_for_each(|other| other.join().unwrap_or_else(|_| Err(io::Error::other("a thread ended"))))
    })?;
    Ok(digests)
}

fn part(
    buffer: &mut [u8],
    range: Range<u64>,
    read: impl Fn(&mut [u8], u64) -> io::Result<()>,
) -> io::Result<[u8; MAC_LEN]> {
    let mut hasher = Hasher::new();
    for at in range.clone().step_by(READ_BYTES) {
        let wanted = buffer.len().min((range.end - at) as usize);
        read(&mut buffer[..wanted], at)?;
        hasher.update(&buffer[..wanted]);
    }
    Ok(hasher.finalize().into())
}

/// As [`parts`], of what is in memory.
fn parts_of(bytes: &[u8]) -> Vec<[u8; MAC_LEN]> {
    bytes.chunks(PART_BYTES as usize).map(|part| blake3::hash(part).into()).collect()
}

fn make_private_dir(dir: &Path) -> io::Result<()> {
    let mut builder = fs::DirBuilder::new();
    #[cfg(unix)]
    std::os::unix::fs::DirBuilderExt::mode(&mut builder, 0o700);
    builder.recursive(true).create(dir)
}

fn private_file(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// The key appears whole or not at all, and the first of several makers wins: `link` fails where the name is taken.
fn make_key(dir: &Path, path: &Path) -> io::Result<()> {
    let mut key = [0; KEY_LEN];
    File::open("/dev/urandom")?.read_exact(&mut key)?;
    let temporary = dir.join(temporary_name());
    let mut file = private_file(&temporary)?;
    file.write_all(&key)?;
    file.sync_all()?;
    let linked = fs::hard_link(&temporary, path);
    fs::remove_file(&temporary)?;
    match linked {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => Err(error),
        _ => Ok(()),
    }
}

fn read_key(path: &Path) -> io::Result<[u8; KEY_LEN]> {
    let mut file = File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions());
        if mode & 0o077 != 0 {
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                format!(
                    "key {}: others may use it (mode {:03o}); remove it and what lies beside it",
                    path.display(),
                    mode & 0o777
                ),
            ));
        }
    }
    let mut key = [0; KEY_LEN];
    file.read_exact(&mut key)?;
    Ok(key)
}

fn temporary_name() -> String {
    static NEXT: AtomicU64 = AtomicU64::new(0);
    format!(".new-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What makes other bytes makes another format.
    #[test]
    fn the_format_is_the_one_of_its_number() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault { dir: dir.path().to_owned(), key: [7; KEY_LEN] };
        vault.put("a", b"code").unwrap();
        let bytes = fs::read(dir.path().join("a")).unwrap();
        let mac = "6db42c879457582477554ad149677fa78e86df896d1c3e882e9cbcc85f01ad4b";
        assert_eq!((FORMAT, &bytes[..4], hex::encode(&bytes[4..]).as_str()), (2, &b"code"[..], mac));
    }

    #[test]
    fn only_what_was_put_is_loaded() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("vault");
        let vault = Vault::open(&root).unwrap();
        assert!(vault.load("a").unwrap().is_none());
        vault.put("a", b"code").unwrap();
        vault.put("b", b"code of b").unwrap();
        let again = Vault::open(&root).unwrap();
        assert_eq!(again.load("a").unwrap().unwrap().bytes(), b"code");

        assert!(again.open_file("a").unwrap().is_some());

        let is_refused = |name: &str| {
            let refused = again.load(name).unwrap().is_none();
            assert_eq!(again.open_file(name).unwrap().is_none(), refused, "both ways are one");
            refused
        };
        fs::copy(root.join("b"), root.join("a")).unwrap();
        assert!(is_refused("a"), "moved to another name");
        let mut bytes = fs::read(root.join("b")).unwrap();
        for at in 0..bytes.len() {
            bytes[at] ^= 1;
            fs::write(root.join("b"), &bytes).unwrap();
            assert!(is_refused("b"), "byte {at} changed");
            bytes[at] ^= 1;
        }
        for length in [0, 10, MAC_LEN, bytes.len() - 1] {
            fs::write(root.join("b"), &bytes[..length]).unwrap();
            assert!(is_refused("b"), "cut to {length}");
        }
    }

    #[test]
    fn files_of_many_parts() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        let part = PART_BYTES as usize;
        for length in [0, 1, part - 1, part, part + 1, 9 * part + READ_BYTES + 1] {
            let bytes: Vec<u8> = (0..length).map(|at| (at / 1000 % 251) as u8).collect();
            vault.put("large", &bytes).unwrap();
            assert!(vault.open_file("large").unwrap().is_some(), "{length}");
            assert!(vault.load("large").unwrap().unwrap().bytes() == bytes, "{length}");
            let file = File::options().write(true).open(dir.path().join("large")).unwrap();
            for at in (0..length).step_by(part).chain(length.checked_sub(1)) {
                file.write_all_at(&[!bytes[at]], at as u64).unwrap();
                assert!(vault.open_file("large").unwrap().is_none(), "byte {at} of {length} changed");
                file.write_all_at(&bytes[at..=at], at as u64).unwrap();
            }
        }
    }

    #[test]
    fn a_file_is_the_one_that_was_looked_at() {
        unsafe fn read(add: usize, path: PathBuf) -> (usize, Vec<u8>) {
            (add, fs::read(path).unwrap())
        }
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        vault.put("n", b"first").unwrap();
        let file = vault.open_file("n").unwrap().unwrap();
        vault.put("n", b"second").unwrap();
        let (added, bytes) = file.call_unsafe(3, read);
        assert_eq!((added, &bytes[..bytes.len() - MAC_LEN]), (3, &b"first"[..]));
    }

    #[test]
    fn a_key_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        Vault::open(dir.path()).unwrap();
        let key = dir.path().join(KEY_FILE);
        assert_eq!(fs::metadata(&key).unwrap().permissions().mode() & 0o777, 0o600);
        fs::set_permissions(&key, fs::Permissions::from_mode(0o644)).unwrap();
        let error = Vault::open(dir.path()).err().unwrap();
        assert_eq!(error.kind(), io::ErrorKind::PermissionDenied);
    }

    #[test]
    fn names_stay_in_the_vault() {
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        for name in ["", "..", "../a", "a/b", ".a", KEY_FILE, &"a".repeat(MAX_NAME_LEN + 1)] {
            assert!(vault.put(name, b"x").is_err(), "{name:?}");
        }
    }

    #[test]
    fn only_pages_of_this_program_are_used_in_place() {
        unsafe fn length(add: usize, bytes: NonNull<[u8]>) -> usize {
            add + bytes.len()
        }
        #[repr(align(65536))]
        struct Pages([u8; 8]);
        static PAGES: Pages = Pages([0; 8]);
        assert_eq!(Verified::built_in(&PAGES.0).call_in_place(1, length), Some(9));
        assert_eq!(Verified::built_in(&PAGES.0[1..]).call_in_place(1, length), None, "not a page");
        assert_eq!(Verified::made(vec![0; 8]).call_in_place(1, length), None, "not of this program");
    }

    #[test]
    fn the_function_gets_its_argument_and_the_bytes() {
        unsafe fn count(add: usize, bytes: &[u8]) -> usize {
            add + bytes.len()
        }
        let dir = tempfile::tempdir().unwrap();
        let vault = Vault::open(dir.path()).unwrap();
        vault.put("n", b"four").unwrap();
        assert_eq!(vault.load("n").unwrap().unwrap().call_unsafe(3, count), 7);
    }
}
