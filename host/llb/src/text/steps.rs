//! The steps of a graph as BuildKit writes them into provenance (`solver/llbsolver/provenance/buildconfig.go`): ops as JSON with the
//! names of `solver/pb/ops.proto`, and inputs by the number of their step.

use std::{borrow::Cow, collections::BTreeMap, sync::Arc};

use base64::{Engine as _, prelude::BASE64_STANDARD};
use bytes::Bytes;
use serde_json::{Map, Value, json};

use crate::{
    Digest, Edge, Graph, GraphError, Op, Vertex, VertexId,
    op::{
        CacheSharing, Chown, ContentCache, CopyAction, ExecOp, FileAction, FileActionKind, Mount, MountKind, NetMode,
        SecurityMode, SourceFile, UserOpt,
    },
    wire::Limits,
};

/// Attributes that are of one build and not of the definition.
const SESSION_ATTRS: [&str; 2] = ["local.session", "local.unique"];

/// The steps that an edge is made of, numbered from 0, inputs first. They are written one at a time: of a large graph they are much.
pub struct Steps<'a> {
    graph: Cow<'a, Graph>,
    edge: Edge,
    /// Of BuildKit's last vertex, which only says which output is the result.
    last: Digest,
}

impl<'a> Steps<'a> {
    /// The steps that `edge` of `graph` is made of.
    ///
    /// # Errors
    /// When `edge` is not of this graph.
    pub fn of(graph: &'a Graph, edge: Edge) -> Result<Self, GraphError> {
        Self::new(Cow::Borrowed(graph), edge)
    }

    fn new(graph: Cow<'a, Graph>, edge: Edge) -> Result<Self, GraphError> {
        let last = Digest::of(&graph.head(edge)?);
        if graph.reachable(edge).len() == graph.len() {
            return Ok(Steps { graph, edge, last });
        }
        let (graph, edge) = graph.subgraph(edge)?;
        Ok(Steps { graph: Cow::Owned(graph), edge, last })
    }

    /// The id of the step of this digest, if it is one of them.
    pub fn id(&self, digest: &Digest) -> Option<String> {
        self.graph.find(digest).map(step)
    }

    /// Each step with its `id`, `op` and `inputs`.
    pub fn iter(&self) -> impl Iterator<Item = Value> {
        let input = |edge: &Edge| format!("{}:{}", step(edge.vertex), edge.output);
        let one = move |(id, vertex): (VertexId, &Arc<Vertex>)| {
            let inputs: Vec<String> = vertex.inputs.iter().map(input).collect();
            object([("id", step(id).into()), ("op", op(vertex)), ("inputs", inputs.into())])
        };
        let last = json!({ "id": self.last_id(), "op": { "Op": {} }, "inputs": [input(&self.edge)] });
        self.graph.iter().map(one).chain([last])
    }

    /// The digest of each step and its id, in the order of the digests.
    pub fn digests(&self) -> Vec<(&Digest, String)> {
        let vertices = self.graph.iter().map(|(id, vertex)| (&vertex.digest, step(id)));
        let mut digests: Vec<_> = vertices.chain([(&self.last, self.last_id())]).collect();
        digests.sort_unstable_by_key(|(digest, _)| *digest);
        digests
    }

    /// Where steps come from: by the step's id, `locations` that name source texts by their index; of a step that comes from no line
    /// of one, nothing.
    pub fn locations(&self) -> impl Iterator<Item = (String, Value)> {
        self.graph.iter().map(|(id, vertex)| (step(id), locations(vertex)))
    }

    /// The source texts: `filename`, `language`, `data` in base64; and the steps that each was read from, if any.
    ///
    /// # Errors
    /// A source text that says of itself that it was read from what is no definition.
    pub fn sources(&self) -> Result<Vec<(Value, Option<Steps<'static>>)>, GraphError> {
        self.graph.sources().iter().map(|file| source(file)).collect()
    }

    fn last_id(&self) -> String {
        format!("step{}", self.graph.len())
    }
}

fn step(id: VertexId) -> String {
    format!("step{}", id.0)
}

fn source(file: &SourceFile) -> Result<(Value, Option<Steps<'static>>), GraphError> {
    let text = json!({
        "filename": file.filename, "language": file.language, "data": BASE64_STANDARD.encode(&file.data),
    });
    Ok((compact(text), file.definition.as_ref().map(|bytes| read_from(file, bytes)).transpose()?.flatten()))
}

/// What a source text was read from, unless that is nothing.
fn read_from(file: &SourceFile, definition: &Bytes) -> Result<Option<Steps<'static>>, GraphError> {
    let (graph, edge) = Graph::decode_bytes(definition.clone(), &Limits::default())
        .map_err(|error| error.at(format_args!("source text {}", file.filename)))?;
    edge.map(|edge| Steps::new(Cow::Owned(graph), edge)).transpose()
}

