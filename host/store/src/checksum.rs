//! Digests of what a tree holds at a path, as a cache key for whoever copies it: BuildKit's contenthash in spirit, not in bytes.

use std::{
    fs::File,
    io::Read,
    num::NonZero,
    sync::{Arc, atomic::Ordering},
};

use sha2::{Digest, Sha256};

use crate::{
    ChecksumOptions,
    blobs::blocking,
    error::{At, Error, Result},
    fetch,
    files::Kind,
    index::{Entry, Key, Merged, Sha, kind_number, not_found},
    patterns::{Filter, FilterState, Matcher, WILDCARDS, clean},
    snapshot::{Snapshot, Tree},
};

/// How many symlinks one path may lead through (Linux: `MAXSYMLINKS`).
const SYMLINKS_MAX: usize = 40;

impl Snapshot {
    /// A digest of the files at `path`: names, kinds, modes, owners, link targets, devices, capabilities and contents, not times.
    /// Equal digests mean that a copy of `path` gives equal trees. Fails with [`Error::NotFound`] where nothing is at `path`.
    /// What was read once is not read again.
    pub async fn checksum(&self, path: &str, options: &ChecksumOptions) -> Result<String> {
        fetch::ensure_all(&self.0.layers).await?;
        let (this, path, options) = (self.clone(), path.to_owned(), options.clone());
        blocking(move || {
            let merged = this.0.merged()?;
            let digest = checksum(&merged, &path, &options)?;
            this.0.store_indexes();
            Ok(format!("sha256:{}", hex::encode(digest)))
        })
        .await
    }
}

impl Tree {
    /// Writes, in the background, the indexes that learned digests.
    pub fn store_indexes(&self) {
        for layer in &self.layers {
            let Some(index) = layer.index.get().filter(|index| index.changed.load(Ordering::Relaxed)) else { continue };
            let (index, file) = (index.clone(), self.store.root.index(&layer.id));
            self.store.janitor.give(move || index.store(&file));
        }
    }
}

fn checksum(merged: &Merged, path: &str, options: &ChecksumOptions) -> Result<Sha> {
    let filter = Filter::new(&options.include, &options.exclude).map_err(Error::other)?;
    let path = if path.is_empty() { "." } else { path };
    let tops = if options.wildcard { wildcard(merged, path)? } else { vec![clean(path)] };
    let mut hash = Sha256::new();
    for top in tops {
        let found = resolve(merged, top.as_bytes(), options.follow)?;
        if options.wildcard {
            let name = top.rsplit('/').next().unwrap_or_default();
            feed(&mut hash, name.as_bytes());
        }
        selection(merged, &found, &filter, &mut hash)?;
    }
    Ok(hash.finalize().into())
}

/// Paths that a pattern of the whole path matches. There may be none, but what stands before the pattern's wildcards must be there.
fn wildcard(merged: &Merged, pattern: &str) -> Result<Vec<String>> {
    if !pattern.contains(WILDCARDS) {
        return Ok(vec![clean(pattern)]);
    }
    let pattern = clean(pattern);
    let names: Vec<&str> = pattern.split('/').collect();
    let tests = names.iter().map(|name| Matcher::name(name)).collect::<Result<Vec<_>, _>>().map_err(Error::other)?;
    // A pattern may lead through symlinks, so it is followed name by name.
    let mut found = vec![String::new()];
    for test in &tests {
        let mut next = Vec::new();
        for dir in found {
            let Ok(real) = resolve(merged, dir.as_bytes(), true) else { continue };
            for (key, _) in merged.below(&real) {
                let name = if real.is_empty() { &key.0[..] } else { &key.0[real.len() + 1..] };
                if !name.contains(&b'/')
                    && let Ok(name) = std::str::from_utf8(name)
                    && test.is_match(name)
                {
                    next.push(if dir.is_empty() { name.to_owned() } else { format!("{dir}/{name}") });
                }
            }
        }
        found = next;
    }
    if found.is_empty() {
        let above: Vec<&str> = names.iter().copied().take_while(|name| !name.contains(WILDCARDS)).collect();
        resolve(merged, above.join("/").as_bytes(), true)?;
    }
    Ok(found)
}

/// The path that `path` leads to, through symlinks as in a root of its own; of the last name only where `follow` says so.
pub(crate) fn resolve(merged: &Merged, path: &[u8], follow: bool) -> Result<Vec<u8>> {
    let mut todo: Vec<Vec<u8>> = names_reversed(path);
    let mut at: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(name) = todo.pop() {
        match name.as_slice() {
            b"" | b"." => continue,
            b".." => {
                at.truncate(at.iter().rposition(|&byte| byte == b'/').unwrap_or(0));
                continue;
            }
            _ => {}
        }
        let key = Key::join(&at, &name);
        let entry = merged.get(&key.0).ok_or_else(|| not_found(path))?;
        if entry.kind == Kind::Symlink && (follow || !todo.is_empty()) {
            links += 1;
            if links > SYMLINKS_MAX {
                return Err(Error::other(format!("{}: too many symlinks", path.escape_ascii())));
            }
            if entry.target.first() == Some(&b'/') {
                at.clear();
            }
            todo.extend(names_reversed(&entry.target));
            continue;
        }
        if entry.kind != Kind::Dir && todo.iter().any(|name| !matches!(name.as_slice(), b"" | b".")) {
            return Err(not_found(path));
        }
        at = key.0.to_vec();
    }
    Ok(at)
}

