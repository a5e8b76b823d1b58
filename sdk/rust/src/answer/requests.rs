use serde_json::{Value, json};

use super::{answer, columns::columns};
use crate::Answer;

const VERSION: &str = "1.0.0";

/// Which questions a frontend answers; that it lists them goes without saying. `lint` is not listed: BuildKit's clients ask
/// for it and see.
#[derive(Clone, Copy, Debug, Default)]
pub struct Requests {
    /// [`Outline`](super::Outline).
    pub outline: bool,
    /// [`Targets`](super::Targets).
    pub targets: bool,
}

/// A request: name, description, options with a description each (`None`: not even an empty list).
struct Described(&'static str, &'static str, Option<&'static [(&'static str, &'static str)]>);

const OUTLINE: Described = Described(
    "frontend.outline",
    "List all parameters current build target supports",
    Some(&[("target", "Target build stage")]),
);
const TARGETS: Described = Described("frontend.targets", "List all targets current build supports", Some(&[]));
const DESCRIBE: Described = Described("frontend.subrequests.describe", "List available subrequest types", None);

impl From<Requests> for Answer {
    fn from(requests: Requests) -> Self {
        let all = [(requests.outline, OUTLINE), (requests.targets, TARGETS), (true, DESCRIBE)];
        let known: Vec<Described> = all.into_iter().filter(|(known, _)| *known).map(|(_, it)| it).collect();
        let json: Vec<Value> = known.iter().map(Described::json).collect();
        let names = known.iter().map(|it| [it.0.strip_prefix("frontend.").unwrap_or(it.0), VERSION, it.1]);
        let rows: Vec<_> = std::iter::once(["NAME", "VERSION", "DESCRIPTION"]).chain(names).collect();
        answer(VERSION, &json.into(), columns(&rows, 1))
    }
}

impl Described {
    fn json(&self) -> Value {
        let named = |(name, description): &(&str, &str)| json!({ "name": name, "description": description });
        let list = |list: Option<&[(&str, &str)]>| list.map(|list| list.iter().map(named).collect::<Vec<_>>());
        json!({
            "name": self.0,
            "version": VERSION,
            "type": "rpc",
            "description": self.1,
            "opts": list(self.2),
            "inputs": null,
            "metadata": list(Some(&[("result.json", ""), ("result.txt", "")])),
            "refs": null,
        })
    }
}
