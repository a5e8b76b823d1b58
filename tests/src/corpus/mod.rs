//! The Dockerfile frontend against BuildKit's own: cases of `cases/corpus`, whose answers BuildKit's converter gave.
//!
//! What a case gives:
//!
//! - `images`: lines `NAME [PLATFORM] DIGEST CONFIG`, the config as the JSON of an image config's `config`, or of all of it.
//! - `opts`: lines `NAME=VALUE`. `inputs`: lines `NAME IDENTIFIER`, the source that is the input.
//! - `times`: lines `IDENTIFIER SECONDS`, when a source's commit or download was made.
//! - any other title is a file of the build context; `Dockerfile` is one. `IDENTIFIER PATH` is a file of another source, and
//!   `vertex NUMBER PATH` of what a vertex makes.
//!
//! What BuildKit answered, and we must:
//!
//! - `definition [PLATFORM]`: the graph, see [`text`]. `image [PLATFORM]`: the image config. `metadata`: what else is answered.
//! - `warnings`: each with its lines. `error`: BuildKit's words; ours are our own, but we must fail too.
//!
//! `differs` says that one of them is another on purpose, by the names of [`difference::ALL`], one a line.

pub mod buildkit;
pub mod component;
pub mod difference;
mod given;
pub mod growth;
pub mod seam;
pub mod text;

use std::collections::BTreeMap;

pub use given::{Given, Image};

use crate::case::{Case, Section};

/// Titles of what is answered; a platform may follow.
const ANSWERS: [&str; 5] = ["definition", "image", "metadata", "warnings", "error"];

/// What a frontend answered, whoever it was.
#[derive(Debug, Default)]
pub struct Answer {
    /// Definitions in protobuf by platform, "" when there is one only.
    pub refs: BTreeMap<String, Vec<u8>>,
    /// By key.
    pub metadata: BTreeMap<String, String>,
    /// In the order in which they were said.
    pub warnings: Vec<Warning>,
    /// Why there is nothing else.
    pub error: Option<String>,
}

/// A warning that a frontend gave.
#[derive(Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct Warning {
    /// First and last line of each range.
    pub lines: Vec<(i32, i32)>,
    /// What is shown.
    pub message: String,
    /// More about it.
    pub detail: Vec<String>,
    /// Where to read on.
    pub url: String,
}

/// Whether a section is an answer.
fn is_answer(title: &str) -> bool {
    ANSWERS.contains(&title.split(' ').next().unwrap_or_default())
}

/// The case with `answer` instead of the answers that it has.
///
/// # Errors
/// A definition that cannot be read.
pub fn with_answer(case: &Case, answer: &Answer) -> anyhow::Result<Case> {
    let mut case = case.clone();
    case.sections.retain(|section| !is_answer(&section.title));
    let answers = text::sections(answer)?.into_iter();
    case.sections.extend(answers.map(|(title, body)| Section { title, body, ..Section::default() }));
    Ok(case)
}

/// Compares our answer with what the case holds.
///
/// # Errors
/// What differs; or that nothing does where a difference is said to be.
pub fn compare(case: &Case, answer: &Answer) -> anyhow::Result<()> {
    let wanted: BTreeMap<&str, &str> = case
        .sections
        .iter()
        .filter(|section| is_answer(&section.title))
        .map(|section| (section.title.as_str(), section.body.as_str()))
        .collect();
    anyhow::ensure!(!wanted.is_empty(), "the case has no answers: `make corpus` writes them");
    let given = text::sections(answer)?;
    let given: BTreeMap<&str, &str> = given.iter().map(|(title, body)| (title.as_str(), body.as_str())).collect();
    let named = case.sections.iter().find(|section| section.title == "differs").map_or("", |it| it.body.as_str());
    let allowed = named.lines().map(difference::find).collect::<anyhow::Result<Vec<_>>>()?;
    let found = differences(&wanted, &given, &allowed);
    anyhow::ensure!(found.is_empty(), "{found}");
    for (number, unused) in allowed.iter().enumerate() {
        let mut others = allowed.clone();
        others.remove(number);
        let shows = !differences(&wanted, &given, &others).is_empty();
        anyhow::ensure!(shows, "said to differ ({}), but does not", unused.name);
    }
    Ok(())
}

/// What differs but for what is allowed to.
fn differences(
    wanted: &BTreeMap<&str, &str>,
    given: &BTreeMap<&str, &str>,
    allowed: &[&difference::Difference],
) -> String {
    let both_fail = wanted.contains_key("error") && given.contains_key("error");
    let forget = |text: &str| allowed.iter().fold(text.to_owned(), |text, difference| (difference.forget)(&text));
    let mut out = String::new();
    for title in wanted.keys().chain(given.keys().filter(|title| !wanted.contains_key(*title))) {
        // The words of an error are our own, and so is how far we come before it.
        if both_fail {
            continue;
        }
        let (want, got) = (wanted.get(title), given.get(title));
        if forget(want.unwrap_or(&"")) != forget(got.unwrap_or(&"")) {
            let (want, got) = (want.unwrap_or(&"(none)\n"), got.unwrap_or(&"(none)\n"));
            out.push_str(&format!("{title}\n--- BuildKit\n{want}--- ours\n{got}"));
        }
    }
    out
}
