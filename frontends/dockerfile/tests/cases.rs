//! Runs the Dockerfiles of `tests/cases/dockerfile/*.txt` over a scripted host.
//!
//! A file holds cases. A case begins with `=== NAME` and has sections, each begun by a line `-- TITLE --`. What the frontend is
//! given:
//!
//! - `images`: lines `NAME DIGEST CONFIG`, the config as the JSON of an image config's `config`, or of all of it.
//! - `opts`: lines `NAME=VALUE`. `inputs`: lines `NAME IDENTIFIER`, the source that is the input.
//! - any other title is a file of the build context; `Dockerfile` is one. `IDENTIFIER PATH` is a file of another source, and
//!   `vertex NUMBER PATH` of what a vertex makes.
//!
//! What it is to answer, compared where the section is there, and rewritten with `UPDATE=1`:
//!
//! - `llb`: the graph; `names`: how its vertices are shown, and where they stand.
//! - `config`, `history`: of the image. `metadata`: what else is answered.
//! - `errors`, `warnings`: with their places.
//! - `describe`, `outline`, `targets`, `lint`: the text that answers this question; with `.json` behind it, the JSON.

use std::{fmt::Write as _, fs, path::PathBuf, process::ExitCode};

use dockerfile::{Dockerfile, reference::Reference};
use libtest_mimic::{Arguments, Failed, Trial};
use pintle_sdk::{Frontend, Request, testing::FakeHost};
use serde_json::{Value, json};

const ANSWERS: [&str; 7] = ["llb", "names", "config", "history", "metadata", "errors", "warnings"];
const QUESTIONS: [&str; 4] = ["describe", "outline", "targets", "lint"];

/// The question that a section's title asks, and the key of the answer.
fn question(title: &str) -> Option<(&str, &str)> {
    let (kind, key) = title.strip_suffix(".json").map_or((title, "result.txt"), |kind| (kind, "result.json"));
    QUESTIONS.contains(&kind).then_some((kind, key))
}

fn is_answer(title: &str) -> bool {
    ANSWERS.contains(&title) || question(title).is_some()
}

#[derive(Clone)]
struct Case {
    name: String,
    sections: Vec<(String, String)>,
}

fn main() -> ExitCode {
    let args = Arguments::from_args();
    let update = std::env::var_os("UPDATE").is_some();
    let mut trials = Vec::new();
    for path in files() {
        let stem = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
        let cases = parse(&fs::read_to_string(&path).expect("a case file is readable"));
        if update {
            let answered: Vec<Case> = cases.iter().map(answer).collect();
            fs::write(&path, print(&answered)).expect("a case file is writable");
        }
        trials.extend(cases.into_iter().map(|case| {
            let name = format!("{stem}: {}", case.name);
            Trial::test(name, move || if update { Ok(()) } else { check(&case) })
        }));
    }
    assert!(!trials.is_empty(), "no cases were found");
    libtest_mimic::run(&args, trials).exit_code()
}

fn files() -> Vec<PathBuf> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/dockerfile");
    let entries = fs::read_dir(&folder).expect("the folder of cases is there");
    let mut files: Vec<PathBuf> = entries.map(|entry| entry.expect("an entry").path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    files
}

fn parse(text: &str) -> Vec<Case> {
    let mut cases: Vec<Case> = Vec::new();
    // Not `lines`: carriage returns belong to the files.
    for line in text.strip_suffix('\n').unwrap_or(text).split('\n') {
        if let Some(name) = line.strip_prefix("=== ") {
            cases.push(Case { name: name.to_string(), sections: Vec::new() });
            continue;
        }
        let Some(case) = cases.last_mut() else { continue };
        match (line.strip_prefix("-- ").and_then(|line| line.strip_suffix(" --")), case.sections.last_mut()) {
            (Some(title), _) => case.sections.push((title.to_string(), String::new())),
            (None, Some((_, content))) => {
                content.push_str(line);
                content.push('\n');
            }
            (None, None) => {}
        }
    }
    for (_, content) in cases.iter_mut().flat_map(|case| &mut case.sections) {
        // The empty line before the next section is not part of this one.
        if content.ends_with("\n\n") || content == "\n" {
            content.pop();
        }
    }
    cases
}

