use crate::{Attr, Edge, Host, Location, Result, attrs::attr};

/// What may be said of any vertex. Not given means the default of `attributes.md`.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct VertexOptions {
    pub(crate) attrs: Vec<Attr>,
    pub(crate) places: Vec<Location>,
}

/// Limits of what runs in a vertex; not part of its cache key. Zero or empty: none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct LinuxResources {
    /// Bytes.
    pub memory: i64,
    /// Bytes of memory and swap; -1: no limit.
    pub memory_swap: i64,
    pub cpu_shares: u64,
    /// Microseconds.
    pub cpu_period: u64,
    /// Microseconds for each period.
    pub cpu_quota: i64,
    pub cpuset_cpus: String,
    pub cpuset_mems: String,
}

/// The options that every vertex takes; implemented by all builders and by [`VertexOptions`] itself.
pub trait VertexBuilder: Sized {
    /// Where they are gathered.
    fn vertex_options(&mut self) -> &mut VertexOptions;

    /// Adds an attribute by its word. For words that the SDK has no method for.
    #[must_use]
    fn attr(mut self, word: &str, value: impl Into<String>) -> Self {
        self.vertex_options().attrs.push(attr(word, value));
        self
    }

    /// Shown in the progress instead of a generated text.
    #[must_use]
    fn name(self, text: impl Into<String>) -> Self {
        self.attr("name", text)
    }

    /// Free text about the vertex.
    #[must_use]
    fn description(mut self, key: &str, text: impl Into<String>) -> Self {
        self.vertex_options().attrs.push((format!("description.{key}"), text.into()));
        self
    }

    /// os/arch[/variant] that the vertex is for.
    #[must_use]
    fn platform(self, platform: impl Into<String>) -> Self {
        self.attr("platform", platform)
    }

    /// Of the platform; Windows only.
    #[must_use]
    fn os_version(self, version: impl Into<String>) -> Self {
        self.attr("os-version", version)
    }

    /// Of the platform; Windows only.
    #[must_use]
    fn os_feature(self, feature: impl Into<String>) -> Self {
        self.attr("os-feature", feature)
    }

    /// A filter that the worker must match.
    #[must_use]
    fn constraint(self, filter: impl Into<String>) -> Self {
        self.attr("constraint", filter)
    }

    /// Run it even where the cache has a result.
    #[must_use]
    fn ignore_cache(self, value: bool) -> Self {
        if value { self.attr("ignore-cache", "true") } else { self }
    }

    /// Whether the result is exported to caches; not given, the exporter decides.
    #[must_use]
    fn export_cache(self, value: bool) -> Self {
        self.attr("export-cache", value.to_string())
    }

    /// A capability that the vertex needs, by BuildKit's name.
    #[must_use]
    fn cap(self, name: &str) -> Self {
        self.attr(&format!("cap.{name}"), "true")
    }

    /// The progress group that it is shown in: vertices with one id are shown as one line.
    #[must_use]
    fn group(self, id: impl Into<String>, name: impl Into<String>) -> Self {
        self.attr("group", id).attr("group-name", name)
    }

    /// The group gives way to a group of the parent.
    #[must_use]
    fn group_weak(self, value: bool) -> Self {
        if value { self.attr("group-weak", "true") } else { self }
    }

    /// Memory and CPU limits.
    #[must_use]
    fn resources(mut self, limits: &LinuxResources) -> Self {
        // "0" is no number but names a processor or a node, and is kept.
        let number = |value: &dyn std::fmt::Display| Some(value.to_string()).filter(|text| text != "0");
        let set = |text: &str| Some(text.to_owned()).filter(|text| !text.is_empty());
        let words = [
            ("memory", number(&limits.memory)),
            ("memory-swap", number(&limits.memory_swap)),
            ("cpu-shares", number(&limits.cpu_shares)),
            ("cpu-period", number(&limits.cpu_period)),
            ("cpu-quota", number(&limits.cpu_quota)),
            ("cpuset-cpus", set(&limits.cpuset_cpus)),
            ("cpuset-mems", set(&limits.cpuset_mems)),
        ];
        for (word, value) in words {
            if let Some(value) = value {
                self = self.attr(word, value);
            }
        }
        self
    }

    /// Where in a source text it comes from. May be called again: places add up.
    #[must_use]
    fn at(mut self, place: Location) -> Self {
        self.vertex_options().places.push(place);
        self
    }

    /// Adds options that were gathered elsewhere.
    #[must_use]
    fn with(mut self, options: &VertexOptions) -> Self {
        let own = self.vertex_options();
        own.attrs.extend_from_slice(&options.attrs);
        own.places.extend_from_slice(&options.places);
        self
    }
}

impl VertexOptions {
    /// Nothing said.
    pub fn new() -> Self {
        Self::default()
    }

    /// An op's own attributes and, taken out of the options, those of any vertex: in a fixed order.
    pub(crate) fn attrs_with(&mut self, mut own: Vec<Attr>) -> Vec<Attr> {
        own.append(&mut self.attrs);
        own
    }

    /// Adds the places to a vertex that is there, and to the error when it could not be added. An error without a place is the author's to
    /// understand, who is told which line of the frontend made the call.
    #[track_caller]
    pub(crate) fn located(&self, host: &Host, added: Result<Edge>) -> Result<Edge> {
        let caller = std::panic::Location::caller();
        let edge = added.map_err(|mut error| {
            if error.places.is_empty() {
                error.places.extend_from_slice(&self.places);
            }
            if error.places.is_empty() {
                error.with("called at", format!("{}:{}", caller.file(), caller.line()))
            } else {
                error
            }
        })?;
        if !self.places.is_empty() {
            host.calls().locate(edge.vertex, &self.places)?;
        }
        Ok(edge)
    }
}

impl VertexBuilder for VertexOptions {
    fn vertex_options(&mut self) -> &mut VertexOptions {
        self
    }
}
