//! `pintle frontend test`: golden cases of a frontend, run by the real runtime over a host that answers from the case.
//!
//! A case file is text, see [`frontend::cases`]; what its sections mean is in `sdk/cases.md`.

mod answer;
mod bridge;
pub mod diff;
mod given;
mod paths;

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use anyhow::{Context, bail, ensure};
use frontend::{
    Frontend, Runtime, WasmFrontend,
    cases::{Case, CaseFile, Section},
};

use self::{
    bridge::{Callable, CaseBridge},
    given::Given,
};
use super::project;
use crate::{embedded::Place, frontends};

/// The frontend of this program, which a case's frontend may call.
const DOCKERFILE: &str = "dockerfile.v0";

#[derive(clap::Args)]
pub struct Test {
    /// The project's directory.
    #[arg(value_name = "DIR", default_value = ".")]
    dir: PathBuf,

    /// A case file, or a directory of them; DIR/cases when not given.
    #[arg(long, value_name = "PATH")]
    cases: Option<PathBuf>,

    /// The component; without it the project is built first.
    #[arg(long, value_name = "FILE")]
    frontend: Option<PathBuf>,

    /// Run the cases whose names have this text in them alone.
    #[arg(long, value_name = "TEXT")]
    filter: Option<String>,

    /// Write what the frontend answers as what is expected.
    #[arg(long)]
    update: bool,
}

/// What a case came to.
enum Outcome {
    Passed,
    /// It answers otherwise; the case as it would be right.
    Differs(Case, String),
    /// It cannot be right as it is.
    Broken(String),
}

pub async fn run(test: Test, place: &Place) -> anyhow::Result<()> {
    let files = case_files(test.cases.as_deref().unwrap_or(&test.dir.join("cases")))?;
    let component = match &test.frontend {
        Some(file) => file.clone(),
        None => project::build(&test.dir, None)?,
    };
    let runtime = frontends::runtime(&place.root, place.config.limits())?;
    let frontend = load(&runtime, &component).await?;
    let (mut passed, mut failed) = (0, 0);
    for path in &files {
        let text = std::fs::read_to_string(path).with_context(|| format!("read {}", path.display()))?;
        let mut file = frontend::cases::parse(&text).with_context(|| format!("in {}", path.display()))?;
        let failures = run_file(&test, &frontend, path, &mut file, &mut passed).await;
        failed += failures;
        let written = frontend::cases::print(&file);
        if test.update && written != text {
            std::fs::write(path, written).with_context(|| format!("write {}", path.display()))?;
        }
    }
    let count = passed + failed;
    match &test.filter {
        Some(filter) => ensure!(count > 0, "no case has a name with {filter:?} in it"),
        None => ensure!(count > 0, "{}: no cases are in it: `=== NAME` begins one", shown(&files)),
    }
    println!("{passed} passed, {failed} failed");
    ensure!(
        failed == 0,
        "{failed} of {count} cases failed: lines with - are what a case expects, and those with + what the frontend answers, \
         which --update writes"
    );
    Ok(())
}

fn shown(files: &[PathBuf]) -> String {
    files.iter().map(|path| path.display().to_string()).collect::<Vec<_>>().join(", ")
}

/// Runs the cases of a file, which have their new expectations afterwards; answers how many failed.
async fn run_file(test: &Test, frontend: &WasmFrontend, path: &Path, file: &mut CaseFile, passed: &mut usize) -> usize {
    let dir = path.parent().unwrap_or(Path::new("."));
    let mut failed = 0;
    for case in &mut file.cases {
        let title = format!("{}: {}", path.file_stem().unwrap_or_default().to_string_lossy(), case.name);
        if test.filter.as_ref().is_some_and(|filter| !title.contains(filter.as_str())) {
            continue;
        }
        match run_case(frontend, case, dir).await.unwrap_or_else(|error| Outcome::Broken(format!("{error:#}\n"))) {
            Outcome::Passed => {
                *passed += 1;
                println!("ok       {title}");
            }
            Outcome::Differs(right, _) if test.update => {
                *passed += 1;
                *case = right;
                println!("updated  {title}");
            }
            Outcome::Differs(_, why) | Outcome::Broken(why) => {
                failed += 1;
                println!("FAILED   {title} ({}:{})", path.display(), case.line);
                why.lines().for_each(|line| println!("{}", format!("    {line}").trim_end()));
            }
        }
    }
    failed
}