fn print(cases: &[Case]) -> String {
    let mut out = String::new();
    for case in cases {
        let gap = if out.is_empty() { "" } else { "\n" };
        writeln!(out, "{gap}=== {}", case.name).expect("a string takes all");
        for (title, content) in &case.sections {
            write!(out, "-- {title} --\n{content}").expect("a string takes all");
        }
    }
    out
}

fn check(case: &Case) -> Result<(), Failed> {
    let answered = answer(case);
    for ((title, want), (_, got)) in case.sections.iter().zip(&answered.sections) {
        if want != got {
            return Err(format!("{title} differs (UPDATE=1 rewrites it)\n--- want\n{want}--- got\n{got}").into());
        }
    }
    let compared = case.sections.iter().any(|(title, _)| is_answer(title));
    if compared { Ok(()) } else { Err("the case compares nothing".into()) }
}

/// The case with what the frontend answers in its sections.
fn answer(case: &Case) -> Case {
    let host = script(case);
    let built = host.build_request(&Dockerfile, request(case, &host));
    let metadata = |key: &str| built.as_ref().ok().and_then(|built| built.metadata(key)).unwrap_or_default();
    let config: Value = serde_json::from_str(&metadata("containerimage.config")).unwrap_or_default();
    let sections = case.sections.iter().map(|(title, content)| {
        let content = match title.as_str() {
            "llb" => graph(&host),
            "names" => names(&host),
            "config" => fields(&config["config"]),
            "history" => history(&config["history"]),
            "metadata" => built.as_ref().map(other_metadata).unwrap_or_default(),
            "errors" => built.as_ref().err().map(|error| format!("{}\n", host.describe(error))).unwrap_or_default(),
            "warnings" => {
                host.warnings().iter().map(|warning| format!("{}\n", host.describe_warning(warning))).collect()
            }
            title => question(title).map_or_else(|| content.clone(), |(kind, key)| ask(case, kind, key)),
        };
        (title.clone(), content)
    });
    let mut answered = Case { name: case.name.clone(), sections: sections.collect() };
    if let (Err(error), false) = (&built, answered.sections.iter().any(|(title, _)| title == "errors")) {
        // An error that the case does not expect shows in the first section that it compares.
        if let Some((_, content)) = answered.sections.iter_mut().find(|(title, _)| ANSWERS.contains(&title.as_str())) {
            *content = format!("failed: {}\n", host.describe(error));
        }
    }
    answered
}

fn request(case: &Case, host: &FakeHost) -> Request {
    let opts = section(case, "opts");
    let opts: Vec<(&str, &str)> = opts.lines().filter_map(|line| line.split_once('=')).collect();
    let mut request = host.request(&opts);
    for (name, identifier) in section(case, "inputs").lines().filter_map(|line| line.split_once(' ')) {
        let state = host.host().source(identifier).add().expect("an input");
        request.inputs.insert(name.to_string(), state);
    }
    request
}

/// The answer to a question, by its key.
fn ask(case: &Case, kind: &str, key: &str) -> String {
    let host = script(case);
    let answer = match Dockerfile.request(&host.host(), kind, request(case, &host)) {
        Ok(answer) => answer,
        Err(error) => return format!("failed: {}\n", host.describe(&error)),
    };
    let found = answer.metadata.iter().find(|(name, _)| name == key);
    let text = found.map(|(_, value)| String::from_utf8_lossy(value.as_bytes()).into_owned()).unwrap_or_default();
    // A section ends with one line's end, which JSON has not, or is empty.
    let text = text.trim_end_matches('\n');
    if text.is_empty() { String::new() } else { format!("{text}\n") }
}

fn section<'a>(case: &'a Case, title: &str) -> &'a str {
    case.sections.iter().find(|(name, _)| name == title).map_or("", |(_, content)| content)
}

