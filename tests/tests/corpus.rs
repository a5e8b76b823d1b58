//! The Dockerfile frontend as the component that is shipped. It answers the cases of `cases/corpus` as BuildKit's own does, and
//! those of `cases/dockerfile` as it does natively; and its work grows with the text as it should.
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
    case::{self, Case, CaseFile},
    corpus::{self, Given, buildkit, component, growth, seam},
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
        files("corpus")?.iter().try_for_each(|path| update(path, &tools.join(TOOL)))?;
    }
    let executor = Arc::new(tokio::runtime::Builder::new_multi_thread().worker_threads(1).build()?);
    let ours = executor.block_on(component::load(&target.join("frontends")))?;
    let runner = Runner { executor, ours };
    let mut trials = Vec::new();
    for folder in ["corpus", "dockerfile"] {
        for path in files(folder)? {
            let stem = path.file_stem().unwrap_or_default().to_string_lossy().into_owned();
            for case in case::read(&path)? {
                let name = format!("{folder}/{stem}: {}", case.name);
                trials.push(match folder {
                    "corpus" => runner.trial(name, async move |ours| check(ours, &case).await),
                    _ => runner.trial(name, async move |ours| seam::check(ours, &case).await),
                });
            }
        }
    }
    for (name, text) in growth::TEXTS {
        trials.push(
            runner.trial(format!("work grows with the text: {name}"), async move |ours| {
                growth::is_linear(ours, text).await
            }),
        );
    }
    trials.push(runner.trial("ten thousand lines".to_owned(), async |ours| growth::within_limits(ours).await));
    let size = std::fs::metadata(target.join("frontends/dockerfile.wasm"))?.len();
    trials.push(runner.trial("the component is small".to_owned(), async move |_| {
        anyhow::ensure!(size <= growth::COMPONENT_BYTES as u64, "{size} bytes, more than {}", growth::COMPONENT_BYTES);
        Ok(())
    }));
    trials.push(runner.trial("answers are what BuildKit gives".to_owned(), async move |_| unchanged(&tools)));
    Ok(trials)
}

/// What all trials run with.
struct Runner {
    executor: Arc<tokio::runtime::Runtime>,
    ours: WasmFrontend,
}

impl Runner {
    fn trial(
        &self,
        name: String,
        test: impl AsyncFnOnce(&WasmFrontend) -> anyhow::Result<()> + Send + 'static,
    ) -> Trial {
        let (executor, ours) = (self.executor.clone(), self.ours.clone());
        Trial::test(name, move || executor.block_on(test(&ours)).map_err(|error| format!("{error:#}").into()))
    }
}

/// The files of cases in a folder, in order.
fn files(folder: &str) -> anyhow::Result<Vec<PathBuf>> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("cases").join(folder);
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
    let file = case::parse(&std::fs::read_to_string(path)?)?;
    let given = file.cases.iter().map(Given::new).collect::<anyhow::Result<Vec<_>>>()?;
    let answers = buildkit::answers(tool, &given)?;
    let cases = file.cases.iter().zip(&answers).map(|(case, answer)| corpus::with_answer(case, answer));
    let cases = cases.collect::<anyhow::Result<_>>()?;
    Ok(case::print(&CaseFile { about: file.about, cases }))
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
    for path in files("corpus")? {
        let (kept, now) = (std::fs::read_to_string(&path)?, answered(&path, &tools.join(TOOL))?);
        let line = kept.lines().zip(now.lines()).position(|(kept, now)| kept != now);
        let line = line.map_or(0, |line| line + 1);
        anyhow::ensure!(kept == now, "{}:{line}: BuildKit answers otherwise; `make corpus` writes it", path.display());
    }
    Ok(())
}