fn names_reversed(path: &[u8]) -> Vec<Vec<u8>> {
    path.split(|&byte| byte == b'/').rev().map(<[u8]>::to_vec).collect()
}

/// Feeds `top` and, of a directory, all below that the filter selects; directories above a selected file count too.
fn selection(merged: &Merged, top: &[u8], filter: &Filter, hash: &mut Sha256) -> Result<()> {
    let places = select(merged, top, filter);
    read_contents(merged, &places)?;
    match merged.map.get(&Key::new(top)) {
        Some(&place) => entry(merged, b"", place, hash)?,
        None if top.is_empty() => {}
        None => return Err(not_found(top)),
    }
    for place in places.into_iter().filter(|&place| *merged.at(place).key.0 != *top) {
        let path = &merged.at(place).key.0;
        let name = if top.is_empty() { &path[..] } else { &path[top.len() + 1..] };
        entry(merged, name, place, hash)?;
    }
    Ok(())
}

/// A directory that leads to where a walk is.
struct Above {
    path: Arc<[u8]>,
    state: FilterState,
    place: (u32, u32),
    chosen: bool,
}

fn select(merged: &Merged, top: &[u8], filter: &Filter) -> Vec<(u32, u32)> {
    let mut chosen: Vec<(u32, u32)> = merged.map.get(&Key::new(top)).copied().into_iter().collect();
    if filter.is_all() {
        chosen.extend(merged.below(top).map(|(_, place)| place));
        return chosen;
    }
    let mut above: Vec<Above> = Vec::new();
    for (key, place) in merged.below(top) {
        while above.last().is_some_and(|dir| !key.is_below(&dir.path)) {
            above.pop();
        }
        let relative = if top.is_empty() { &key.0[..] } else { &key.0[top.len() + 1..] };
        let state = above.last().map(|dir| dir.state.clone()).unwrap_or_default();
        let verdict = filter.visit(&String::from_utf8_lossy(relative), &state);
        if verdict.selected {
            for dir in &mut above {
                if !std::mem::replace(&mut dir.chosen, true) {
                    chosen.push(dir.place);
                }
            }
            chosen.push(place);
        }
        if merged.at(place).kind == Kind::Dir {
            above.push(Above { path: key.0.clone(), state: verdict.state, place, chosen: verdict.selected });
        }
    }
    chosen
}

fn entry(merged: &Merged, name: &[u8], place: (u32, u32), hash: &mut Sha256) -> Result<()> {
    feed(hash, name);
    feed(hash, &header(merged.at(place)));
    if merged.at(place).kind == Kind::File {
        hash.update(content(merged, place)?);
    }
    Ok(())
}

/// All that a copy of a file keeps, but its contents and times.
pub(crate) fn header(entry: &Entry) -> Vec<u8> {
    let mut out = Vec::with_capacity(64);
    let ids = [entry.mode, entry.uid, entry.gid].map(u64::from);
    for value in [kind_number(entry.kind), entry.size, entry.rdev].into_iter().chain(ids) {
        out.extend_from_slice(&value.to_le_bytes());
    }
    for bytes in entry.xattrs.iter().flat_map(|(name, value)| [name, value]).chain([&entry.target]) {
        out.extend_from_slice(&(bytes.len() as u64).to_le_bytes());
        out.extend_from_slice(bytes);
    }
    out
}

fn feed(hash: &mut Sha256, bytes: &[u8]) {
    hash.update((bytes.len() as u64).to_le_bytes());
    hash.update(bytes);
}

/// The digest of a regular file's contents, read where it is not known.
pub(crate) fn content(merged: &Merged, place: (u32, u32)) -> Result<Sha> {
    let entry = merged.at(place);
    if let Some(digest) = entry.digest.get() {
        return Ok(*digest);
    }
    let digest = digest_file(&merged.file(place))?;
    merged.layers[place.0 as usize].0.changed.store(true, Ordering::Relaxed);
    Ok(*entry.digest.get_or_init(|| digest))
}

fn digest_file(path: &std::path::Path) -> Result<Sha> {
    let what = || format!("read {}", path.display());
    let mut file = File::open(path).at(what)?;
    let mut hash = Sha256::new();
    let mut buffer = vec![0; 64 << 10];
    loop {
        let got = file.read(&mut buffer).at(what)?;
        if got == 0 {
            return Ok(hash.finalize().into());
        }
        hash.update(&buffer[..got]);
    }
}

/// Reads what is not known yet, on all cores.
fn read_contents(merged: &Merged, places: &[(u32, u32)]) -> Result<()> {
    let unknown = places.iter().copied().filter(|&place| {
        let entry = merged.at(place);
        entry.kind == Kind::File && entry.digest.get().is_none()
    });
    let unknown: Vec<_> = unknown.collect();
    let threads = std::thread::available_parallelism().map_or(1, NonZero::get);
    let share = unknown.len().div_ceil(threads).max(64);
    std::thread::scope(|scope| {
        let readers: Vec<_> = unknown
            .chunks(share)
            .map(|chunk| scope.spawn(move || chunk.iter().try_for_each(|&place| content(merged, place).map(drop))))
            .collect();
        readers
            .into_iter()
            .try_for_each(|reader| reader.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })
}