fn locations(vertex: &Vertex) -> Value {
    let place = |line: i32, character: i32| compact(json!({ "line": line, "character": character }));
    let locations = vertex.meta.locations.iter().map(|location| {
        let ranges: Vec<Value> = location
            .ranges
            .iter()
            .map(|range| {
                let (start, end) =
                    (place(range.start_line, range.start_character), place(range.end_line, range.end_character));
                json!({ "start": start, "end": end })
            })
            .collect();
        compact(json!({ "sourceIndex": location.file, "ranges": ranges }))
    });
    let locations: Vec<Value> = locations.collect();
    if locations.is_empty() { json!({}) } else { json!({ "locations": locations }) }
}

fn op(vertex: &Vertex) -> Value {
    let (kind, body) = match &vertex.op {
        Op::Source(op) => {
            let attrs: BTreeMap<_, _> =
                op.attrs.iter().filter(|(key, _)| !SESSION_ATTRS.contains(&key.as_str())).collect();
            let attrs = (!attrs.is_empty()).then_some(attrs);
            ("source", json!({ "identifier": op.identifier, "attrs": attrs }))
        }
        Op::Exec(op) => ("exec", exec(op)),
        Op::File(op) => ("file", json!({ "actions": op.actions.iter().map(action).collect::<Vec<_>>() })),
        Op::Merge(op) => {
            let inputs: Vec<Value> = op.inputs.iter().map(|input| json!({ "input": number(*input) })).collect();
            ("merge", json!({ "inputs": inputs }))
        }
        Op::Diff(op) => {
            let side = |input| json!({ "input": number(input) });
            ("diff", json!({ "lower": side(op.lower), "upper": side(op.upper) }))
        }
        Op::Build(op) => ("build", json!({ "builder": op.builder, "inputs": op.inputs, "attrs": op.attrs })),
        Op::Passthrough(op) => ("passthrough", json!({ "id": op.id, "outputs": op.outputs })),
    };
    let platform = vertex.platform.as_ref().map(|platform| {
        compact(json!({ "Architecture": platform.architecture, "OS": platform.os, "Variant": platform.variant }))
    });
    let constraints = compact(json!({ "filter": vertex.constraints }));
    let body = Map::from_iter([(kind.to_owned(), compact(body))]).into();
    object([("Op", body), ("platform", platform.into()), ("constraints", constraints)])
}

fn exec(op: &ExecOp) -> Value {
    let hosts: Vec<Value> = op.extra_hosts.iter().map(|host| json!({ "Host": host.host, "IP": host.ip })).collect();
    let limits = op.ulimits.iter().map(|limit| json!({ "Name": limit.name, "Soft": limit.soft, "Hard": limit.hard }));
    let meta = json!({
        "args": op.args, "env": op.env, "cwd": op.cwd, "user": op.user, "extraHosts": hosts, "hostname": op.hostname,
        "ulimit": limits.collect::<Vec<_>>(), "cgroupParent": op.cgroup_parent,
        "removeMountStubsRecursive": op.remove_mount_stubs_recursive, "validExitCodes": op.valid_exit_codes,
        "proxy_env": op.proxy_env.as_ref().map(|proxy| compact(json!(proxy))),
    });
    let secrets = op.secret_env.iter();
    let secrets = secrets.map(|one| compact(json!({ "ID": one.id, "name": one.name, "optional": one.optional })));
    let devices = op.cdi_devices.iter().map(|one| compact(json!({ "name": one.name, "optional": one.optional })));
    json!({
        "meta": compact(meta),
        "mounts": op.mounts.iter().map(mount).collect::<Vec<_>>(),
        "network": match op.network { NetMode::Sandbox => 0, NetMode::Host => 1, NetMode::None => 2 },
        "security": match op.security { SecurityMode::Sandbox => 0, SecurityMode::Insecure => 1 },
        "secretenv": secrets.collect::<Vec<_>>(),
        "cdiDevices": devices.collect::<Vec<_>>(),
    })
}

