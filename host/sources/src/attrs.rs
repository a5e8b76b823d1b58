//! Reading a source's attributes.

use std::{collections::BTreeMap, str::FromStr};

use anyhow::Context as _;

/// The attributes of one request.
pub(crate) struct Attrs<'a>(pub(crate) &'a BTreeMap<String, String>);

impl Attrs<'_> {
    /// A text; empty is as good as absent.
    pub(crate) fn text(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Yes or no, in any of Go's words for them; no when absent.
    pub(crate) fn flag(&self, name: &str) -> anyhow::Result<bool> {
        Ok(match self.text(name) {
            None | Some("0" | "f" | "F" | "false" | "FALSE" | "False") => false,
            Some("1" | "t" | "T" | "true" | "TRUE" | "True") => true,
            Some(other) => anyhow::bail!("source attribute {name} is {other:?}: want true or false"),
        })
    }

    /// A number or the like.
    pub(crate) fn parsed<T: FromStr>(&self, name: &str, want: &str) -> anyhow::Result<Option<T>> {
        let read = |value: &str| {
            value.parse().map_err(|_| anyhow::anyhow!("source attribute {name} is {value:?}: want {want}"))
        };
        self.text(name).map(read).transpose()
    }

    /// A JSON list of texts; empty when absent.
    pub(crate) fn list(&self, name: &str) -> anyhow::Result<Vec<String>> {
        let Some(value) = self.text(name) else { return Ok(Vec::new()) };
        let list: Option<Vec<String>> = serde_json::from_str(value)
            .with_context(|| format!("source attribute {name} is {value:?}: want a JSON list of strings"))?;
        Ok(list.unwrap_or_default())
    }
}

/// What follows the scheme of an identifier.
pub(crate) fn after_scheme(identifier: &str) -> &str {
    identifier.split_once("://").map_or(identifier, |(_, rest)| rest)
}
