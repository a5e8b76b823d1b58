//! FROM.

use super::{Reader, flags::Kind};
use crate::source::{Problem, Token};

/// The beginning of a stage.
#[derive(Debug, Clone)]
pub struct FromStage {
    /// An image or another stage; variables are not resolved.
    pub base: Token,
    /// The word `AS`, as it was written.
    pub as_keyword: Option<Token>,
    /// The stage's name, as it was written.
    pub name: Option<Token>,
    /// `--platform`; variables are not resolved.
    pub platform: Option<Token>,
}

impl Reader<'_> {
    pub(super) fn from(&self) -> Result<FromStage, Problem> {
        let words = self.list();
        let (base, as_keyword, name) = match words.as_slice() {
            [base] => (base, None, None),
            [base, keyword, name] if keyword.text.eq_ignore_ascii_case("as") => (base, Some(keyword), Some(name)),
            _ => return Err(self.problem("FROM requires either one or three arguments")),
        };
        if let Some(name) = name.filter(|name| !is_stage_name(&name.text.to_lowercase())) {
            let rule = "a name starts with a letter and has letters, digits, '-', '_' and '.' only";
            return Err(Problem::new(format!("invalid name for build stage: {:?}: {rule}", name.text), name.span));
        }
        let platform = self.flags(&[("platform", Kind::Text)])?.text("platform").filter(|value| !value.text.is_empty());
        Ok(FromStage { base: base.clone(), as_keyword: as_keyword.cloned(), name: name.cloned(), platform })
    }
}

fn is_stage_name(name: &str) -> bool {
    name.starts_with(|c: char| c.is_ascii_lowercase())
        && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || matches!(c, '-' | '_' | '.'))
}
