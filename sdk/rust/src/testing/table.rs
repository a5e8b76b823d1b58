use std::sync::LazyLock;

use crate::{Attr, Error, Result};

/// The table of attribute words, `wit/v0.1/attributes.md`.
pub struct Table {
    words: Vec<Word>,
}

/// A row of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Word {
    pub on: &'static str,
    pub word: &'static str,
    pub kind: &'static str,
}

const TEXT: &str = include_str!("../../wit/attributes.md");

static TABLE: LazyLock<Table> = LazyLock::new(|| Table::parse(TEXT));

impl Table {
    /// The table of the interface's version that this SDK is built against.
    pub fn get() -> &'static Table {
        &TABLE
    }

    fn parse(text: &'static str) -> Table {
        let rows = text.lines().filter_map(|line| line.strip_prefix("| "));
        let cells = rows.map(|row| row.split('|').map(str::trim).collect::<Vec<_>>());
        let words = cells.filter(|cells| cells.len() >= 5 && cells[0] != "On");
        Table { words: words.map(|cells| Word { on: cells[0], word: cells[1], kind: cells[2] }).collect() }
    }

    /// All rows, in the table's order.
    pub fn words(&self) -> &[Word] {
        &self.words
    }

    /// Whether a dotted word is in the table; see `supports`.
    pub fn supports(&self, feature: &str) -> bool {
        self.words.iter().any(|row| {
            let rest = feature.strip_prefix(row.on);
            rest.is_some_and(|rest| {
                rest.is_empty() || rest.strip_prefix('.').is_some_and(|word| !word.is_empty() && row.takes(word))
            })
        })
    }

    /// Checks an attribute list against the rows of `on`.
    ///
    /// # Errors
    /// `unknown-attr`, or `invalid-argument` for a value of the wrong type or a word that is given twice.
    pub fn check(&self, on: &[&str], attrs: &[Attr]) -> Result<()> {
        for (at, (word, value)) in attrs.iter().enumerate() {
            let hint = word.strip_prefix('?');
            let name = hint.unwrap_or(word);
            let Some(row) = self.words.iter().find(|row| on.contains(&row.on) && row.takes(name)) else {
                if hint.is_some() {
                    continue;
                }
                return Err(Error::new("unknown-attr", format!("unknown attribute {word:?}")).with("attr", word));
            };
            row.check(value)?;
            if row.kind != "list" && attrs[..at].iter().any(|(other, _)| other == word) {
                return Err(Error::invalid(format!("attribute {word:?} is given twice")));
            }
        }
        Ok(())
    }
}

impl Word {
    /// Whether the row is for this word.
    pub fn takes(&self, word: &str) -> bool {
        match self.word.strip_suffix('*') {
            Some(family) => word.len() > family.len() && word.starts_with(family),
            None => !self.word.is_empty() && self.word == word,
        }
    }

    fn check(&self, value: &str) -> Result<()> {
        let valid = match self.kind {
            "bool" => matches!(value, "true" | "false"),
            "u32" => value.parse::<u32>().is_ok(),
            "i32" => value.parse::<i32>().is_ok(),
            "u64" => value.parse::<u64>().is_ok(),
            "i64" | "time" => value.parse::<i64>().is_ok(),
            "octal" => u32::from_str_radix(value, 8).is_ok_and(|mode| mode <= 0o7777),
            "platform" => (2..=3).contains(&value.split('/').filter(|part| !part.is_empty()).count()),
            "mode" | "owner" => !value.is_empty(),
            "string" | "list" => true,
            choices => choices.split('/').any(|choice| choice == value),
        };
        if valid {
            return Ok(());
        }
        Err(Error::invalid(format!("attribute {:?}: want {}, got {value:?}", self.word, self.kind))
            .with("attr", self.word))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_row_is_well_formed() {
        let kinds =
            ["", "bool", "u32", "i32", "u64", "i64", "octal", "mode", "owner", "time", "platform", "string", "list"];
        for row in Table::get().words() {
            assert!(kinds.contains(&row.kind) || row.kind.contains('/'), "{row:?}");
            let same = Table::get().words().iter().filter(|other| other.on == row.on && other.word == row.word);
            assert_eq!(same.count(), 1, "{row:?}");
        }
    }

    #[test]
    fn words_are_supported_by_their_dotted_names() {
        let table = Table::get();
        for known in ["op.diff", "mount.ssh", "exec.hostname", "mount.cache.sharing", "source.http.header.accept"] {
            assert!(table.supports(known), "{known}");
        }
        for unknown in ["", "op", "op.foo", "exec.", "exec.hostnam", "mount.cache.size", "source.http.header."] {
            assert!(!table.supports(unknown), "{unknown}");
        }
    }
}
