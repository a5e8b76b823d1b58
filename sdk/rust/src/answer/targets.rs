use serde_json::Value;

use super::{Lines, Object, answer, base64, columns::columns, location};
use crate::Answer;

const VERSION: &str = "1.0.0";

/// What a build file can make.
#[derive(Clone, Debug, Default)]
pub struct Targets {
    /// In the order of the file.
    pub targets: Vec<Target>,
    /// The text that the places are in.
    pub source: String,
}

/// One target.
#[derive(Clone, Debug, Default)]
#[allow(missing_docs)]
pub struct Target {
    /// Empty when it has none.
    pub name: String,
    /// It is built when nothing else is asked for.
    pub default: bool,
    pub description: String,
    /// What it begins with, as the file says it.
    pub base: String,
    /// As the file says it.
    pub platform: String,
    /// Where it begins.
    pub lines: Lines,
}

impl From<&Targets> for Answer {
    fn from(targets: &Targets) -> Self {
        answer(VERSION, &targets.json(), targets.text())
    }
}

impl Targets {
    fn json(&self) -> Value {
        let target = |target: &Target| {
            Object::default()
                .optional("name", target.name.as_str())
                .optional("default", target.default)
                .optional("description", target.description.as_str())
                .optional("base", target.base.as_str())
                .optional("platform", target.platform.as_str())
                .field("location", location([target.lines]))
                .end()
        };
        let targets: Vec<Value> = self.targets.iter().map(target).collect();
        Object::default().field("targets", targets).field("sources", vec![base64(&self.source)]).end()
    }

    fn text(&self) -> String {
        let name = |target: &Target| match (target.name.as_str(), target.default) {
            ("", true) => "(default)".to_owned(),
            (name, true) => format!("{name} (default)"),
            (name, false) => name.to_owned(),
        };
        let names: Vec<String> = self.targets.iter().map(name).collect();
        let targets = names.iter().zip(&self.targets).map(|(name, target)| [name.as_str(), &target.description]);
        let rows: Vec<_> = std::iter::once(["TARGET", "DESCRIPTION"]).chain(targets).collect();
        columns(&rows, 1)
    }
}