fn mount(mount: &Mount) -> Value {
    let mut value = json!({
        "selector": mount.selector, "dest": mount.dest, "readonly": mount.readonly,
        "contentCache": match mount.content_cache { ContentCache::Default => 0, ContentCache::On => 1, ContentCache::Off => 2 },
    });
    let file = |id: &str, uid: u32, gid: u32, mode: u32, optional: bool| {
        compact(json!({ "ID": id, "uid": uid, "gid": gid, "mode": mode, "optional": optional }))
    };
    let (kind, name, options) = match &mount.kind {
        MountKind::Bind => (0, "", Value::Null),
        MountKind::Secret { id, uid, gid, mode, optional } => (1, "secretOpt", file(id, *uid, *gid, *mode, *optional)),
        MountKind::Ssh { id, uid, gid, mode, optional } => (2, "SSHOpt", file(id, *uid, *gid, *mode, *optional)),
        MountKind::Cache { id, sharing } => {
            let sharing = match sharing {
                CacheSharing::Shared => 0,
                CacheSharing::Private => 1,
                CacheSharing::Locked => 2,
            };
            (3, "cacheOpt", compact(json!({ "ID": id, "sharing": sharing })))
        }
        MountKind::Tmpfs { size } => (4, "TmpfsOpt", compact(json!({ "size": size }))),
    };
    value["mountType"] = kind.into();
    if !name.is_empty() {
        value[name] = options;
    }
    value["input"] = number(mount.input);
    // What Go's client writes of files that the client sends is an output as good as none.
    let is_sent = matches!(mount.kind, MountKind::Secret { .. } | MountKind::Ssh { .. });
    value["output"] = if is_sent { 0.into() } else { number(mount.output) };
    compact(value)
}

fn action(action: &FileAction) -> Value {
    let (name, body) = match &action.kind {
        FileActionKind::Copy(op) => ("copy", copy(op)),
        FileActionKind::Mkfile { path, mode, data, owner, timestamp } => (
            "mkfile",
            json!({ "path": path, "mode": mode, "data": BASE64_STANDARD.encode(data), "owner": chown(owner),
                    "timestamp": number(*timestamp) }),
        ),
        FileActionKind::Mkdir { path, mode, make_parents, owner, timestamp } => (
            "mkdir",
            json!({ "path": path, "mode": mode, "makeParents": make_parents, "owner": chown(owner),
                    "timestamp": number(*timestamp) }),
        ),
        FileActionKind::Rm { path, allow_not_found, allow_wildcard } => {
            ("rm", json!({ "path": path, "allowNotFound": allow_not_found, "allowWildcard": allow_wildcard }))
        }
        FileActionKind::Symlink { oldpath, newpath, owner, timestamp } => (
            "symlink",
            json!({ "oldpath": oldpath, "newpath": newpath, "owner": chown(owner), "timestamp": number(*timestamp) }),
        ),
    };
    json!({
        "input": number(action.input), "secondaryInput": number(action.secondary_input), "output": number(action.output),
        "Action": { name: compact(body) },
    })
}

fn copy(op: &CopyAction) -> Value {
    json!({
        "src": op.src, "dest": op.dest, "owner": chown(&op.owner), "mode": number(op.mode), "modeStr": op.mode_str,
        "followSymlink": op.follow_symlink, "dirCopyContents": op.dir_copy_contents,
        "attemptUnpackDockerCompatibility": op.attempt_unpack, "createDestPath": op.create_dest_path,
        "allowWildcard": op.allow_wildcard, "allowEmptyWildcard": op.allow_empty_wildcard,
        "timestamp": number(op.timestamp), "include_patterns": op.include_patterns,
        "exclude_patterns": op.exclude_patterns, "required_paths": op.required_paths,
        "alwaysReplaceExistingDestPaths": op.always_replace_existing_dest_paths,
    })
}

fn chown(owner: &Option<Chown>) -> Value {
    let user = |user: &Option<UserOpt>| match user {
        Some(UserOpt::Id(id)) => json!({ "User": compact(json!({ "byId": id })) }),
        Some(UserOpt::Name { name, input }) => {
            json!({ "User": { "byName": { "name": name, "input": number(*input) } } })
        }
        None => Value::Null,
    };
    let owner = owner.as_ref();
    owner.map_or(Value::Null, |owner| compact(json!({ "user": user(&owner.user), "group": user(&owner.group) })))
}

/// -1 stands for none, as on the wire.
fn number<T: Into<i64>>(number: Option<T>) -> Value {
    number.map_or(-1, Into::into).into()
}

/// An object of `fields`, [`compact`]. They are moved, where `json!` would copy them: of a large graph that is much.
fn object<const N: usize>(fields: [(&str, Value); N]) -> Value {
    compact(Map::from_iter(fields.map(|(name, value)| (name.to_owned(), value))).into())
}

/// Without what is empty, zero or false, as Go leaves it out.
fn compact(mut value: Value) -> Value {
    let Value::Object(fields) = &mut value else { return value };
    let is_said = |value: &Value| match value {
        Value::Null => false,
        Value::Bool(value) => *value,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(_) => true,
    };
    fields.retain(|_, value| is_said(value));
    value
}
