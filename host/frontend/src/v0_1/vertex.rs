use std::collections::{BTreeMap, HashMap};

use llb::{
    Edge, Platform, VertexMeta,
    op::{Chown, LinuxResources, ProgressGroup, UserOpt},
};

use super::convert::Fault;
use crate::words::{Attrs, owner_parts, platform};

/// BuildKit's key for the text that the progress shows.
const CUSTOM_NAME: &str = "llb.customname";

/// What the words of `vertex` say.
#[derive(Default)]
pub(super) struct VertexWords {
    pub(super) platform: Option<Platform>,
    pub(super) constraints: Vec<String>,
    pub(super) meta: VertexMeta,
}

impl VertexWords {
    pub(super) fn new(attrs: &Attrs<'_>) -> Result<Self, Fault> {
        let mut description: BTreeMap<String, String> =
            attrs.family("description.").map(|(key, text)| (key.to_owned(), text.to_owned())).collect();
        if let Some(name) = attrs.get("name") {
            description.insert(CUSTOM_NAME.to_owned(), name.to_owned());
        }
        let meta = VertexMeta {
            ignore_cache: attrs.flag("ignore-cache"),
            description,
            export_cache: attrs.get("export-cache").map(|value| value == "true"),
            caps: attrs.family("cap.").map(|(cap, value)| (cap.to_owned(), value == "true")).collect(),
            progress_group: group(attrs)?,
            linux_resources: resources(attrs),
            locations: Vec::new(),
        };
        Ok(VertexWords { platform: vertex_platform(attrs)?, constraints: attrs.texts("constraint"), meta })
    }
}

fn vertex_platform(attrs: &Attrs<'_>) -> Result<Option<Platform>, Fault> {
    let Some(named) = attrs.get("platform").and_then(platform) else {
        let alone = ["os-version", "os-feature"].into_iter().find(|word| attrs.get(word).is_some());
        return alone.map_or(Ok(None), |word| Err(Fault::invalid(format!("attribute {word:?} needs a platform"))));
    };
    let (os_version, os_features) = (attrs.text("os-version"), attrs.texts("os-feature"));
    Ok(Some(Platform { os_version, os_features, ..named }))
}

fn group(attrs: &Attrs<'_>) -> Result<Option<ProgressGroup>, Fault> {
    let (name, weak) = (attrs.text("group-name"), attrs.flag("group-weak"));
    match attrs.get("group") {
        Some(id) => Ok(Some(ProgressGroup { id: id.to_owned(), name, weak })),
        None if name.is_empty() && !weak => Ok(None),
        None => Err(Fault::invalid("attributes \"group-name\" and \"group-weak\" need a group")),
    }
}

fn resources(attrs: &Attrs<'_>) -> Option<LinuxResources> {
    let limits = LinuxResources {
        memory: attrs.number("memory").unwrap_or(0),
        memory_swap: attrs.number("memory-swap").unwrap_or(0),
        cpu_shares: attrs.number("cpu-shares").unwrap_or(0),
        cpu_period: attrs.number("cpu-period").unwrap_or(0),
        cpu_quota: attrs.number("cpu-quota").unwrap_or(0),
        cpuset_cpus: attrs.text("cpuset-cpus"),
        cpuset_mems: attrs.text("cpuset-mems"),
    };
    (limits != LinuxResources::default()).then_some(limits)
}

/// `owner`, a word of file actions; names are looked up in `base`.
pub(super) fn chown(attrs: &Attrs<'_>, base: Option<u32>) -> Option<Chown> {
    let (user, group) = owner_parts(attrs.get("owner")?)?;
    let option = |name: &str| match name.parse() {
        Ok(id) => UserOpt::Id(id),
        Err(_) => UserOpt::Name { name: name.to_owned(), input: base },
    };
    Some(Chown { user: Some(option(user)), group: group.map(option) })
}

/// The inputs of a vertex, each once, in the order of their first use.
#[derive(Default)]
pub(super) struct Inputs {
    edges: Vec<Edge>,
    numbers: HashMap<Edge, u32>,
}

impl Inputs {
    /// The input number of an edge.
    pub(super) fn number(&mut self, edge: Edge) -> u32 {
        *self.numbers.entry(edge).or_insert_with(|| {
            self.edges.push(edge);
            self.edges.len() as u32 - 1
        })
    }

    pub(super) fn len(&self) -> u32 {
        self.edges.len() as u32
    }

    pub(super) fn into_edges(self) -> Vec<Edge> {
        self.edges
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// It would take minutes if it took the square of the number.
    #[test]
    fn inputs_may_be_many() {
        const NUMBER: u32 = 200_000;
        let mut inputs = Inputs::default();
        for _ in 0..2 {
            for number in 0..NUMBER {
                assert_eq!(inputs.number(Edge { vertex: llb::VertexId(number), output: 0 }), number);
            }
        }
        assert_eq!(inputs.into_edges().len(), NUMBER as usize);
    }
}
