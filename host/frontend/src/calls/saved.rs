//! Questions, answers and results as they are kept: everything that passes a [`crate::Bridge`], as data.

use std::{collections::BTreeMap, sync::Arc};

use base64::{Engine, prelude::BASE64_STANDARD};
use llb::{
    Graph,
    op::{Range, SourceFile},
};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use sha2::{Digest, Sha256};

use crate::{CacheImport, Definition, Error, Extra, Output, Request, SourceMeta, SourceQuery, Stat, Warning};

/// Bytes, as base64 in JSON.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub(super) struct Bytes(pub Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(&self.0))
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = std::borrow::Cow::<'de, str>::deserialize(from)?;
        BASE64_STANDARD.decode(text.as_bytes()).map(Bytes).map_err(serde::de::Error::custom)
    }
}

/// Bytes as [`Bytes`], for fields of others.
pub(crate) mod bytes {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &[u8], to: S) -> Result<S::Ok, S::Error> {
        to.serialize_str(&BASE64_STANDARD.encode(bytes))
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Vec<u8>, D::Error> {
        Bytes::deserialize(from).map(|bytes| bytes.0)
    }
}

/// The same for bytes that may be missing.
pub(crate) mod bytes_or_none {
    use super::*;

    pub(crate) fn serialize<S: Serializer>(bytes: &Option<Vec<u8>>, to: S) -> Result<S::Ok, S::Error> {
        bytes.as_ref().map(|bytes| BASE64_STANDARD.encode(bytes)).serialize(to)
    }

    pub(crate) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<Vec<u8>>, D::Error> {
        Ok(Option::<Bytes>::deserialize(from)?.map(|bytes| bytes.0))
    }
}

/// A definition, as BuildKit's bytes.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct Encoded(Bytes);

impl Encoded {
    /// In bytes.
    fn len(&self) -> usize {
        self.0.0.len()
    }

    pub(super) fn of(definition: &Definition) -> Result<Encoded, Error> {
        let bytes = definition.graph.encode_bytes(definition.edge);
        let bytes = bytes.map_err(|error| Error::internal(format!("keep a definition: {error}")))?;
        Ok(Encoded(Bytes(bytes.to_vec())))
    }

    pub(super) fn decode(&self) -> Result<Definition, Error> {
        let decoded = Graph::decode_bytes(self.0.0.clone().into(), &llb::Limits::default());
        let (graph, edge) = decoded.map_err(|error| Error::internal(format!("a definition that was kept: {error}")))?;
        Ok(Definition { graph: Arc::new(graph), edge })
    }
}

/// [`Request`].
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedRequest {
    pub opts: BTreeMap<String, String>,
    pub inputs: BTreeMap<String, Encoded>,
}

impl SavedRequest {
    pub(super) fn of(request: &Request) -> Result<SavedRequest, Error> {
        let inputs = request.inputs.iter().map(|(name, input)| Ok((name.clone(), Encoded::of(input)?)));
        Ok(SavedRequest { opts: request.opts.clone(), inputs: inputs.collect::<Result<_, Error>>()? })
    }

    pub(super) fn decode(&self) -> Result<Request, Error> {
        let inputs = self.inputs.iter().map(|(name, input)| Ok((name.clone(), input.decode()?)));
        Ok(Request { opts: self.opts.clone(), inputs: inputs.collect::<Result<_, Error>>()? })
    }
}

/// What a frontend asked. Refs are counted in the order in which they were answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Question {
    Solve { definition: Encoded, evaluate: bool, caches: Vec<CacheImport> },
    SolveFrontend { source: String, request: SavedRequest },
    Resolve { queries: Vec<SourceQuery> },
    Start { of: usize },
    Wait { of: usize },
    ReadFile { of: usize, path: String, range: Option<(u64, u64)>, limit: u64 },
    ReadDir { of: usize, path: String, include: Option<String> },
    Stat { of: usize, path: String },
}

impl Question {
    /// Bytes of what is large in it.
    pub(super) fn weight(&self) -> usize {
        match self {
            Question::Solve { definition, .. } => definition.len(),
            Question::SolveFrontend { request, .. } => request.inputs.values().map(Encoded::len).sum(),
            _ => 0,
        }
    }

