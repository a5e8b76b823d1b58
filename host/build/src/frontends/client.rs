//! Components in directories of the client.

use std::sync::{Arc, Mutex};

use frontend::{Error, Recent, Ref};
use sha2::{Digest, Sha256};

use super::{Candidate, Found, Frontends, absent, file_name};
use crate::{
    bridge::{BuildBridge, FRONTEND_DIR, MAX_COMPONENT_BYTES, State, failed, lock, shown_name},
    lazy::LazyRef,
};

/// Files whose digests are kept; those that were used least recently go first.
const SEEN_MAX: usize = 64;

/// The digests of files that were read. What a snapshot holds never changes, so one that is met again is not read again.
pub(super) struct Seen(Mutex<Recent<Place, [u8; 32]>>);

/// Where a file is: the name of a snapshot, and the path there.
type Place = (String, String);

impl Default for Seen {
    fn default() -> Self {
        Seen(Mutex::new(Recent::new(SEEN_MAX)))
    }
}

impl Frontends {
    /// The frontend in a file of the client's.
    pub(super) async fn of_client(&self, source: &str, bridge: &Arc<BuildBridge>) -> Result<Found, Error> {
        let state = &bridge.state;
        let file = ClientFile::new(state, source)?;
        let place = file.place().await?;
        let known = lock(&self.seen.0).get(&place);
        let (key, read) = match known {
            Some(key) => (key, None),
            None => {
                let component = file.read().await?;
                let key = Sha256::digest(&component).into();
                lock(&self.seen.0).add(place, key);
                (key, Some(component))
            }
        };
        let digest = format!("sha256:{}", hex::encode(key));
        state.policies.pins.file(source, &digest).map_err(Error::from)?;
        let candidate = Candidate { source, name: &file_name(source), digest: &digest };
        let admission = self.admit(candidate, &[], state)?;
        lock(&state.pinned).insert(source.to_owned(), digest);
        let runtime = self.runtime.within(admission.limits);
        let loaded = match (runtime.loaded(&key, shown_name(source)).await, read) {
            (Some(loaded), _) => loaded,
            (None, Some(component)) => runtime.load_known(key, component, shown_name(source)).await?,
            (None, None) => runtime.load_known(key, file.read().await?, shown_name(source)).await?,
        };
        Ok(Found { frontend: Arc::new(loaded), admission })
    }
}

/// A file of the client's: beside its Dockerfile, or, after [`FRONTEND_DIR`], in the directory that holds the frontend.
struct ClientFile<'a> {
    /// As it was asked for.
    name: &'a str,
    /// The directory, as clients name it and as it is shown, and the path there.
    local: &'static str,
    shown: &'static str,
    path: &'a str,
    state: &'a Arc<State>,
    files: Arc<LazyRef>,
}

impl<'a> ClientFile<'a> {
    fn new(state: &'a Arc<State>, name: &'a str) -> Result<Self, Error> {
        let (local, shown, path) = match name.strip_prefix(FRONTEND_DIR) {
            Some(path) => ("frontend", "the directory of the frontend", path),
            None => ("dockerfile", "the Dockerfile's directory", name.trim_start_matches("./")),
        };
        let files = state.local_files(local, &[path], &format!("load frontend {}", shown_name(name)))?;
        Ok(ClientFile { name, local, shown, path, state, files })
    }

    async fn place(&self) -> Result<Place, Error> {
        Ok((self.files.snapshot().await?.name(), self.path.to_owned()))
    }

    async fn read(&self) -> Result<Vec<u8>, Error> {
        let error = match self.files.read_file(self.path, None, MAX_COMPONENT_BYTES).await {
            Ok(component) => return Ok(component),
            Err(error) => error,
        };
        let (what, dir) = match error.code.as_str() {
            "not-found" => ("no such file in", self.path.rsplit_once('/').map_or("", |(dir, _)| dir)),
            "invalid-argument" => ("a directory, or no file at all, in", self.path),
            _ => return Err(error),
        };
        let (name, hint) = (shown_name(self.name), absent::hint(dir, &self.neighbours(dir).await));
        Err(failed(&error.code, format!("frontend {name}: {what} {}{hint}", self.shown)))
    }

    /// The names in a directory beside it that tell of frontends; none where they cannot be had.
    async fn neighbours(&self, dir: &str) -> Vec<String> {
        let patterns = absent::PROJECTS.into_iter().chain(["*.wasm"]);
        let patterns: Vec<_> =
            patterns.map(|name| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") }).collect();
        let read = match self.state.local_files(self.local, &patterns, "look for frontends") {
            Ok(files) => files.read_dir(&format!("/{dir}"), None).await,
            Err(error) => Err(error),
        };
        read.map(|entries| entries.into_iter().map(|entry| entry.path).collect()).unwrap_or_default()
    }
}
