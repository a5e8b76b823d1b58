//! The case files of the Dockerfile frontend (`cases/dockerfile`), which its own tests run natively, through the component: what
//! passes the interface comes out as it went in. Answers are compared that need no graph in the tests' own form; of the graph
//! the vertices, by number and kind.

use std::{collections::BTreeMap, fmt::Write as _, sync::Arc};

use anyhow::ensure;
use frontend::{Error, Output, WasmFrontend, cases::place, testing::FakeBridge};
use llb::{Graph, Op};
use serde_json::Value;

use super::{Given, component};
use crate::case::Case;

/// Subrequests by the titles of their answers.
const QUESTIONS: [(&str, &str); 4] = [
    ("describe", "frontend.subrequests.describe"),
    ("outline", "frontend.outline"),
    ("targets", "frontend.targets"),
    ("lint", "frontend.lint"),
];

/// Compares each answer that the case has.
///
/// # Errors
/// What differs.
pub async fn check(frontend: &WasmFrontend, case: &Case) -> anyhow::Result<()> {
    let given = Given::as_written(case)?;
    let bridge = component::bridge(&given);
    let outcome = frontend.run(Arc::new(bridge.clone()), component::request(&given)?).await.0;
    for section in &case.sections {
        let want = section.body.as_str();
        let got = match section.title.as_str() {
            "config" => fields(&config(&outcome)["config"]),
            "history" => history(&config(&outcome)["history"]),
            "metadata" => metadata(&outcome),
            "errors" => outcome.as_ref().err().map(|error| format!("{}\n", described(error))).unwrap_or_default(),
            "warnings" => warnings(&bridge),
            "llb" => {
                let (want, got) = (kinds_of_text(want), outcome.as_ref().map(kinds).unwrap_or_default());
                if let Err(error) = &outcome {
                    anyhow::bail!("want a graph, got an error: {}", described(error));
                }
                ensure!(want == got, "vertices\n--- want\n{}\n--- got\n{}", want.join("\n"), got.join("\n"));
                continue;
            }
            title => match question(title) {
                Some((id, key)) => ask(frontend, &given, id, key).await?,
                None => continue,
            },
        };
        let same = if section.title == "metadata" { sorted(want) == sorted(&got) } else { want == got };
        ensure!(same, "{}\n--- want\n{want}--- got\n{got}", section.title);
    }
    Ok(())
}

fn question(title: &str) -> Option<(&'static str, &'static str)> {
    let (kind, key) = title.strip_suffix(".json").map_or((title, "result.txt"), |kind| (kind, "result.json"));
    QUESTIONS.iter().find(|(name, _)| *name == kind).map(|(_, id)| (*id, key))
}

async fn ask(frontend: &WasmFrontend, given: &Given, id: &str, key: &str) -> anyhow::Result<String> {
    let mut request = component::request(given)?;
    request.opts.insert("requestid".to_owned(), id.to_owned());
    let answer = match frontend.run(Arc::new(component::bridge(given)), request).await.0 {
        Ok(answer) => answer,
        Err(error) => return Ok(format!("failed: {}\n", described(&error))),
    };
    let text = answer.metadata.get(key).map(|bytes| String::from_utf8_lossy(bytes).into_owned()).unwrap_or_default();
    let text = text.trim_end_matches('\n');
    Ok(if text.is_empty() { String::new() } else { format!("{text}\n") })
}

fn sorted(text: &str) -> Vec<&str> {
    let mut lines: Vec<&str> = text.lines().collect();
    lines.sort_unstable();
    lines
}

fn config(outcome: &Result<Output, Error>) -> Value {
    let config = outcome.as_ref().ok().and_then(|output| output.metadata.get("containerimage.config"));
    config.and_then(|bytes| serde_json::from_slice(bytes).ok()).unwrap_or_default()
}

fn fields(object: &Value) -> String {
    object.as_object().into_iter().flatten().map(|(name, value)| format!("{name} {value}\n")).collect()
}

/// `+` marks entries that have a layer.
fn history(entries: &Value) -> String {
    let mut out = String::new();
    for entry in entries.as_array().into_iter().flatten() {
        let sign = if entry["empty_layer"] == true { ' ' } else { '+' };
        let text = entry["created_by"].as_str().unwrap_or_default().replace('\n', "\\n");
        let created = entry["created"].as_str().map(|created| format!(" @ {created}")).unwrap_or_default();
        let _ = writeln!(out, "{sign} {text}{created}");
    }
    out
}

fn metadata(outcome: &Result<Output, Error>) -> String {
    let entries: BTreeMap<String, Vec<u8>> = outcome.as_ref().map(|output| output.metadata.clone()).unwrap_or_default();
    entries.iter().map(|(key, value)| format!("{key} {}\n", String::from_utf8_lossy(value))).collect()
}

fn warnings(bridge: &FakeBridge) -> String {
    let warning = |warning: &frontend::Warning| format!("{}{}\n", place(warning.source.as_ref()), warning.short);
    bridge.warnings().iter().map(warning).collect()
}

fn described(error: &Error) -> String {
    format!("{}{}", place(error.source_location.as_ref()), error.message)
}

/// `NUMBER KIND` of each vertex but the Dockerfile's; of a source its identifier.
fn kinds(output: &Output) -> Vec<String> {
    let none = Arc::new(Graph::new());
    let graph = output.refs.first().map_or(&none, |(_, definition)| &definition.graph);
    let line = |(id, vertex): (llb::VertexId, &Arc<llb::Vertex>)| match &vertex.op {
        Op::Source(source) => format!("{} {}", id.0, source.identifier),
        op => format!("{} {}", id.0, op.kind()),
    };
    graph.iter().map(line).filter(|line| !line.starts_with("0 local://dockerfile")).collect()
}

/// The same of a graph in the tests' own form.
fn kinds_of_text(text: &str) -> Vec<String> {
    let vertices = text.lines().filter(|line| line.starts_with(|c: char| c.is_ascii_digit()));
    vertices.map(|line| line.split(' ').take(2).collect::<Vec<_>>().join(" ")).collect()
}