    /// In one line, for people.
    pub(super) fn text(&self) -> String {
        match self {
            Question::Solve { definition, .. } => format!("solve {}", shown(definition)),
            Question::SolveFrontend { source, .. } => format!("solve-frontend {source}"),
            Question::Resolve { queries } => {
                let names: Vec<&str> = queries.iter().map(|query| query.identifier.as_str()).collect();
                format!("resolve-sources {}", names.join(" "))
            }
            Question::Start { of } => format!("start ref {of}"),
            Question::Wait { of } => format!("wait for ref {of}"),
            Question::ReadFile { of, path, .. } => format!("read-file {path} of ref {of}"),
            Question::ReadDir { of, path, .. } => format!("read-dir {path} of ref {of}"),
            Question::Stat { of, path } => format!("stat {path} of ref {of}"),
        }
    }
}

/// The last vertex of a definition.
fn shown(definition: &Encoded) -> String {
    let Ok(Definition { graph, edge }) = definition.decode() else { return "?".into() };
    match edge.map(|edge| (&graph.vertex(edge.vertex).op, edge)) {
        Some((llb::Op::Source(source), _)) => source.identifier.clone(),
        Some((op, edge)) => format!("{} {}", op.kind(), edge.vertex.0),
        None => "scratch".into(),
    }
}

/// An answer, or an error of the host.
pub(super) type Outcome<T> = Result<T, SavedError>;

/// What the host answered.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum SavedAnswer {
    /// A ref, with its definition where that is not what was asked for.
    Ref(Outcome<Option<Encoded>>),
    Solved(Outcome<SavedSolved>),
    Metas(Vec<Outcome<SourceMeta>>),
    Done(Outcome<()>),
    Bytes(Outcome<Bytes>),
    Entries(Outcome<Vec<Stat>>),
    Entry(Outcome<Stat>),
}

/// [`crate::SolvedFrontend`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SavedSolved {
    pub refs: Vec<(String, Encoded)>,
    pub metadata: BTreeMap<String, Bytes>,
}

impl SavedAnswer {
    /// SHA-256 of all that the frontend can see of it.
    pub(super) fn digest(&self) -> String {
        digest(self)
    }
}

/// SHA-256 of a value, in hexadecimal digits.
pub(super) fn digest(value: &impl Serialize) -> String {
    // Only strings are keys of maps in what is kept, so it can be written.
    hex::encode(Sha256::digest(serde_json::to_vec(value).unwrap_or_default()))
}

/// What a frontend can see of an [`Error`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SavedError {
    code: String,
    message: String,
    detail: Vec<(String, String)>,
    place: Option<Place>,
    has_cause: bool,
}

impl SavedError {
    pub(super) fn of(error: &Error) -> SavedError {
        SavedError {
            code: error.code.clone(),
            message: error.message.clone(),
            detail: error.detail.clone(),
            place: error.source_location.as_ref().map(Place::of),
            has_cause: error.cause.is_some(),
        }
    }

    /// Bytes of what is large in it.
    pub(super) fn weight(&self) -> usize {
        let place = self.place.as_ref().map_or(0, |place| place.data.0.len());
        place + self.message.len() + self.detail.iter().map(|(key, value)| key.len() + value.len()).sum::<usize>()
    }

    pub(super) fn decode(self) -> Error {
        let cause = self.has_cause.then(|| Arc::new(anyhow::anyhow!("{}", self.message)));
        let source_location = self.place.map(Place::decode);
        Error { code: self.code, message: self.message, detail: self.detail, source_location, cause }
    }
}

/// Ranges of a source text.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
struct Place {
    filename: String,
    language: String,
    data: Bytes,
    definition: Option<Bytes>,
    ranges: Vec<[i32; 4]>,
}

impl Place {
    fn of((file, ranges): &(Arc<SourceFile>, Vec<Range>)) -> Place {
        let quad = |range: &Range| [range.start_line, range.start_character, range.end_line, range.end_character];
        Place {
            filename: file.filename.clone(),
            language: file.language.clone(),
            data: Bytes(file.data.to_vec()),
            definition: file.definition.as_ref().map(|bytes| Bytes(bytes.to_vec())),
            ranges: ranges.iter().map(quad).collect(),
        }
    }

