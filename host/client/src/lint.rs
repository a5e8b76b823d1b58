//! The answer to `frontend.lint`, and its text as docker's clients print it.

use std::fmt::Write as _;

use serde::Deserialize;

use crate::progress::{Range, SourceInfo, harmless};

/// What a frontend finds wrong with a build file.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Findings {
    warnings: Option<Vec<Warning>>,
    sources: Vec<SourceInfo>,
    #[serde(rename = "buildError")]
    error: Option<Broken>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Warning {
    rule_name: String,
    url: String,
    detail: String,
    location: Location,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
struct Broken {
    message: String,
    location: Location,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Location {
    source_index: usize,
    ranges: Vec<Range>,
}

impl Location {
    /// First and last line.
    fn lines(&self) -> Option<(i64, i64)> {
        let first = self.ranges.iter().map(|range| range.start.line).min()?;
        Some((first, self.ranges.iter().map(|range| range.end.line.max(range.start.line)).max()?))
    }
}

impl Findings {
    /// Reads `result.json`.
    pub fn parse(json: &str) -> serde_json::Result<Self> {
        serde_json::from_str(json)
    }

    /// Shows the build file under another name.
    pub fn rename(&mut self, name: &str) {
        self.sources.iter_mut().for_each(|source| source.filename = name.to_owned());
    }

    /// How many, and each by line.
    pub fn text(&self) -> String {
        let mut warnings: Vec<&Warning> = self.warnings.iter().flatten().collect();
        warnings.sort_by_key(|warning| warning.location.lines());
        let mut out = match (warnings.len(), &self.error) {
            (0, None) => "Check complete, no warnings found.\n".to_owned(),
            (0, Some(_)) => String::new(),
            (1, _) => "Check complete, 1 warning has been found!\n".to_owned(),
            (count, _) => format!("Check complete, {count} warnings have been found!\n"),
        };
        for warning in &warnings {
            let url = if warning.url.is_empty() { String::new() } else { format!(" - {}", warning.url) };
            let (rule, detail) = (harmless(&warning.rule_name), harmless(&warning.detail));
            let _ = write!(out, "\nWARNING: {rule}{}\n{detail}\n{}", harmless(&url), self.excerpt(&warning.location));
        }
        if self.error.is_some() && !warnings.is_empty() {
            out.push('\n');
        }
        out
    }

    /// Why the file cannot be built, with the lines that it is about.
    pub fn error(&self) -> Option<String> {
        let error = self.error.as_ref()?;
        Some(format!("{}\n{}", harmless(&error.message), self.excerpt(&error.location)))
    }

    /// The lines with their neighbours: two on each side of one line, one of several.
    fn excerpt(&self, location: &Location) -> String {
        let Some(source) = self.sources.get(location.source_index) else { return String::new() };
        let text = source.data.text();
        let lines: Vec<&str> = text.split('\n').collect();
        let in_file = |line: i64| usize::try_from(line).ok().filter(|line| *line > 0);
        let place = location.lines().and_then(|(first, last)| Some((in_file(first)?, in_file(last)?.min(lines.len()))));
        let Some((first, last)) = place.filter(|(first, last)| first <= last) else { return String::new() };
        let wanted = if first == last { 4 } else { 2 };
        let (mut from, mut to, mut shown) = (first, last, 0);
        while shown < wanted {
            // What is missing on one side is made up for on the other, in part: so docker's clients count.
            if from > 1 {
                (from, shown) = (from - 1, shown + 1);
            }
            if to != lines.len() {
                (to, shown) = (to + 1, shown + 1);
            }
            shown += 1;
        }
        let rule = "--------------------";
        let mut out = format!("{}:{first}\n{rule}\n", harmless(&source.filename));
        for number in from..=to {
            let line = number as i64;
            let hit = |range: &Range| (range.start.line..=range.end.line.max(range.start.line)).contains(&line);
            let mark = if location.ranges.iter().any(hit) { ">>>" } else { "   " };
            let _ = writeln!(out, " {number:>3} | {mark} {}", harmless(lines[number - 1]));
        }
        let _ = writeln!(out, "{rule}");
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Over the source `a\nb\nc\nd\n`.
    fn findings(rest: &str) -> Findings {
        let sources = r#""sources":[{"filename":"Dockerfile","data":"YQpiCmMKZAo="}]"#;
        let mut findings = Findings::parse(&format!("{{{sources},{rest}}}")).unwrap();
        findings.rename("dir/Dockerfile");
        findings
    }

    fn at(line: i64) -> String {
        format!(r#"{{"ranges":[{{"start":{{"line":{line}}},"end":{{"line":{line}}}}}]}}"#)
    }

    #[test]
    fn warnings_stand_in_the_order_of_lines() {
        let warning = |rule: &str, line| format!(r#"{{"ruleName":"{rule}","detail":"d","location":{}}}"#, at(line));
        let text = findings(&format!(r#""warnings":[{},{}]"#, warning("Two", 4), warning("One", 1))).text();
        let want = "Check complete, 2 warnings have been found!

WARNING: One
d
dir/Dockerfile:1
--------------------
   1 | >>> a
   2 |     b
   3 |     c
--------------------

WARNING: Two
d
dir/Dockerfile:4
--------------------
   2 |     b
   3 |     c
   4 | >>> d
   5 |     \n--------------------
";
        assert_eq!(text, want);
    }

    #[test]
    fn errors_and_nothing() {
        assert_eq!(findings(r#""warnings":null"#).text(), "Check complete, no warnings found.\n");
        let broken = findings(&format!(r#""buildError":{{"message":"no\nway","location":{}}}"#, at(2)));
        assert_eq!(broken.text(), "");
        assert!(broken.error().unwrap().starts_with("no\nway\ndir/Dockerfile:2\n"));
    }

    #[test]
    fn places_that_are_not_there() {
        for line in [i64::MIN, -1, 0, 6, i64::MAX] {
            let broken = findings(&format!(r#""buildError":{{"message":"no","location":{}}}"#, at(line)));
            assert_eq!(broken.error().unwrap(), "no\n", "{line}");
        }
    }
}
