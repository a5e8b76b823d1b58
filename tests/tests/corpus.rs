//! Runs the cases of `cases/corpus`: our Dockerfile frontend, as the component that is shipped, answers what BuildKit's does.
//!
//! With `UPDATE=1` BuildKit's own frontend writes the answers first (`make corpus`); it is built from its Go module.

use std::{
    path::{Path, PathBuf},
    process::ExitCode,
    sync::Arc,
};

use anyhow::Context;
use frontend::WasmFrontend;
use libtest_mimic::{Arguments, Trial};
use tests::{
    case::{self, Case},
    corpus::{self, Given, buildkit, component},
    peers,
    setup::binaries,
};

/// The tool's name in the directory of the tools.
const TOOL: &str = "dockerfile";

fn main() -> ExitCode {
    let arguments = Arguments::from_args();
    match trials() {
        Ok(trials) => libtest_mimic::run(&arguments, trials).exit_code(),
        Err(error) => {
            eprintln!("cannot run the corpus: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn trials() -> anyhow::Result<Vec<Trial>> {
    let target = binaries()?.parent().context("target/PROFILE lies in target")?.to_owned();
    let tools = target.join("peers");
    if std::env::var_os("UPDATE").is_some() {
        peers::tools(&tools)?;
        files()?.iter().try_for_each(|path| update(path, &tools.join(TOOL)))?;
    }
    let executor = Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?);
    let ours = executor.block_on(component::load(&target.join("frontends")))?;
    let mut trials = Vec::new();
    for path in files()? {
        let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
        for case in case::read(&path)? {
            let (executor, ours) = (executor.clone(), ours.clone());
            let name = format!("{stem}: {}", case.name);
            let check = move || executor.block_on(check(&ours, &case)).map_err(|error| format!("{error:#}").into());
            trials.push(Trial::test(name, check));
        }
    }
    trials.push(Trial::test("answers are what BuildKit gives", move || {
        unchanged(&tools).map_err(|it| format!("{it:#}").into())
    }));
    Ok(trials)
}

/// The files of cases, in order.
fn files() -> anyhow::Result<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases/corpus");
    let entries = std::fs::read_dir(&dir).with_context(|| dir.display().to_string())?;
    let mut files = entries.map(|entry| Ok(entry?.path())).collect::<anyhow::Result<Vec<PathBuf>>>()?;
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    Ok(files)
}

async fn check(ours: &WasmFrontend, case: &Case) -> anyhow::Result<()> {
    let (answer, _) = component::answer(ours, &Given::new(case)?).await?;
    corpus::compare(case, &answer)
}

/// The cases of a file as BuildKit answers them.
fn answered(path: &Path, tool: &Path) -> anyhow::Result<String> {
    let cases = case::read(path)?;
    let given = cases.iter().map(Given::new).collect::<anyhow::Result<Vec<_>>>()?;
    let answers = buildkit::answers(tool, &given)?;
    let cases = cases.iter().zip(&answers).map(|(case, answer)| corpus::with_answer(case, answer));
    let cases: Vec<Case> = cases.collect::<anyhow::Result<_>>()?;
    let text = std::fs::read_to_string(path)?;
    let about = text.split("=== ").next().unwrap_or_default();
    Ok(format!("{about}{}", case::print(&cases)))
}

fn update(path: &Path, tool: &Path) -> anyhow::Result<()> {
    let text = answered(path, tool).with_context(|| path.display().to_string())?;
    Ok(std::fs::write(path, text)?)
}

/// BuildKit, asked again, gives the answers that are kept.
fn unchanged(tools: &Path) -> anyhow::Result<()> {
    if let Err(error) = peers::tools(tools) {
        eprintln!("BuildKit's frontend cannot be built, so it is not asked: {error:#}");
        return Ok(());
    }
    for path in files()? {
        let (kept, now) = (std::fs::read_to_string(&path)?, answered(&path, &tools.join(TOOL))?);
        let line = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
        let line = line.map_or(0, |line| line + 1);
        anyhow::ensure!(kept == now, "{}:{line}: BuildKit answers otherwise; `make corpus` writes it", path.display());
    }
    Ok(())
}
