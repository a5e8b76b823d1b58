use std::collections::BTreeMap;

use crate::{Content, Error, Host, Result, State};

/// A build language.
pub trait Frontend {
    /// Turns what the user asked for into a graph.
    ///
    /// # Errors
    /// What is wrong with what the user wrote, with its place; or an error of the host, handed on.
    fn build(&self, cx: &Host, request: Request) -> Result<Output>;

    /// Answers a question about the build without building. `kind` is `describe`, `outline`, `targets` or `lint`, and
    /// [`crate::answer`] has what they are answered with. An `unsupported` error, which is the default, leaves the answer to
    /// the host, which answers `describe` and `convertllb` itself.
    ///
    /// # Errors
    /// As [`Frontend::build`].
    fn request(&self, cx: &Host, kind: &str, request: Request) -> Result<Answer> {
        let _ = (cx, request);
        Err(Error::unsupported(format!("no answer to request {kind:?}")))
    }
}

/// What the user asked for.
#[derive(Clone, Debug, Default)]
pub struct Request {
    /// target, platform, filename, build-arg:NAME, label:NAME, context:NAME ...
    pub opts: BTreeMap<String, String>,
    /// Trees that are there already, by name.
    pub inputs: BTreeMap<String, State>,
}

impl Request {
    /// An option, unless it is missing or empty.
    pub fn opt(&self, name: &str) -> Option<&str> {
        self.opts.get(name).map(String::as_str).filter(|value| !value.is_empty())
    }

    /// Options whose names begin with `prefix`, by what follows it: `build-arg:`, `label:`, `context:`.
    pub fn opts_with<'a>(&'a self, prefix: &'a str) -> impl Iterator<Item = (&'a str, &'a str)> {
        self.opts.iter().filter_map(move |(name, value)| Some((name.strip_prefix(prefix)?, value.as_str())))
    }

    /// The platforms asked for; the builder's own when there is none.
    pub fn platforms(&self) -> Vec<&str> {
        let asked = self.opt("platform").or_else(|| self.opt("build-platform")).unwrap_or("linux/amd64");
        asked.split(',').map(str::trim).collect()
    }
}

/// What a build answers.
#[derive(Clone, Debug, Default)]
pub struct Output {
    /// By platform, "" when there is one only.
    pub results: Vec<(String, State)>,
    /// `containerimage.config` and others.
    pub metadata: Vec<(String, Content)>,
}

/// The metadata key of [`Output::scanned`].
const SCANNED: &str = "sbom.extras";

impl Output {
    /// One result, for no platform in particular.
    pub fn new(state: State) -> Self {
        Output { results: vec![(String::new(), state)], metadata: Vec::new() }
    }

    /// Results of several platforms; add them with [`Output::platform`].
    pub fn multi_platform() -> Self {
        Self::default()
    }

    /// The result for a platform.
    #[must_use]
    pub fn platform(mut self, platform: &str, state: State) -> Self {
        self.results.push((platform.to_owned(), state));
        self
    }

    /// A metadata entry.
    #[must_use]
    pub fn metadata(mut self, key: impl Into<String>, value: impl Into<Content>) -> Self {
        self.metadata.push((key.into(), value.into()));
        self
    }

    /// Trees that a bill of materials is made of beside the result for `platform`, by names of letters, digits, `.`, `_` and
    /// `-`. The host looks at them when it makes one.
    #[must_use]
    pub fn scanned(self, platform: &str, trees: &BTreeMap<String, State>) -> Self {
        let edge = |state: &State| state.edge().map(|edge| [edge.vertex, edge.output]);
        let edges: BTreeMap<&String, Option<[u32; 2]>> =
            trees.iter().map(|(name, state)| (name, edge(state))).collect();
        let key = if platform.is_empty() { SCANNED.to_owned() } else { format!("{SCANNED}/{platform}") };
        self.metadata(key, serde_json::json!(edges).to_string())
    }

    /// The image config of the one result.
    #[must_use]
    pub fn config(self, config: &serde_json::Value) -> Self {
        self.metadata("containerimage.config", config.to_string())
    }

    /// The image config of a platform.
    #[must_use]
    pub fn platform_config(self, platform: &str, config: &serde_json::Value) -> Self {
        self.metadata(format!("containerimage.config/{platform}"), config.to_string())
    }
}

/// What a request answers.
#[derive(Clone, Debug, Default)]
pub struct Answer {
    /// `result.json`, `result.txt`, `version`.
    pub metadata: Vec<(String, Content)>,
}

impl Answer {
    /// A machine's and a reader's form of the same answer.
    pub fn new(json: &serde_json::Value, text: impl Into<String>) -> Self {
        let json = Content::Text(json.to_string());
        Answer {
            metadata: vec![("result.json".to_owned(), json), ("result.txt".to_owned(), Content::Text(text.into()))],
        }
    }
}
