//! What builds leave in layers, against what BuildKit left: the cases of `cases/files`, whose listings BuildKit's own daemon made.
//! With `UPDATE=1` it makes them anew (`make corpus`).

use std::{
    path::{Path, PathBuf},
    process::{Command, ExitCode, Output},
    sync::Arc,
};

use anyhow::{Context, ensure};
use libtest_mimic::Trial;
use oci::testing::Registry;
use tests::{
    case::{self, Case, CaseFile, Section},
    daemon::Daemon,
    layers, peers,
    setup::{base_image, binaries, is_root},
    suite,
};

/// Sections with what BuildKit answered: the layers of the image that it built, or that it built none.
const ANSWERS: [&str; 2] = ["layers", "fails"];

fn main() -> ExitCode {
    suite::run(|| Ok((trials()?, ())))
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    if !is_root() {
        eprintln!("not root: layers have owners and device files, so all cases are skipped");
        return Ok(Vec::new());
    }
    let bin = binaries()?;
    let dir = tempfile::tempdir()?;
    let registry = Registry::start(dir.path())?;
    let base = base_image(&bin, dir.path(), &registry.host)?;
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/files");
    let path = folder.join("layers.txt");
    if std::env::var_os("UPDATE").is_some() {
        update(&path, &bin, &registry.host, &base)?;
    }
    let shared = Arc::new(Shared { bin, base, _registry: registry, _dir: dir });
    let trials = case::read(&path)?.into_iter().map(|case| {
        let shared = shared.clone();
        Trial::test(case.name.clone(), move || check(&shared, &case).map_err(|error| format!("{error:#}").into()))
    });
    Ok(trials.collect())
}

/// What all cases share.
struct Shared {
    bin: PathBuf,
    base: String,
    // Dropped last.
    _registry: Registry,
    _dir: tempfile::TempDir,
}

fn check(shared: &Shared, case: &Case) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let mut command = Command::new(shared.bin.join("pintle"));
    command.args(["build", "--progress=plain", "--provenance=false"]).arg(context(case, &shared.base, dir.path())?);
    // A store of its own: what was sent of one context stays for the next of the same name.
    command.arg(format!("--output={}", output(dir.path()))).env("PINTLE_ROOT", dir.path().join("root"));
    let given = answer(&command.output()?, dir.path())?;
    let wanted = case.sections.iter().find(|section| ANSWERS.contains(&section.title.as_str()));
    let wanted = wanted.context("the case has no answer: `make corpus` writes them")?;
    ensure!(
        given.title == wanted.title && given.body == wanted.body,
        "BuildKit:\n-- {} --\n{}\nhere:\n-- {} --\n{}",
        wanted.title,
        wanted.body,
        given.title,
        given.body
    );
    Ok(())
}

/// Writes the directory that a case is built in; answers where it is.
fn context(case: &Case, base: &str, dir: &Path) -> anyhow::Result<PathBuf> {
    let section = case.sections.iter().find(|section| section.title == "Dockerfile").context("no Dockerfile")?;
    let context = dir.join("context");
    layers::plant(&context)?;
    std::fs::write(context.join("Dockerfile"), section.body.replace("$BASE", base))?;
    Ok(context)
}

/// A layout as a directory. New layers are not compressed, so that those of the base, which are, can be told from them.
fn output(dir: &Path) -> String {
    format!("type=oci,tar=false,compression=uncompressed,dest={}", dir.join("image").display())
}

fn answer(output: &Output, dir: &Path) -> anyhow::Result<Section> {
    let (title, body) = match output.status.success() {
        true => ("layers", layers::text(&dir.join("image"))?),
        false => ("fails", String::new()),
    };
    if std::env::var_os("VERBOSE").is_some() {
        eprintln!("{}", String::from_utf8_lossy(&output.stderr));
    }
    Ok(Section { title: title.to_owned(), body, ..Section::default() })
}

/// Has BuildKit's daemon build all cases.
fn update(path: &Path, bin: &Path, registry: &str, base: &str) -> anyhow::Result<()> {
    let tools = bin.parent().context("target/PROFILE lies in target")?.join("peers");
    peers::tools(&tools)?;
    peers::daemon(&tools)?;
    let state = tempfile::tempdir()?;
    let daemon = Daemon::start_buildkit(&tools, state.path(), registry)?;
    let mut file = case::parse(&std::fs::read_to_string(path)?)?;
    for case in &mut file.cases {
        let dir = tempfile::tempdir()?;
        let context = context(case, base, dir.path())?.display().to_string();
        let mut command = Command::new(tools.join("buildctl"));
        command.args(["--addr", daemon.address(), "build", "--progress=plain", "--frontend=dockerfile.v0"]);
        command.args([format!("--local=context={context}"), format!("--local=dockerfile={context}")]);
        command.arg(format!("--output={}", output(dir.path())));
        let answered = answer(&command.output()?, dir.path()).with_context(|| case.name.clone())?;
        case.sections.retain(|section| !ANSWERS.contains(&section.title.as_str()));
        case.sections.push(answered);
    }
    let text = case::print(&CaseFile { about: file.about, cases: file.cases });
    Ok(std::fs::write(path, text)?)
}
