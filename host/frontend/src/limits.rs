use std::{collections::BTreeMap, fmt, time::Duration};

use serde::{
    Serialize,
    de::{self, Deserialize, DeserializeSeed, Deserializer, MapAccess, Visitor},
};

use crate::Error;

/// What one call of a frontend may use. A breach is an error of that build, with the limit's name and figure; the engine goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Limits {
    /// Bytes of a component.
    pub component_bytes: usize,
    /// Bytes of all linear memories together.
    pub memory_bytes: usize,
    /// Entries of each table.
    pub table_elements: usize,
    /// Core instances, tables and memories, and instances of components, each: a component is made of several.
    pub instances: usize,
    /// WebAssembly instructions. The same component with the same answers uses the same number each time.
    pub instructions: u64,
    /// Time that the guest runs, host functions that do not wait included. Waiting for an answer does not count.
    pub running: Duration,
    /// Processor time that compiling the component may take, where a helper compiles it; whole seconds.
    pub compiling: Duration,
    /// Bytes that a call hands over in one go, from the guest to the host.
    pub call_bytes: usize,
    /// Bytes of a file, a listing or another value that the host hands to the guest.
    pub value_bytes: usize,
    /// Vertices of the graph.
    pub vertices: usize,
    /// Bytes of the graph: ops, and source texts.
    pub graph_bytes: usize,
    /// Vertices copied because the graph grew while a ref held it as it was: the sum over all solves.
    pub copied_vertices: usize,
    /// Source texts.
    pub source_files: usize,
    /// Refs that are held at once.
    pub refs: usize,
    /// Sources resolved by one call.
    pub queries: usize,
    /// Bytes of log lines; what is over is cut off, and a line says so.
    pub log_bytes: usize,
    /// Warnings; what is over is dropped, and a warning says so.
    pub warnings: usize,
    /// Results that a build answers: platforms.
    pub results: usize,
    /// Bytes of all metadata that a build answers.
    pub metadata_bytes: usize,
    /// Bytes of an error's texts; what is over is cut off.
    pub error_bytes: usize,
}

impl Limits {
    /// See [`Limits::component_bytes`].
    pub const COMPONENT_BYTES: usize = 128 << 20;
    /// See [`Limits::memory_bytes`].
    pub const MEMORY_BYTES: usize = 512 << 20;
    /// See [`Limits::table_elements`].
    pub const TABLE_ELEMENTS: usize = 1 << 20;
    /// See [`Limits::instances`].
    pub const INSTANCES: usize = 200;
    /// See [`Limits::instructions`]. Some ten seconds.
    pub const INSTRUCTIONS: u64 = 20_000_000_000;
    /// See [`Limits::running`].
    pub const RUNNING: Duration = Duration::from_secs(60);
    /// See [`Limits::compiling`].
    pub const COMPILING: Duration = Duration::from_secs(120);
    /// See [`Limits::call_bytes`].
    pub const CALL_BYTES: usize = 64 << 20;
    /// See [`Limits::value_bytes`].
    pub const VALUE_BYTES: usize = 32 << 20;
    /// See [`Limits::vertices`].
    pub const VERTICES: usize = llb::wire::Limits::VERTICES;
    /// See [`Limits::graph_bytes`].
    pub const GRAPH_BYTES: usize = llb::wire::Limits::BYTES;
    /// See [`Limits::copied_vertices`].
    pub const COPIED_VERTICES: usize = 5_000_000;
    /// See [`Limits::source_files`].
    pub const SOURCE_FILES: usize = 1000;
    /// See [`Limits::refs`].
    pub const REFS: usize = 10_000;
    /// See [`Limits::queries`].
    pub const QUERIES: usize = 1000;
    /// See [`Limits::log_bytes`].
    pub const LOG_BYTES: usize = 2 << 20;
    /// See [`Limits::warnings`].
    pub const WARNINGS: usize = 1000;
    /// See [`Limits::results`].
    pub const RESULTS: usize = 256;
    /// See [`Limits::metadata_bytes`].
    pub const METADATA_BYTES: usize = 16 << 20;
    /// See [`Limits::error_bytes`].
    pub const ERROR_BYTES: usize = 64 << 10;
}

impl Default for Limits {
    fn default() -> Self {
        Limits {
            component_bytes: Self::COMPONENT_BYTES,
            memory_bytes: Self::MEMORY_BYTES,
            table_elements: Self::TABLE_ELEMENTS,
            instances: Self::INSTANCES,
            instructions: Self::INSTRUCTIONS,
            running: Self::RUNNING,
            compiling: Self::COMPILING,
            call_bytes: Self::CALL_BYTES,
            value_bytes: Self::VALUE_BYTES,
            vertices: Self::VERTICES,
            graph_bytes: Self::GRAPH_BYTES,
            copied_vertices: Self::COPIED_VERTICES,
            source_files: Self::SOURCE_FILES,
            refs: Self::REFS,
            queries: Self::QUERIES,
            log_bytes: Self::LOG_BYTES,
            warnings: Self::WARNINGS,
            results: Self::RESULTS,
            metadata_bytes: Self::METADATA_BYTES,
            error_bytes: Self::ERROR_BYTES,
        }
    }
}

