//! Malformed graphs: each is refused with an error that says what is wrong.

use bytes::Bytes;
use llb::{
    Edge, Graph, Limits, Op, VertexId, VertexMeta,
    op::*,
    wire::pb::{self, op::Op as PbOp},
};
use prost::Message;

fn graph() -> (Graph, Edge) {
    let mut graph = Graph::new();
    let op = Op::Source(SourceOp { identifier: "docker-image://alpine".into(), attrs: Default::default() });
    let vertex = graph.add(op, vec![], None, vec![], VertexMeta::default()).unwrap();
    (graph, Edge { vertex, output: 0 })
}

fn root() -> Mount {
    Mount { input: Some(0), dest: "/".into(), output: Some(0), ..Mount::default() }
}

fn exec(change: impl Fn(&mut ExecOp)) -> Op {
    let mut op = ExecOp { args: vec!["true".into()], mounts: vec![root()], ..ExecOp::default() };
    change(&mut op);
    Op::Exec(op)
}

fn with_mount(mount: Mount) -> Op {
    exec(|op| op.mounts.push(mount.clone()))
}

fn mount(dest: &str) -> Mount {
    Mount { dest: dest.into(), ..Mount::default() }
}

fn of_kind(kind: MountKind) -> Op {
    with_mount(Mount { kind, ..mount("/m") })
}

fn file(actions: Vec<FileAction>) -> Op {
    Op::File(FileOp { actions })
}

fn action(kind: FileActionKind) -> FileAction {
    FileAction { input: Some(0), secondary_input: None, output: Some(0), kind }
}

fn rm(path: &str) -> Op {
    file(vec![action(FileActionKind::Rm { path: path.into(), allow_not_found: true, allow_wildcard: false })])
}

fn mkdir(mode: i32, owner: Option<Chown>) -> FileAction {
    action(FileActionKind::Mkdir { path: "/a".into(), mode, make_parents: false, owner, timestamp: None })
}

fn copy(copy: CopyAction) -> FileAction {
    FileAction { secondary_input: Some(0), ..action(FileActionKind::Copy(Box::new(copy))) }
}

fn named(input: Option<u32>) -> Option<Chown> {
    Some(Chown { user: Some(UserOpt::Name { name: "nobody".into(), input }), group: None })
}

