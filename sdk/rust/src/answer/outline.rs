use serde_json::Value;

use super::{Lines, Object, answer, base64, columns::columns, location};
use crate::Answer;

const VERSION: &str = "1.0.0";

/// What a build of one target may be told.
#[derive(Clone, Debug, Default)]
pub struct Outline {
    /// The target; empty when it has no name.
    pub name: String,
    /// What it is for.
    pub description: String,
    /// Build arguments that make a difference.
    pub args: Vec<Arg>,
    /// Secrets that steps ask for.
    pub secrets: Vec<Needed>,
    /// SSH agents that steps ask for.
    pub ssh: Vec<Needed>,
    /// The text that the places are in.
    pub source: String,
}

/// A build argument.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Arg {
    pub name: String,
    pub description: String,
    /// The value that it has in this build.
    pub value: String,
    /// Where it is declared.
    pub lines: Lines,
}

/// Something that the client brings.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Needed {
    pub name: String,
    /// Nothing can be built without it.
    pub required: bool,
    /// Where it is asked for.
    pub lines: Lines,
}

impl From<&Outline> for Answer {
    fn from(outline: &Outline) -> Self {
        answer(VERSION, &outline.json(), outline.text())
    }
}

impl Outline {
    fn json(&self) -> Value {
        let arg = |arg: &Arg| {
            let object = Object::default().field("name", arg.name.as_str());
            let object = object.optional("description", arg.description.as_str());
            object.optional("value", arg.value.as_str()).field("location", location([arg.lines])).end()
        };
        let needed = |needed: &Needed| {
            let object = Object::default().field("name", needed.name.as_str());
            object.optional("required", needed.required).field("location", location([needed.lines])).end()
        };
        Object::default()
            .optional("name", self.name.as_str())
            .optional("description", self.description.as_str())
            .optional("args", self.args.iter().map(arg).collect::<Vec<_>>())
            .optional("secrets", self.secrets.iter().map(needed).collect::<Vec<_>>())
            .optional("ssh", self.ssh.iter().map(needed).collect::<Vec<_>>())
            .field("sources", vec![base64(&self.source)])
            .end()
    }

    fn text(&self) -> String {
        let mut tables = Vec::new();
        if !self.name.is_empty() || !self.description.is_empty() {
            let name = if self.name.is_empty() { "(default)" } else { &self.name };
            let mut rows = vec![["TARGET:", name]];
            if !self.description.is_empty() {
                rows.push(["DESCRIPTION:", &self.description]);
            }
            tables.push(columns(&rows, 1));
        }
        if !self.args.is_empty() {
            let args = self.args.iter().map(|arg| [arg.name.as_str(), &arg.value, &arg.description]);
            let rows: Vec<_> = std::iter::once(["BUILD ARG", "VALUE", "DESCRIPTION"]).chain(args).collect();
            tables.push(columns(&rows, 3));
        }
        for (title, list) in [("SECRET", &self.secrets), ("SSH", &self.ssh)] {
            if !list.is_empty() {
                let list = list.iter().map(|it| [it.name.as_str(), if it.required { "true" } else { "" }]);
                let rows: Vec<_> = std::iter::once([title, "REQUIRED"]).chain(list).collect();
                tables.push(columns(&rows, 3));
            }
        }
        tables.iter().map(|table| format!("{table}\n")).collect()
    }
}
