//! Where the build's files are: directories, standard input, and contexts with names.

use std::{
    collections::BTreeMap,
    io::Read,
    path::{Path, PathBuf},
};

use anyhow::{Context, bail, ensure};

/// The largest Dockerfile, or archive, that is taken from standard input into memory.
const MAX_STDIN_BYTES: u64 = 4 << 30;

/// Where the files of a build are. Temporary directories are removed when this is dropped.
pub struct Directories {
    /// The context; `None` when it is elsewhere.
    pub context: Option<PathBuf>,
    /// The URL of a context that is elsewhere.
    pub remote: Option<String>,
    /// Where the Dockerfile is, when it is not in a context elsewhere.
    pub dockerfile: Option<PathBuf>,
    /// The Dockerfile's name there; `None` leaves it to the frontend.
    pub filename: Option<String>,
    _temporary: Vec<tempfile::TempDir>,
}

impl Directories {
    /// Where a lock file may lie: beside the Dockerfile, where that is a file of the user's.
    pub fn lock_dir(&self) -> Option<&Path> {
        let dir = self.dockerfile.as_deref()?;
        let is_temporary = self._temporary.iter().any(|temporary| temporary.path() == dir);
        (!is_temporary).then_some(dir)
    }
}

/// Opens what the command line names. Where it names no build file, `is_dockerfile` tells whether that is a Dockerfile.
pub fn open(context: &str, file: Option<&str>, is_dockerfile: bool) -> anyhow::Result<Directories> {
    let mut temporary = Vec::new();
    ensure!(!(context == "-" && file == Some("-")), "only one of context and Dockerfile can come from stdin");
    if !Path::new(context).is_dir() && is_remote(context) {
        return elsewhere(context, file);
    }
    let mut stdin_dockerfile = None;
    let context_dir = if context == "-" {
        let dir = tempfile::tempdir()?;
        stdin_dockerfile = from_stdin(dir.path())?;
        let path = dir.path().to_path_buf();
        temporary.push(dir);
        path
    } else {
        PathBuf::from(context)
    };
    if !context_dir.is_dir() {
        bail!("the build context {context:?} is not a directory: give the directory with the files to build");
    }
    if file == Some("-") {
        stdin_dockerfile = Some(stdin("the Dockerfile")?);
    }
    let (dockerfile, filename) = match (stdin_dockerfile, file) {
        (Some(text), _) => written(&text, &mut temporary)?,
        // The archive's own.
        (None, Some(file)) if context == "-" => (context_dir.clone(), Some(file.to_string())),
        (None, Some(file)) => split(Path::new(file)).map(|(dir, name)| (dir, Some(name)))?,
        (None, None) if is_dockerfile => (context_dir.clone(), Some(default_name(context, &context_dir)?)),
        (None, None) => (context_dir.clone(), None),
    };
    let (context, dockerfile) = (Some(context_dir), Some(dockerfile));
    Ok(Directories { context, remote: None, dockerfile, filename, _temporary: temporary })
}

/// A context that the engine fetches. Its Dockerfile is in it, unless it comes from stdin or is named by an absolute path.
fn elsewhere(context: &str, file: Option<&str>) -> anyhow::Result<Directories> {
    let mut temporary = Vec::new();
    let (dockerfile, filename) = match file {
        Some("-") => {
            let (dir, name) = written(&stdin("the Dockerfile")?, &mut temporary)?;
            (Some(dir), name)
        }
        Some(file) if file.starts_with('/') => split(Path::new(file)).map(|(dir, name)| (Some(dir), Some(name)))?,
        file => (None, file.map(str::to_string)),
    };
    let remote = Some(context.to_string());
    Ok(Directories { context: None, remote, dockerfile, filename, _temporary: temporary })
}

/// Whether a context is a URL, or a repository as git writes it: `git@host:path`, or for short `github.com/...`.
fn is_remote(context: &str) -> bool {
    let user_at_host = || {
        let (user, rest) = context.split_once('@')?;
        let (host, _) = rest.split_once(':')?;
        Some([user, host].iter().all(|part| !part.is_empty() && !part.contains('/')))
    };
    let schemes = ["http://", "https://", "git://", "ssh://", "github.com/"];
    schemes.iter().any(|scheme| context.starts_with(scheme)) || user_at_host().unwrap_or(false)
}

/// Whether a context is a repository that is reached through SSH.
pub fn is_ssh(context: &str) -> bool {
    context.starts_with("ssh://") || is_remote(context) && !context.contains("://") && context.contains('@')
}

fn stdin(what: &str) -> anyhow::Result<Vec<u8>> {
    let mut data = Vec::new();
    let read = std::io::stdin().take(MAX_STDIN_BYTES).read_to_end(&mut data);
    read.with_context(|| format!("read {what} from stdin"))?;
    Ok(data)
}

/// A directory with a Dockerfile alone.
fn written(text: &[u8], temporary: &mut Vec<tempfile::TempDir>) -> anyhow::Result<(PathBuf, Option<String>)> {
    let dir = tempfile::tempdir()?;
    std::fs::write(dir.path().join("Dockerfile"), text)?;
    let path = dir.path().to_path_buf();
    temporary.push(dir);
    Ok((path, Some("Dockerfile".to_string())))
}