/// Each op over one input, and words of its error.
fn bad_ops() -> Vec<(Op, &'static str)> {
    let source = |identifier: &str| Op::Source(SourceOp { identifier: identifier.into(), attrs: Default::default() });
    let limit = |name: &str, soft| exec(|op| op.ulimits = vec![Ulimit { name: name.into(), soft, hard: 0 }]);
    let secret = |id: &str, mode| MountKind::Secret { id: id.into(), uid: 0, gid: 0, mode, optional: false };
    vec![
        (source("docker-image://alpine"), "a source has no inputs"),
        (exec(|op| op.args.clear()), "no arguments"),
        (exec(|op| op.args.push("a\0".into())), "zero byte"),
        (exec(|op| op.env.push("NAME".into())), "want NAME=VALUE"),
        (exec(|op| op.env.push("=value".into())), "want NAME=VALUE"),
        (exec(|op| op.cwd = "src".into()), "want an absolute path"),
        (exec(|op| op.mounts.clear()), "no root filesystem"),
        (exec(|op| op.mounts = vec![mount("/a")]), "no root filesystem"),
        (exec(|op| op.mounts.push(Mount { output: None, ..root() })), "2 mounts at /"),
        (exec(|op| op.mounts[0].input = Some(1)), "input 1 is out of range"),
        (exec(|op| op.mounts[0].output = Some(1)), "output 0 is missing"),
        (exec(|op| op.mounts[0].kind = MountKind::Tmpfs { size: 0 }), "must be a bind mount"),
        (exec(|op| op.valid_exit_codes = vec![256]), "exit code 256"),
        (exec(|op| op.valid_exit_codes = vec![-1]), "exit code -1"),
        (limit("files", 1), "unknown ulimit"),
        (limit("nofile", -2), "negative"),
        (
            exec(|op| op.secret_env = vec![SecretEnv { id: "a".into(), ..Default::default() }]),
            "no name of an environment",
        ),
        (exec(|op| op.secret_env = vec![SecretEnv { name: "A".into(), ..Default::default() }]), "has no id"),
        (exec(|op| op.cdi_devices = vec![CdiDevice::default()]), "a device has no name"),
        (with_mount(mount("")), "want an absolute path"),
        (with_mount(mount("relative")), "want an absolute path"),
        (with_mount(mount("//")), "write / for the root"),
        (with_mount(mount("/a/../..")), "climbs above /"),
        (with_mount(mount("/a\0")), "zero byte"),
        (with_mount(mount(&format!("/{}", "a".repeat(4096)))), "bytes long"),
        (with_mount(Mount { output: Some(0), ..mount("/a") }), "output 0 is made twice"),
        (with_mount(Mount { output: Some(2), ..mount("/a") }), "output 1 is missing"),
        (with_mount(Mount { output: Some(1), kind: MountKind::Tmpfs { size: 0 }, ..mount("/a") }), "has no output"),
        (of_kind(MountKind::Tmpfs { size: -1 }), "negative"),
        (of_kind(secret("", 0o400)), "a secret has no id"),
        (of_kind(secret("a", 0o10000)), "mode"),
        (of_kind(MountKind::Ssh { id: String::new(), uid: u32::MAX, gid: 0, mode: 0, optional: false }), "no user"),
        (file(vec![]), "no file action"),
        (file(vec![FileAction { input: Some(1), ..mkdir(0o755, None) }]), "input 1 is out of range"),
        (file(vec![FileAction { secondary_input: Some(0), ..mkdir(0o755, None) }]), "only a copy"),
        (file(vec![FileAction { output: None, ..mkdir(0o755, None) }]), "no output"),
        (file(vec![FileAction { output: Some(1), ..mkdir(0o755, None) }]), "output 0 is missing"),
        (file(vec![mkdir(0o755, None), mkdir(0o755, None)]), "output 0 is made twice"),
        (file(vec![mkdir(-1, None)]), "mode -1 is negative"),
        (file(vec![mkdir(0o755, named(None))]), "no input to be looked up in"),
        (file(vec![mkdir(0o755, named(Some(1)))]), "owner's input 1 is out of range"),
        (file(vec![FileAction { secondary_input: Some(3), ..copy(CopyAction::default()) }]), "secondary input 3"),
        (file(vec![copy(CopyAction { mode: Some(0o777), mode_str: "u+x".into(), ..Default::default() })]), "exclude"),
        (rm(""), "path is empty"),
        (rm(".."), "climbs above /"),
        (rm("/.."), "climbs above /"),
        (rm("a/../.."), "climbs above /"),
        (rm("/"), "the whole tree"),
        (rm("a/.."), "the whole tree"),
        (Op::Merge(MergeOp { inputs: vec![] }), "a merge needs an input"),
        (Op::Merge(MergeOp { inputs: vec![Some(1)] }), "merge input 1 is out of range"),
        (Op::Diff(DiffOp { lower: Some(9), upper: None }), "lower input 9"),
        (Op::Build(BuildOp { builder: -1, ..Default::default() }), "neither an input nor a definition"),
        (Op::Build(BuildOp { builder: 0, ..Default::default() }), "unknown builder 0"),
        (
            Op::Build(BuildOp { builder: -1, inputs: [("a".into(), 1)].into(), ..Default::default() }),
            "1 is out of range",
        ),
        (Op::Passthrough(PassthroughOp { id: String::new(), outputs: vec![0] }), "no id"),
        (Op::Passthrough(PassthroughOp { id: "a".into(), outputs: vec![] }), "no output"),
        (Op::Passthrough(PassthroughOp { id: "a".into(), outputs: vec![1] }), "input 1 is out of range"),
    ]
}

#[test]
fn ops_that_break_a_rule() {
    let (graph, base) = graph();
    for (op, want) in bad_ops() {
        let made = graph.clone().add(op.clone(), vec![base], None, vec![], VertexMeta::default());
        let error = made.expect_err(&format!("{op:?}")).message;
        assert!(error.contains(want), "{op:?}: {error:?} does not say {want:?}");
    }
    for identifier in ["", "alpine", "://x", "local://", &format!("local://{}", "a".repeat(70_000))] {
        let op = Op::Source(SourceOp { identifier: identifier.into(), attrs: Default::default() });
        let made = graph.clone().add(op, vec![], None, vec![], VertexMeta::default());
        assert!(made.is_err(), "{identifier:?}");
    }
}