async fn run_case(frontend: &WasmFrontend, case: &Case, dir: &Path) -> anyhow::Result<Outcome> {
    let given = Given::new(case, dir)?;
    let callable = callable(&given, frontend.runtime()).await?;
    let request = given.request.clone();
    let bridge = CaseBridge::new(given, callable);
    let outcome = frontend.build(Arc::new(bridge.clone()), request).await;
    let answers = answer::sections(&outcome, &bridge.said().warnings)?;
    let right = with_answers(case, answers);
    let log = bridge.said().logs.iter().map(|line| format!("log {line}\n")).collect::<String>();
    let text = differences(case, &right);
    let mismatches: String = bridge.mismatches().iter().map(|line| format!("{line}\n")).collect();
    if !mismatches.is_empty() {
        // What was answered without an answer that it needed says nothing.
        let text = if bridge.lacks_answers() { String::new() } else { text };
        return Ok(Outcome::Broken(mismatches + &text + &log));
    }
    Ok(if text.is_empty() { Outcome::Passed } else { Outcome::Differs(right, text + &log) })
}

/// The frontends that a case may call.
async fn callable(given: &Given, runtime: &Runtime) -> anyhow::Result<Callable> {
    let mut callable = Callable::new();
    callable.insert(DOCKERFILE.into(), frontends::dockerfile(runtime.clone()));
    for (name, path) in &given.frontends {
        callable.insert(name.clone(), Arc::new(load(runtime, path).await?));
    }
    Ok(callable)
}

async fn load(runtime: &Runtime, path: &Path) -> anyhow::Result<WasmFrontend> {
    let bytes = std::fs::read(path).with_context(|| format!("read {}", path.display()))?;
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    Ok(runtime.load(bytes, &name).await?)
}

/// The case with these expectations.
fn with_answers(case: &Case, answers: Vec<(String, String)>) -> Case {
    let mut case = case.clone();
    case.sections.retain(|section| !answer::is_expected(&section.title));
    case.sections.iter_mut().next_back().into_iter().for_each(|last| last.is_spaced = false);
    case.sections.extend(answers.into_iter().map(|(title, body)| Section { title, body, ..Section::default() }));
    case
}

/// What `right` has otherwise.
fn differences(case: &Case, right: &Case) -> String {
    let expected = |case: &Case| -> Vec<(String, String)> {
        let sections = case.sections.iter().filter(|section| answer::is_expected(&section.title));
        sections.map(|section| (section.title.clone(), section.body.clone())).collect()
    };
    let (want, got) = (expected(case), expected(right));
    let body = |sections: &[(String, String)], title: &str| {
        sections.iter().find(|(known, _)| known == title).map(|(_, body)| body.clone()).unwrap_or_default()
    };
    let gone = want.iter().filter(|(title, _)| !got.iter().any(|(known, _)| known == title));
    let mut out = String::new();
    for (title, _) in got.iter().chain(gone) {
        let difference = diff::diff(&body(&want, title), &body(&got, title));
        if !difference.is_empty() {
            out.push_str(&format!("-- {title} --\n{difference}"));
        }
    }
    out
}

/// The case files under a path, by name.
fn case_files(path: &Path) -> anyhow::Result<Vec<PathBuf>> {
    if path.is_file() {
        return Ok(vec![path.to_owned()]);
    }
    let entries = std::fs::read_dir(path).with_context(|| {
        format!("{}: cases are text files in this directory; --cases names another", path.display())
    })?;
    let mut files = Vec::new();
    for entry in entries {
        let path = entry?.path();
        if path.extension().is_some_and(|extension| extension == "txt") {
            files.push(path);
        }
    }
    files.sort();
    if files.is_empty() {
        bail!("{}: no case files (NAME.txt) are in it", path.display());
    }
    Ok(files)
}