/// `Dockerfile`, or `dockerfile` when only that is there.
fn default_name(context: &str, dir: &Path) -> anyhow::Result<String> {
    let is_there = |name: &&str| dir.join(name).symlink_metadata().is_ok();
    let found = ["Dockerfile", "dockerfile"].into_iter().find(is_there);
    let found =
        found.with_context(|| format!("no Dockerfile in the build context {context:?}: name one with --file"))?;
    Ok(found.into())
}

fn split(file: &Path) -> anyhow::Result<(PathBuf, String)> {
    let name = file.file_name().with_context(|| format!("{} is not a file", file.display()))?;
    if !file.exists() {
        bail!("--file {}: no such file", file.display());
    }
    let dir = file.parent().filter(|dir| !dir.as_os_str().is_empty()).unwrap_or(Path::new("."));
    Ok((dir.to_path_buf(), name.to_string_lossy().into_owned()))
}

/// Unpacks a tar from stdin into `dir`; answers the text when it is a Dockerfile instead.
fn from_stdin(dir: &Path) -> anyhow::Result<Option<Vec<u8>>> {
    let data = stdin("the context")?;
    let reader: Box<dyn Read> = match data.as_slice() {
        [0x1f, 0x8b, ..] => Box::new(flate2::read::MultiGzDecoder::new(data.as_slice())),
        [0x28, 0xb5, 0x2f, 0xfd, ..] => Box::new(zstd::Decoder::new(data.as_slice())?),
        plain if plain.get(257..262) == Some(b"ustar") => Box::new(plain),
        _ => return Ok(Some(data)),
    };
    let mut archive = tar::Archive::new(reader);
    archive.set_preserve_permissions(true);
    archive.unpack(dir).context("unpack the context from stdin")?;
    Ok(None)
}

/// A context with a name: a directory is shared under that name, all else is for the frontend.
pub fn named(
    spec: &str,
    attrs: &mut BTreeMap<String, String>,
    dirs: &mut BTreeMap<String, PathBuf>,
) -> anyhow::Result<()> {
    let (name, value) = spec.split_once('=').with_context(|| format!("--build-context {spec:?}: want NAME=VALUE"))?;
    ensure!(!name.is_empty() && !value.is_empty(), "--build-context {spec:?}: want NAME=VALUE");
    let name = name.to_lowercase();
    if let Some(value) = value.strip_prefix(LAYOUT) {
        let identifier = layout(value, &format!("oci-{name}"), dirs)?;
        attrs.insert(format!("context:{name}"), identifier);
    } else if value.contains("://") || value.starts_with("target:") || value.starts_with("git@") {
        attrs.insert(format!("context:{name}"), value.into());
    } else {
        let path = PathBuf::from(value);
        ensure!(path.is_dir(), "--build-context {spec:?}: {value} is not a directory");
        attrs.insert(format!("context:{name}"), format!("local:{name}"));
        dirs.insert(name, path);
    }
    Ok(())
}

/// What names of images in OCI layouts begin with.
pub const LAYOUT: &str = "oci-layout://";

/// Shares an OCI layout of this machine, `PATH[:TAG][@DIGEST]`, as `store`, and answers what the engine calls the image in it.
pub fn layout(value: &str, store: &str, dirs: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<String> {
    let (path, reference) = layout_reference(value)?;
    dirs.insert(store.to_owned(), path);
    Ok(format!("{LAYOUT}{store}{reference}"))
}

/// The directory of a layout, and `:tag` or `@digest`. Without either the layout's only image is meant.
fn layout_reference(text: &str) -> anyhow::Result<(PathBuf, String)> {
    if let Some((path, digest)) = text.split_once('@') {
        return Ok((path.into(), format!("@{digest}")));
    }
    let (path, tag) = match text.rsplit_once(':') {
        Some((path, tag)) if !tag.contains('/') => (PathBuf::from(path), Some(tag)),
        _ => (PathBuf::from(text), None),
    };
    let index =
        std::fs::read(path.join("index.json")).with_context(|| format!("{} is no OCI layout", path.display()))?;
    let index: serde_json::Value = serde_json::from_slice(&index).context("read index.json")?;
    let manifests = index["manifests"].as_array().cloned().unwrap_or_default();
    let named = |manifest: &&serde_json::Value| match tag {
        Some(tag) => manifest["annotations"]["org.opencontainers.image.ref.name"] == tag,
        None => true,
    };
    let found: Vec<_> = manifests.iter().filter(named).collect();
    match found.as_slice() {
        [manifest] => Ok((path, format!("@{}", manifest["digest"].as_str().unwrap_or_default()))),
        [] => bail!("no image {} in the OCI layout {}", tag.unwrap_or_default(), path.display()),
        _ => bail!("several images in the OCI layout {}: name one by :TAG or @DIGEST", path.display()),
    }
}

#[cfg(test)]
mod tests {
    use super::{is_remote, is_ssh};

    #[test]
    fn contexts_elsewhere() {
        for (context, remote, ssh) in [
            ("https://h/a.git#main:dir", true, false),
            ("http://h/a.tar.gz", true, false),
            ("git://h/a", true, false),
            ("ssh://git@h/a", true, true),
            ("git@h:a/b.git", true, true),
            ("github.com/a/b", true, false),
            ("dir", false, false),
            ("dir/a@b:c", false, false),
            ("./github.com/a", false, false),
            ("-", false, false),
        ] {
            assert_eq!((is_remote(context), is_ssh(context)), (remote, ssh), "{context}");
        }
    }
}
