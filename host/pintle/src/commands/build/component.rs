//! Where the component lies that `--frontend` names by its path.

use std::{
    collections::BTreeMap,
    path::{Component, Path, PathBuf},
};

use anyhow::bail;

/// The name that the engine knows a frontend by. A component's path is relative to the build file; where it is not there, but is to
/// be found from here, its directory is shared too.
///
/// # Errors
/// A path where there is no component, with what was tried and what may have been meant.
pub fn find(frontend: &str, dockerfile: Option<&Path>, dirs: &mut BTreeMap<String, PathBuf>) -> anyhow::Result<String> {
    let path = Path::new(frontend);
    if is_path(frontend) && path.is_dir() {
        bail!("--frontend {frontend}: a directory, and no component{}", hint(path));
    }
    if !frontend.ends_with(".wasm") {
        return Ok(frontend.to_owned());
    }
    // What is above the build file's directory is not sent with it.
    let is_below = path.components().all(|part| matches!(part, Component::CurDir | Component::Normal(_)));
    let beside = dockerfile.filter(|_| is_below).map(|dir| dir.join(path));
    if beside.as_deref().is_some_and(Path::is_file) {
        return Ok(frontend.to_owned());
    }
    if let (true, Some(name)) = (path.is_file(), path.file_name().and_then(|name| name.to_str())) {
        dirs.insert("frontend".into(), parent(path).to_path_buf());
        return Ok(format!("frontend:{name}"));
    }
    match dockerfile {
        // It may be in the repository that is built.
        None => Ok(frontend.to_owned()),
        Some(_) => bail!("--frontend {frontend}: no such file{}{}", also_tried(path, beside), hint(parent(path))),
    }
}

/// Whether a name is meant as a path, and can be nothing else.
fn is_path(frontend: &str) -> bool {
    frontend.starts_with(['.', '/'])
        || frontend.ends_with('/')
        || frontend.ends_with(".wasm")
        || !frontend.contains(['/', ':', '@', '.'])
}

fn parent(path: &Path) -> &Path {
    path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."))
}

/// Where else a file was looked for.
fn also_tried(path: &Path, beside: Option<PathBuf>) -> String {
    let parts = |path: &Path| path.components().filter(|part| *part != Component::CurDir).collect::<PathBuf>();
    let beside = beside.filter(|beside| parts(beside) != parts(path));
    beside.map_or(String::new(), |beside| format!(", and there is no {} either", beside.display()))
}

fn hint(dir: &Path) -> String {
    let entries = std::fs::read_dir(dir).into_iter().flatten().flatten();
    let names: Vec<_> = entries.map(|entry| entry.file_name().to_string_lossy().into_owned()).collect();
    let dir = if dir == Path::new(".") { String::new() } else { dir.display().to_string() };
    build::frontend_hint(&dir, &names)
}