#[test]
fn edges_that_do_not_exist() {
    let (mut graph, base) = graph();
    let add = |graph: &mut Graph, edge| graph.add(exec(|_| {}), vec![edge], None, vec![], VertexMeta::default());
    for edge in [Edge { vertex: VertexId(7), output: 0 }, Edge { output: 1, ..base }] {
        assert!(add(&mut graph, edge).is_err());
        assert!(graph.encode(edge).is_err());
        assert!(graph.subgraph(edge).is_err());
        assert!(llb::text::text(&graph, Some(edge), None).is_err());
    }
    let location = Location { file: 0, ranges: vec![] };
    assert!(graph.locate(base.vertex, vec![location.clone()]).is_err());
    let meta = VertexMeta { locations: vec![location], ..VertexMeta::default() };
    assert!(graph.add(exec(|_| {}), vec![base], None, vec![], meta).is_err());
}

fn head(bytes: &Bytes) -> Bytes {
    let input = pb::Input { digest: llb::Digest::of(bytes).to_string(), index: 0 };
    pb::Op { inputs: vec![input], ..Default::default() }.encode_to_vec().into()
}

/// A definition of `op` over an image, with the op that names the result.
fn definition(op: Option<PbOp>, input_index: i64) -> pb::Definition {
    let (graph, base) = graph();
    let image = graph.vertex(base.vertex);
    let inputs = vec![pb::Input { digest: image.digest.to_string(), index: input_index }];
    let op: Bytes = pb::Op { inputs, op, ..Default::default() }.encode_to_vec().into();
    pb::Definition { def: vec![image.bytes.clone(), op.clone(), head(&op)], ..Default::default() }
}

fn refuse(definition: pb::Definition, want: &str) {
    let error = Graph::decode(definition, &Limits::default()).expect_err(want).message;
    assert!(error.contains(want), "{error:?} does not say {want:?}");
}

fn pb_exec(change: impl Fn(&mut pb::ExecOp)) -> Option<PbOp> {
    let mut op = pb::ExecOp {
        meta: Some(pb::Meta { args: vec!["true".into()], ..Default::default() }),
        mounts: vec![pb::Mount { dest: "/".into(), ..Default::default() }],
        ..Default::default()
    };
    change(&mut op);
    Some(PbOp::Exec(op))
}

fn pb_mount(change: impl Fn(&mut pb::Mount)) -> Option<PbOp> {
    pb_exec(|op| {
        let mut mount = pb::Mount { dest: "/m".into(), input: -1, output: -1, ..Default::default() };
        change(&mut mount);
        op.mounts.push(mount);
    })
}

#[test]
fn wire_values_that_no_typed_op_has() {
    let merge = |input| Some(PbOp::Merge(pb::MergeOp { inputs: vec![pb::MergeInput { input }] }));
    let action = |action| Some(PbOp::File(pb::FileOp { actions: vec![pb::FileAction { output: -7, ..action }] }));
    let cases = [
        (None, "no op of a known kind"),
        (pb_exec(|op| op.meta = None), "no meta"),
        (pb_exec(|op| op.network = 3), "unknown network mode 3"),
        (pb_exec(|op| op.security = 2), "unknown security mode 2"),
        (pb_exec(|op| op.security = -1), "unknown security mode -1"),
        (pb_exec(|op| op.security = i32::MAX), "unknown security mode"),
        (pb_exec(|op| op.mounts[0].input = -2), "input -2 is out of range"),
        (pb_exec(|op| op.mounts[0].input = i64::MAX), "out of range"),
        (pb_exec(|op| op.mounts[0].output = -2), "output -2 is out of range"),
        (pb_mount(|mount| mount.mount_type = 9), "unknown mount type 9"),
        (pb_mount(|mount| mount.mount_type = 1), "without its options"),
        (pb_mount(|mount| mount.mount_type = 2), "without its options"),
        (pb_mount(|mount| mount.mount_type = 3), "without its options"),
        (pb_mount(|mount| mount.content_cache = 5), "unknown content cache mode 5"),
        (pb_mount(|mount| mount.dest = "../..".into()), "climbs above /"),
        (
            pb_mount(|mount| {
                mount.mount_type = 3;
                mount.cache_opt = Some(pb::CacheOpt { id: "a".into(), sharing: 3 });
            }),
            "unknown cache sharing mode 3",
        ),
        (merge(-2), "merge input -2"),
        (merge(i64::MIN), "merge input"),
        (Some(PbOp::Diff(pb::DiffOp { lower: None, upper: Some(Default::default()) })), "lower or upper"),
        (action(pb::FileAction::default()), "no action of a known kind"),
        (Some(PbOp::Passthrough(pb::PassthroughOp { id: "a".into(), outputs: vec![-1] })), "out of range"),
    ];
    for (op, want) in cases {
        refuse(definition(op, 0), want);
    }
    refuse(definition(pb_exec(|_| {}), -1), "output number -1 is out of range");
    refuse(definition(pb_exec(|_| {}), 1), "there is no output 1");
}

