use serde_json::Value;

use super::{Lines, Object, answer, base64, location};
use crate::{Answer, Content};

const VERSION: &str = "1.0.0";

/// What is likely a mistake in a build file.
#[derive(Clone, Debug, Default)]
pub struct Lint {
    /// In the order in which they were found.
    pub warnings: Vec<Warned>,
    /// What is wrong for certain.
    pub error: Option<Broken>,
    /// The file's name.
    pub filename: String,
    /// Its language, for highlighting.
    pub language: String,
    /// Its text.
    pub source: String,
}

/// A rule that was not kept.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Warned {
    /// What users may name to have it left out.
    pub rule: String,
    /// What the rule is.
    pub description: String,
    /// Where it is explained.
    pub url: String,
    /// What is wrong here.
    pub detail: String,
    pub lines: Lines,
}

/// Why the file cannot be built.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Broken {
    pub message: String,
    pub lines: Vec<Lines>,
}

impl From<&Lint> for Answer {
    fn from(lint: &Lint) -> Self {
        let mut answer = answer(VERSION, &lint.json(), lint.text());
        let status = if lint.warnings.is_empty() && lint.error.is_none() { "0" } else { "1" };
        answer.metadata.push(("result.statuscode".to_owned(), Content::Text(status.to_owned())));
        answer
    }
}

impl Lint {
    fn json(&self) -> Value {
        let warning = |warned: &Warned| {
            Object::default()
                .field("ruleName", warned.rule.as_str())
                .optional("description", warned.description.as_str())
                .optional("url", warned.url.as_str())
                .optional("detail", warned.detail.as_str())
                .field("location", location([warned.lines]))
                .end()
        };
        let warnings: Vec<Value> = self.warnings.iter().map(warning).collect();
        // BuildKit says `null` for no warnings.
        let warnings = if warnings.is_empty() { Value::Null } else { warnings.into() };
        let source = Object::default()
            .optional("filename", self.filename.as_str())
            .optional("data", base64(&self.source))
            .optional("language", self.language.as_str())
            .end();
        let error = self.error.as_ref().map(|broken| {
            let location = location(broken.lines.iter().copied());
            Object::default().field("message", broken.message.as_str()).field("location", location).end()
        });
        let object = Object::default().field("warnings", warnings).field("sources", vec![source]);
        object.optional("buildError", error).end()
    }

    /// Warnings by line, each with the lines that it is about.
    fn text(&self) -> String {
        let mut warnings: Vec<&Warned> = self.warnings.iter().collect();
        warnings.sort_by_key(|warned| warned.lines.0);
        warnings.into_iter().map(|warned| self.warning(warned)).collect()
    }

    fn warning(&self, warned: &Warned) -> String {
        let url = if warned.url.is_empty() { String::new() } else { format!(" - {}", warned.url) };
        format!("\nWARNING: {}{url}\n{}\n{}", warned.rule, warned.detail, self.excerpt(warned.lines))
    }

    /// The lines with their neighbours: two on each side of one line, one of several.
    fn excerpt(&self, (first, last): Lines) -> String {
        let lines: Vec<&str> = self.source.split('\n').collect();
        let (start, end) = (first as usize, (last as usize).min(lines.len()));
        if start < 1 || start > end {
            return String::new();
        }
        let wanted = if start == end { 4 } else { 2 };
        let (mut from, mut to, mut shown) = (start, end, 0);
        while shown < wanted {
            // What is missing on one side is made up for on the other, in part: so BuildKit counts.
            if from > 1 {
                (from, shown) = (from - 1, shown + 1);
            }
            if to != lines.len() {
                (to, shown) = (to + 1, shown + 1);
            }
            shown += 1;
        }
        let line = |number: usize| {
            let mark = if (start..=end).contains(&number) { ">>>" } else { "   " };
            format!(" {number:>3} | {mark} {}\n", lines[number - 1])
        };
        let rule = "--------------------\n";
        format!("{}:{start}\n{rule}{}{rule}", self.filename, (from..=to).map(line).collect::<String>())
    }
}