    fn decode(self) -> (Arc<SourceFile>, Vec<Range>) {
        let range = |[start_line, start_character, end_line, end_character]: [i32; 4]| Range {
            start_line,
            start_character,
            end_line,
            end_character,
        };
        let file = SourceFile {
            filename: self.filename,
            language: self.language,
            data: self.data.0.into(),
            definition: self.definition.map(|bytes| bytes.0.into()),
        };
        (Arc::new(file), self.ranges.into_iter().map(range).collect())
    }
}

/// What a frontend said to the user.
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) enum Saying {
    Log(String, String),
    Warning(SavedWarning),
}

/// [`Warning`].
#[derive(Clone, PartialEq, Debug, Serialize, Deserialize)]
pub(super) struct SavedWarning {
    level: i64,
    short: String,
    detail: Vec<String>,
    url: String,
    place: Option<Place>,
    vertex: Option<String>,
}

impl Saying {
    pub(super) fn warning(warning: &Warning) -> Saying {
        Saying::Warning(SavedWarning {
            level: warning.level,
            short: warning.short.clone(),
            detail: warning.detail.clone(),
            url: warning.url.clone(),
            place: warning.source.as_ref().map(Place::of),
            vertex: warning.vertex.as_ref().map(ToString::to_string),
        })
    }

    /// Says it again.
    pub(super) fn say(self, bridge: &dyn crate::Bridge) {
        match self {
            Saying::Log(level, message) => bridge.log(&level, &message),
            Saying::Warning(warning) => bridge.warn(Warning {
                level: warning.level,
                short: warning.short,
                detail: warning.detail,
                url: warning.url,
                source: warning.place.map(Place::decode),
                vertex: warning.vertex.and_then(|digest| digest.parse().ok()),
            }),
        }
    }

    /// In one line, for people.
    pub(super) fn text(&self) -> String {
        match self {
            Saying::Log(level, message) => format!("log {level}: {message}"),
            Saying::Warning(warning) => format!("warning: {}", warning.short),
        }
    }
}

/// [`Output`].
#[derive(Clone, PartialEq, Debug, Default, Serialize, Deserialize)]
pub(super) struct SavedOutput {
    refs: Vec<(String, Encoded)>,
    metadata: BTreeMap<String, Bytes>,
    extras: Vec<(String, String, Encoded)>,
}

impl SavedOutput {
    /// Bytes of what is large in it.
    pub(super) fn weight(&self) -> usize {
        let graphs = self.refs.iter().map(|(_, made)| made).chain(self.extras.iter().map(|(_, _, made)| made));
        graphs.map(Encoded::len).sum::<usize>() + self.metadata.values().map(|value| value.0.len()).sum::<usize>()
    }

    pub(super) fn of(output: &Output) -> Result<SavedOutput, Error> {
        let refs = output.refs.iter().map(|(platform, made)| Ok((platform.clone(), Encoded::of(made)?)));
        let extras = output
            .extras
            .iter()
            .map(|extra| Ok((extra.platform.clone(), extra.name.clone(), Encoded::of(&extra.definition)?)));
        Ok(SavedOutput {
            refs: refs.collect::<Result<_, Error>>()?,
            metadata: metadata(&output.metadata),
            extras: extras.collect::<Result<_, Error>>()?,
        })
    }

    pub(super) fn decode(&self) -> Result<Output, Error> {
        let refs = self.refs.iter().map(|(platform, made)| Ok((platform.clone(), made.decode()?)));
        let extras = self.extras.iter().map(|(platform, name, definition)| {
            Ok(Extra { platform: platform.clone(), name: name.clone(), definition: definition.decode()? })
        });
        Ok(Output {
            refs: refs.collect::<Result<_, Error>>()?,
            metadata: self.metadata.iter().map(|(key, value)| (key.clone(), value.0.clone())).collect(),
            extras: extras.collect::<Result<_, Error>>()?,
        })
    }
}

pub(super) fn metadata(entries: &BTreeMap<String, Vec<u8>>) -> BTreeMap<String, Bytes> {
    entries.iter().map(|(key, value)| (key.clone(), Bytes(value.clone()))).collect()
}
