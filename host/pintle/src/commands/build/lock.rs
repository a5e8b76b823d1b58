//! The lock file beside a Dockerfile.

use std::{collections::BTreeMap, path::Path};

use anyhow::{Context, bail, ensure};
use build::{LOCK_BYTES_MAX, LOCK_FILE, Lock};

use crate::{api, text};

/// Puts what the lock file in `dir` says into the options of a build. With `locked`, there has to be one.
pub fn fill(dir: Option<&Path>, locked: bool, attrs: &mut BTreeMap<String, String>) -> anyhow::Result<()> {
    let text = match dir {
        Some(dir) => read(dir)?,
        None => None,
    };
    if locked {
        match (&text, dir) {
            (Some(_), _) => {}
            (None, Some(dir)) => {
                bail!("--locked: there is no {LOCK_FILE} in {}: run `pintle lock` to write it", dir.display())
            }
            (None, None) => {
                bail!("--locked: the Dockerfile is no file of this machine, so no {LOCK_FILE} lies beside it")
            }
        }
        attrs.insert(api::LOCKED.into(), "true".into());
    }
    attrs.extend(text.map(|text| (api::LOCK.to_string(), text)));
    Ok(())
}

/// The lock file's text, checked.
fn read(dir: &Path) -> anyhow::Result<Option<String>> {
    let path = dir.join(LOCK_FILE);
    let is_absent = |error: &anyhow::Error| {
        error.downcast_ref::<std::io::Error>().is_some_and(|error| error.kind() == std::io::ErrorKind::NotFound)
    };
    let text = match text::read(&path, LOCK_BYTES_MAX as u64) {
        // A link that leads nowhere was to lead to a lock.
        Err(error) if is_absent(&error) && !path.is_symlink() => return Ok(None),
        other => other?,
    };
    let checked = Lock::parse(&text);
    checked.map_err(|error| anyhow::anyhow!("{}:{}: {}", path.display(), error.line, error.why))?;
    Ok(Some(text))
}

/// Writes the lock file.
pub fn write(dir: &Path, lock: &Lock) -> anyhow::Result<()> {
    let path = dir.join(LOCK_FILE);
    let text = lock.to_string();
    ensure!(text.len() <= LOCK_BYTES_MAX, "{}: the lock has more than {LOCK_BYTES_MAX} bytes", path.display());
    let temporary = tempfile::NamedTempFile::new_in(dir).with_context(|| format!("write {}", path.display()))?;
    std::fs::write(temporary.path(), text)?;
    std::fs::set_permissions(temporary.path(), std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
    temporary.persist(&path).with_context(|| format!("write {}", path.display()))?;
    Ok(())
}
