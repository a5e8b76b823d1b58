//! Checks: what is likely a mistake but no error. Names, texts and links are those that BuildKit's users know.

mod rules;
mod syntax;

pub use rules::Rule;
pub use syntax::check;

use crate::{
    instruction::Instruction,
    lex::parse_directive,
    source::{Lines, Span},
    text::parse_bool,
};

/// A check that did not pass.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Finding {
    /// The check.
    pub rule: Rule,
    /// What is wrong.
    pub message: String,
    /// Where.
    pub span: Span,
    /// The lines of the instruction that it is about, heredocs included; `None`: those of `span`.
    pub lines: Option<Lines>,
}

/// Which checks are made: `skip=A,B;error=true;experimental=all`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    skip: Selection,
    experimental: Selection,
    /// A finding fails the build.
    pub error: bool,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
struct Selection {
    all: bool,
    names: Vec<String>,
}

impl Selection {
    fn parse(text: &str) -> Self {
        match text.trim() {
            "all" => Selection { all: true, names: Vec::new() },
            names => Selection { all: false, names: names.split(',').map(|name| name.trim().to_string()).collect() },
        }
    }

    fn has(&self, rule: Rule) -> bool {
        self.all || self.names.iter().any(|name| name == rule.name())
    }
}

impl Settings {
    /// Reads the value of a `check` directive. Errors are lower-case fragments.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut settings = Settings::default();
        for part in text.trim().split(';').filter(|_| !text.trim().is_empty()) {
            let (key, value) = part.split_once('=').ok_or_else(|| format!("invalid check option {part:?}"))?;
            match key.trim() {
                "skip" => settings.skip = Selection::parse(value),
                "experimental" => settings.experimental = Selection::parse(value),
                "error" => {
                    settings.error =
                        parse_bool(value.trim()).ok_or_else(|| format!("invalid check option {part:?}"))?;
                }
                key => return Err(format!("invalid check option {key:?}")),
            }
        }
        Ok(settings)
    }
}

/// Gathers findings.
#[derive(Debug, Default)]
pub struct Lint {
    settings: Settings,
    /// In the order in which they were made.
    pub findings: Vec<Finding>,
}

impl Lint {
    /// With settings of the Dockerfile or the user.
    pub fn new(settings: Settings) -> Self {
        Lint { settings, findings: Vec::new() }
    }

    /// Notes a finding about an instruction, unless the settings, or a comment above it, say not to.
    pub fn warn(&mut self, rule: Rule, message: String, at: &Instruction) {
        self.add(Finding { rule, message, span: at.span, lines: Some(at.lines) }, &at.comments);
    }

    /// As [`Lint::warn`], at a place inside of an instruction with `comments` above it.
    pub fn warn_at(&mut self, rule: Rule, message: String, span: Span, comments: &[String]) {
        self.add(Finding { rule, message, span, lines: None }, comments);
    }

    fn add(&mut self, finding: Finding, comments: &[String]) {
        let rule = finding.rule;
        let inline = comments.iter().find_map(|comment| inline_settings(comment)).unwrap_or_default();
        let wanted = if rule.is_experimental() {
            self.settings.experimental.has(rule) || inline.experimental.has(rule)
        } else {
            !self.settings.skip.has(rule) && !inline.skip.has(rule)
        };
        if wanted {
            self.findings.push(finding);
        }
    }

    /// Why the build fails, where findings are errors.
    pub fn error(&self) -> Option<String> {
        if !self.settings.error || self.findings.is_empty() {
            return None;
        }
        let mut names: Vec<&str> = Vec::new();
        for finding in &self.findings {
            if !names.contains(&finding.rule.name()) {
                names.push(finding.rule.name());
            }
        }
        Some(format!("lint violation found for rules: {}", names.join(", ")))
    }
}

fn inline_settings(comment: &str) -> Option<Settings> {
    let (_, value) = parse_directive(comment).filter(|(name, _)| name == "check")?;
    Settings::parse(value.split(' ').next().unwrap_or_default()).ok()
}