fn script(case: &Case) -> FakeHost {
    // Both directories exist even where the case puts nothing into them.
    let mut host = FakeHost::new().file("local://context", ".keep", "").file("local://dockerfile", ".keep", "");
    for line in section(case, "images").lines().filter(|line| !line.trim().is_empty()) {
        let mut words = line.splitn(3, ' ');
        let (name, digest) = (words.next().unwrap_or_default(), words.next().unwrap_or("sha256:0"));
        let reference = Reference::parse(name).expect("an image's name").tagged().to_string();
        host = host.image(&reference, digest, &image_config(words.next().unwrap_or("{}")));
    }
    for (title, content) in &case.sections {
        if ["images", "opts", "inputs"].contains(&title.as_str()) || is_answer(title) {
            continue;
        }
        if let Some((identifier, path)) = title.split_once(' ').filter(|(identifier, _)| identifier.contains("://")) {
            host = host.file(identifier, path, content);
            continue;
        }
        let made = title.strip_prefix("vertex ").and_then(|rest| rest.split_once(' '));
        if let Some((vertex, path)) = made {
            host = host.file_of(vertex.parse().expect("a vertex's number"), path, content);
            continue;
        }
        host = host.file("local://context", title, content).file("local://dockerfile", title, content);
    }
    host
}

/// A whole image config from a short one.
fn image_config(text: &str) -> String {
    let given: Value = serde_json::from_str(text).expect("an image's config is JSON");
    if given.get("os").is_some() {
        return text.to_string();
    }
    let rootfs = json!({ "type": "layers", "diff_ids": ["sha256:1"] });
    json!({ "architecture": "amd64", "os": "linux", "config": given, "rootfs": rootfs }).to_string()
}

/// The graph without the Dockerfile's own vertex, which is the same in every case.
fn graph(host: &FakeHost) -> String {
    let graph = host.graph();
    match graph.split_once('\n') {
        Some((first, rest)) if first.starts_with("0 local://dockerfile ") => rest.to_string(),
        _ => graph,
    }
}

/// A line for each vertex that has a name, with its place and what else is not part of its identity.
fn names(host: &FakeHost) -> String {
    let (with, without) = (host.graph_with_names(), host.graph());
    let mut out = String::new();
    for (number, (named, plain)) in vertices(&with).into_iter().zip(vertices(&without)).enumerate() {
        let meta = named.strip_prefix(&plain).unwrap_or_default().trim();
        let places = host.places(u32::try_from(number).unwrap_or_default());
        let lines: Vec<&str> = places.iter().filter_map(|place| place.split(':').nth(1)).collect();
        let lines = if lines.is_empty() { String::new() } else { format!("  at {}", lines.join(",")) };
        if number > 0 {
            writeln!(out, "{number} {meta}{lines}").expect("a string takes all");
        }
    }
    out
}

/// The text of each vertex, details included.
fn vertices(graph: &str) -> Vec<String> {
    let mut out: Vec<String> = Vec::new();
    for line in graph.lines() {
        match out.last_mut() {
            Some(last) if line.starts_with(' ') => last.push_str(&format!("\n{line}")),
            _ => out.push(line.to_string()),
        }
    }
    out
}

fn fields(object: &Value) -> String {
    let fields = object.as_object().into_iter().flatten();
    fields.map(|(name, value)| format!("{name} {value}\n")).collect()
}

/// `+` marks entries that have a layer.
fn history(entries: &Value) -> String {
    let mut out = String::new();
    for entry in entries.as_array().into_iter().flatten() {
        let sign = if entry["empty_layer"] == true { ' ' } else { '+' };
        let text = entry["created_by"].as_str().unwrap_or_default().replace('\n', "\\n");
        let created = entry["created"].as_str().map(|created| format!(" @ {created}")).unwrap_or_default();
        writeln!(out, "{sign} {text}{created}").expect("a string takes all");
    }
    out
}

fn other_metadata(built: &pintle_sdk::testing::Built) -> String {
    let entries = built.output.metadata.iter();
    let line =
        |(key, value): &(String, pintle_sdk::Content)| format!("{key} {}\n", String::from_utf8_lossy(value.as_bytes()));
    entries.map(line).collect()
}