/// Key of the detail of an error that names the limit that was broken, one of [`Limits::NAMES`].
pub const LIMIT: &str = "limit";
/// The same, where a rule on this frontend set the limit.
pub const RULED_LIMIT: &str = "ruled-limit";

impl Limits {
    /// The limits that [`Limits::set`] knows.
    pub const NAMES: [&str; 19] = [
        "component",
        "memory",
        "table",
        "instances",
        "instructions",
        "running",
        "compiling",
        "call",
        "value",
        "vertices",
        "graph",
        "copied-vertices",
        "source-texts",
        "refs",
        "queries",
        "log",
        "warnings",
        "results",
        "metadata",
    ];

    /// Sets a limit by its name: a number of things or of bytes, or milliseconds of time. Answers whether there is one of this name.
    pub fn set(&mut self, name: &str, value: u64) -> bool {
        self.slot(name).map(|slot| slot.set(value)).is_some()
    }

    fn slot(&mut self, name: &str) -> Option<Slot<'_>> {
        Some(match name {
            "component" => Slot::Size(&mut self.component_bytes),
            "memory" => Slot::Size(&mut self.memory_bytes),
            "table" => Slot::Size(&mut self.table_elements),
            "instances" => Slot::Size(&mut self.instances),
            "instructions" => Slot::Count(&mut self.instructions),
            "running" => Slot::Time(&mut self.running),
            "compiling" => Slot::Time(&mut self.compiling),
            "call" => Slot::Size(&mut self.call_bytes),
            "value" => Slot::Size(&mut self.value_bytes),
            "vertices" => Slot::Size(&mut self.vertices),
            "graph" => Slot::Size(&mut self.graph_bytes),
            "copied-vertices" => Slot::Size(&mut self.copied_vertices),
            "source-texts" => Slot::Size(&mut self.source_files),
            "refs" => Slot::Size(&mut self.refs),
            "queries" => Slot::Size(&mut self.queries),
            "log" => Slot::Size(&mut self.log_bytes),
            "warnings" => Slot::Size(&mut self.warnings),
            "results" => Slot::Size(&mut self.results),
            "metadata" => Slot::Size(&mut self.metadata_bytes),
            _ => return None,
        })
    }
}

/// Where the value of a limit is.
enum Slot<'a> {
    Size(&'a mut usize),
    Count(&'a mut u64),
    Time(&'a mut Duration),
}

impl Slot<'_> {
    fn get(&self) -> u64 {
        match self {
            Slot::Size(size) => **size as u64,
            Slot::Count(count) => **count,
            Slot::Time(time) => u64::try_from(time.as_millis()).unwrap_or(u64::MAX),
        }
    }

    fn set(self, value: u64) {
        match self {
            Slot::Size(size) => *size = usize::try_from(value).unwrap_or(usize::MAX),
            Slot::Count(count) => *count = value,
            Slot::Time(time) => *time = Duration::from_millis(value),
        }
    }
}

/// Other values for some limits, in a file a table: `memory = "1GB"`, `running = "90s"`, `vertices = 5000`.
#[derive(Clone, PartialEq, Eq, Debug, Default, Serialize)]
#[serde(transparent)]
pub struct LimitChanges(BTreeMap<&'static str, u64>);

impl LimitChanges {
    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The value of the limit of this name, where it is among them.
    pub fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// `limits`, with these values in place of theirs.
    pub fn over(&self, limits: Limits) -> Limits {
        self.change(limits, |_, own| own)
    }

    /// `limits`, where these are not stricter.
    pub fn within(&self, limits: Limits) -> Limits {
        self.change(limits, u64::min)
    }

    /// The changes of both, the stricter ones where both have some.
    pub fn and(mut self, other: LimitChanges) -> LimitChanges {
        for (name, value) in other.0 {
            self.0.entry(name).and_modify(|own| *own = value.min(*own)).or_insert(value);
        }
        self
    }

    /// `limits`, where these are not larger; of the limits of these names alone.
    pub fn raising(&self, names: &[&str], limits: Limits) -> Limits {
        let raising = self.0.iter().filter(|(name, _)| names.contains(name));
        LimitChanges(raising.map(|(name, value)| (*name, *value)).collect()).change(limits, u64::max)
    }

    fn change(&self, mut limits: Limits, chosen: fn(u64, u64) -> u64) -> Limits {
        for (name, own) in &self.0 {
            if let Some(slot) = limits.slot(name) {
                let value = chosen(slot.get(), *own);
                slot.set(value);
            }
        }
        limits
    }
}

impl fmt::Display for LimitChanges {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, (name, value)) in self.0.iter().enumerate() {
            let comma = if at > 0 { ", " } else { "" };
            match is_time(name) {
                true => write!(f, "{comma}{name} {:?}", Duration::from_millis(*value))?,
                false => write!(f, "{comma}{name} {value}")?,
            }
        }
        Ok(())
    }
}

fn is_time(name: &str) -> bool {
    matches!(name, "running" | "compiling")
}

