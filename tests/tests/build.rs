//! Runs the case files of `cases/build` with the `pintle` command, the embedded engine and a real registry.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use libtest_mimic::Trial;
use oci::testing::Registry;
use tests::{
    case,
    run::World,
    setup::{base_image, binaries, components, is_root},
    suite,
    web::Web,
};

fn main() -> ExitCode {
    suite::run(trials)
}

/// The trials, and what must live while they run.
fn trials() -> anyhow::Result<(Vec<Trial>, impl Sized)> {
    let cases = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/build");
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&cases)?.map(|entry| Ok(entry?.path())).collect::<std::io::Result<_>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    if !is_root() {
        eprintln!("not root: the cases that run containers on overlayfs are skipped");
        return Ok((Vec::new(), None));
    }
    let bin = binaries()?;
    let shared = tempfile::tempdir()?;
    let registry = Registry::start(shared.path())?;
    let base = base_image(&bin, shared.path(), &registry.host)?;
    let web = Web::start(&shared.path().join("web"))?;
    let env = [
        ("REGISTRY", registry.host.clone()),
        ("BASE", base),
        ("COMPONENTS", components(&bin)?),
        ("EXAMPLES", cases.join("../../../examples").canonicalize()?.display().to_string()),
        ("FROZEN", cases.with_file_name("frozen").display().to_string()),
        ("WEB", web.url),
        ("WEBROOT", web.root.display().to_string()),
    ];
    let env = env.map(|(key, value)| (key.to_string(), value)).into();
    let world = Arc::new(World { bin, env });
    let mut trials = Vec::new();
    for file in &files {
        let stem = file.file_stem().context("a case file has a name")?.to_string_lossy().into_owned();
        for case in case::read(file)? {
            let (world, name) = (world.clone(), format!("{stem}: {}", case.name));
            trials.push(Trial::test(name, move || {
                let dir = tempfile::tempdir()?;
                world.run(&case, dir.path()).map_err(|error| format!("{error:#}").into())
            }));
        }
    }
    Ok((trials, Some((registry, shared))))
}