#[test]
fn definitions_that_do_not_hang_together() {
    let good = definition(pb_exec(|_| {}), 0);
    assert!(Graph::decode(good.clone(), &Limits::default()).is_ok());
    let with = |def: Vec<Bytes>| pb::Definition { def, ..Default::default() };
    let [image, op, last] = [0, 1, 2].map(|number| good.def[number].clone());

    refuse(with(vec![op.clone(), last.clone()]), "is not in the definition");
    refuse(with(vec![image.clone(), last.clone()]), "is not in the definition");
    refuse(with(vec![image.clone()]), "it must only name the result");
    refuse(with(vec![image.clone(), op.clone()]), "it must only name the result");
    refuse(with(vec![image.clone(), Bytes::new()]), "names no result");
    refuse(with(vec![Bytes::from_static(b"\xff"), last.clone()]), "not valid protobuf");
    let foreign = pb::Input { digest: "md5:1".into(), index: 0 };
    let foreign = pb::Op { inputs: vec![foreign], ..Default::default() }.encode_to_vec();
    refuse(with(vec![image.clone(), foreign.into()]), "invalid digest");
    let location = pb::Location { source_index: 1, ranges: vec![] };
    let locations = [("x".to_owned(), pb::Locations { locations: vec![location] })].into();
    let source = Some(pb::Source { locations, infos: vec![] });
    refuse(pb::Definition { source, ..good.clone() }, "names source text 1 of 0");

    // Any order will do, and twice is once.
    let (graph, edge) = Graph::decode(with(vec![op.clone(), image.clone(), op, last]), &Limits::default()).unwrap();
    assert_eq!(graph.len(), 2);
    assert_eq!(graph.vertex(edge.unwrap().vertex).op.kind(), "exec");
    assert_eq!(graph.vertex(VertexId(0)).bytes, image);
    assert!(Graph::decode(pb::Definition::default(), &Limits::default()).unwrap().1.is_none());
}

#[test]
fn definitions_over_a_limit() {
    let good = definition(pb_exec(|_| {}), 0);
    let exact = Limits { vertices: 3, bytes: good.encoded_len() };
    assert!(Graph::decode(good.clone(), &exact).is_ok());
    let few = Graph::decode(good.clone(), &Limits { vertices: 2, ..exact }).unwrap_err();
    assert_eq!(few.message, "the definition has 3 ops, more than the limit of 2");
    let small = Graph::decode(good.clone(), &Limits { bytes: exact.bytes - 1, ..exact }).unwrap_err();
    assert!(small.message.contains("more than the limit"), "{small}");
    let bytes: Bytes = good.encode_to_vec().into();
    assert!(Graph::decode_bytes(bytes, &Limits { bytes: exact.bytes - 1, ..exact }).is_err());
}

#[test]
fn a_mount_relative_to_the_working_directory_is_made_absolute() {
    let op = pb_exec(|op| {
        op.meta.as_mut().unwrap().cwd = "/src".into();
        op.mounts.push(pb::Mount { dest: "./cache".into(), input: -1, output: -1, ..Default::default() });
    });
    let (graph, edge) = Graph::decode(definition(op, 0), &Limits::default()).unwrap();
    let Op::Exec(exec) = &graph.vertex(edge.unwrap().vertex).op else { panic!("no exec") };
    assert_eq!(exec.mounts[1].dest, "/src/cache");
}