impl<'de> Deserialize<'de> for LimitChanges {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Table;
        impl<'de> Visitor<'de> for Table {
            type Value = LimitChanges;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a table of limits: { memory = \"1GB\" }")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<LimitChanges, A::Error> {
                let mut changes = LimitChanges::default();
                while let Some(Name(name)) = map.next_key()? {
                    changes.0.insert(name, map.next_value_seed(ValueOf(name))?);
                }
                Ok(changes)
            }
        }
        from.deserialize_map(Table)
    }
}

/// One of [`Limits::NAMES`].
struct Name(&'static str);

impl<'de> Deserialize<'de> for Name {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let name = String::deserialize(from)?;
        let known = Limits::NAMES.into_iter().find(|known| *known == name);
        let unknown =
            || de::Error::custom(format_args!("there is no limit {name:?}, but {}", Limits::NAMES.join(", ")));
        known.map(Name).ok_or_else(unknown)
    }
}

/// The value of a limit, whose name says whether a text is a size or a time.
struct ValueOf(&'static str);

impl<'de> DeserializeSeed<'de> for ValueOf {
    type Value = u64;

    fn deserialize<D: Deserializer<'de>>(self, from: D) -> Result<u64, D::Error> {
        from.deserialize_any(self)
    }
}

impl Visitor<'_> for ValueOf {
    type Value = u64;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match is_time(self.0) {
            true => "a time (\"90s\"), or a number of milliseconds",
            false => "a number, or a size (\"1GB\")",
        })
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<u64, E> {
        Ok(value)
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<u64, E> {
        u64::try_from(value).map_err(|_| E::custom("a limit is not negative"))
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<u64, E> {
        match is_time(self.0) {
            true => {
                let time = units::parse_duration(text).map_err(E::custom)?;
                Ok(u64::try_from(time.as_millis()).unwrap_or(u64::MAX))
            }
            false => units::parse_size(text).map_err(E::custom),
        }
    }
}

/// A limit of bytes, for messages.
pub(crate) fn shown_bytes(limit: usize) -> String {
    const MIB: usize = 1 << 20;
    if limit >= MIB && limit.is_multiple_of(MIB) { format!("{} MiB", limit / MIB) } else { format!("{limit} bytes") }
}

/// A limit that was broken, as an error that ends the guest.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("{text}")]
pub(crate) struct Breach {
    /// One of [`Limits::NAMES`].
    pub(crate) limit: &'static str,
    text: String,
}

impl Breach {
    /// `text` says what the frontend did.
    pub(crate) fn of(limit: &'static str, text: String) -> Breach {
        Breach { limit, text }
    }
}

impl From<Breach> for Error {
    fn from(breach: Breach) -> Error {
        Error::limit(breach.text).with_limit(breach.limit)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_limit_has_a_name() {
        for name in Limits::NAMES {
            let mut limits = Limits::default();
            assert!(limits.set(name, 7), "{name}");
            assert_ne!(limits, Limits::default(), "{name}");
        }
        assert!(!Limits::default().set("patience", 7));
    }

    #[test]
    fn changes_replace_or_only_lower() {
        let changes: LimitChanges =
            serde_json::from_str(r#"{"memory": "1GB", "running": "90s", "compiling": 1500, "vertices": 12}"#).unwrap();
        assert_eq!(changes.to_string(), "compiling 1.5s, memory 1000000000, running 90s, vertices 12");
        let usual = Limits::default();
        let over = changes.over(usual);
        assert_eq!((over.memory_bytes, over.running.as_secs(), over.vertices), (1_000_000_000, 90, 12));
        let within = changes.within(usual);
        assert_eq!((within.memory_bytes, within.running, within.vertices), (usual.memory_bytes, usual.running, 12));
        assert_eq!(over.refs, usual.refs);
        let raised = changes.raising(&["vertices", "memory", "refs"], Limits { vertices: 3, ..usual });
        assert_eq!((raised.vertices, raised.memory_bytes, raised.running), (12, 1_000_000_000, usual.running));
        let raised = changes.raising(&["memory", "vertices"], Limits { vertices: 30, ..usual });
        assert_eq!(raised.vertices, 30);
        let other: LimitChanges = serde_json::from_str(r#"{"refs": 1, "vertices": 11, "memory": "2GB"}"#).unwrap();
        let both = "compiling 1.5s, memory 1000000000, refs 1, running 90s, vertices 11";
        assert_eq!(changes.and(other).to_string(), both);
    }

    #[test]
    fn mistakes_in_changes_are_named() {
        for (json, want) in [
            (r#"{"patience": 7}"#, "there is no limit \"patience\", but component, memory"),
            (r#"{"memory": "much"}"#, "\"much\" is no size"),
            (r#"{"running": "1GB"}"#, "\"1GB\" is no duration"),
            (r#"{"running": []}"#, "expected a time (\"90s\"), or a number of milliseconds"),
            (r#"{"refs": -1}"#, "not negative"),
            ("7", "expected a table of limits"),
        ] {
            let error = serde_json::from_str::<LimitChanges>(json).unwrap_err().to_string();
            assert!(error.contains(want), "{json}: {error}");
        }
    }
}
