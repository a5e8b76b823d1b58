//! Which components are taken, and how often they are compiled.

mod common;

use common::{check_error, component, run};
use frontend::{Interfaces, Options, Runtime, testing::FakeBridge};
use llb::{Op, op::MountKind};
use sha2::{Digest as _, Sha256};
use wasm_encoder::{
    Component, ComponentExternName, ComponentImportSection, ComponentTypeRef, ComponentTypeSection, InstanceType,
    TypeBounds,
};

/// A component that imports an instance of this name, which has one function without parameters.
fn importing(name: &str, function: &str) -> Vec<u8> {
    let mut instance = InstanceType::new();
    instance.ty().function().params::<[(&str, wasm_encoder::PrimitiveValType); 0], _>([]).result(None);
    instance.export(function, ComponentTypeRef::Func(0));
    let mut types = ComponentTypeSection::new();
    types.instance(&instance);
    let mut imports = ComponentImportSection::new();
    imports.import(ComponentExternName::from(name), ComponentTypeRef::Instance(0));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    component.finish()
}

#[tokio::test]
async fn what_is_no_frontend_is_refused_by_name() {
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let empty = Component::new().finish();
    let cases: Vec<(Vec<u8>, &str, &str)> = vec![
        (Vec::new(), "invalid-argument", "frontend x: not WebAssembly"),
        (b"FROM alpine".to_vec(), "invalid-argument", "frontend x: not WebAssembly"),
        (
            wasm_encoder::Module::HEADER.to_vec(),
            "invalid-argument",
            "frontend x: a core module, as compilers make them, and no component: `pintle frontend build` in its project makes one",
        ),
        (
            [&empty[..], b"\x07garbage"].concat(),
            "invalid-argument",
            "frontend x: not a component that can be run: [..]",
        ),
        (empty, "unsupported", "frontend x: does not fit this host: [..]`build`[..]"),
        (
            importing("wasi:http/outgoing-handler@0.2.0", "handle"),
            "denied",
            "frontend x: imports \"wasi:http/outgoing-handler@0.2.0\", which is not granted; a frontend may import \
             pintle:frontend and WASI 0.2's cli, clocks, filesystem, io, random, sockets alone",
        ),
        (
            importing("wasi:cli/environment@0.3.0", "get-environment"),
            "denied",
            "frontend x: imports \"wasi:cli/environment@0.3.0\", which is not granted; [..]",
        ),
        (
            importing("wasi:cli/environment@0.2.0", "get-environment"),
            "unsupported",
            "frontend x: does not fit this host: [..]`build`[..]",
        ),
        (
            importing("pintle:frontend/host@0.2.0", "log"),
            "unsupported",
            "frontend x: imports \"pintle:frontend/host@0.2.0\"; this host speaks pintle:frontend 0.1",
        ),
        (
            importing("pintle:frontend/process@0.1.0", "run"),
            "unsupported",
            "frontend x: imports \"pintle:frontend/process@0.1.0\"; this host speaks pintle:frontend 0.1",
        ),
        (
            importing("pintle:frontend/host@0.1.7", "frobnicate"),
            "unsupported",
            "frontend x: does not fit this host: [..]`frobnicate`[..]",
        ),
    ];
    for (bytes, code, message) in cases {
        let error = runtime.load(bytes, "x").await.err().expect(message);
        check_error(message, &error, code, message);
    }
}

/// The most memory that this process ever had, in megabytes.
fn peak_megabytes() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<u64>().unwrap() / 1024
}

#[test]
fn what_a_component_imports_is_read_without_compiling_it() {
    let found = frontend::interfaces(&importing("pintle:frontend/host@0.1.0", "log")).unwrap();
    let imports: Vec<_> = found.imports.into_iter().collect();
    assert_eq!(imports, [("pintle:frontend/host@0.1.0".to_owned(), vec!["log".to_owned()])]);
    assert!(found.exports.is_empty());

    let module = frontend::interfaces(&wasm_encoder::Module::HEADER).unwrap_err();
    assert!(module.message.contains("not a component"), "{module:?}");
    let broken = [&importing("a:b/c", "d")[..], b"\x07garbage"].concat();
    assert!(frontend::interfaces(&broken).is_err());
}

/// Types that are named in a world are nothing that is called.
#[test]
fn types_of_a_world_are_no_functions() {
    let mut types = ComponentTypeSection::new();
    types.defined_type().record([("x", wasm_encoder::PrimitiveValType::U8)]);
    let mut imports = ComponentImportSection::new();
    imports.import(ComponentExternName::from("point"), ComponentTypeRef::Type(TypeBounds::Eq(0)));
    let mut component = Component::new();
    component.section(&types).section(&imports);
    assert_eq!(frontend::interfaces(&component.finish()).unwrap(), Interfaces::default());
}

#[test]
fn a_part_that_says_it_is_longer_than_the_file_takes_no_room() {
    // A section of types of 4 GB.
    let bytes = b"\0asm\x0d\0\x01\0\x07\xff\xff\xff\xff\x0f";
    let error = frontend::interfaces(bytes).unwrap_err();
    assert!(error.message.contains("unexpected end"), "{error:?}");
    let peak = peak_megabytes();
    assert!(peak < 2048, "{peak} MB");
}

#[tokio::test(flavor = "multi_thread")]
async fn compiled_once_however_many_ask_and_found_again() {
    let Some(component) = component("hostile-guest") else { return };
    let dir = tempfile::tempdir().expect("a directory");
    let options = Options { cache_dir: Some(dir.path().join("compiled")), ..Options::default() };
    let runtime = Runtime::new(options.clone()).expect("the engine is set up");
    let loads = (0..8).map(|_| runtime.load(component.clone(), "guest"));
    let loaded = futures::future::join_all(loads).await;
    assert!(loaded.iter().all(Result::is_ok));
    assert_eq!(runtime.compiled(), 1);

    let again = Runtime::new(options.clone()).expect("the engine is set up");
    let guest = again.load(component.clone(), "guest").await.expect("it is a frontend");
    assert_eq!(again.compiled(), 0, "it is on disk");
    run(&guest, &FakeBridge::new(), "honest", 0).await.expect("what was stored runs");

    // An artifact that somebody changed is not run but made anew.
    let stored = std::fs::read_dir(dir.path().join("compiled")).expect("the cache directory");
    for entry in stored.map(|entry| entry.expect("an entry").path()).filter(|path| !path.ends_with("key")) {
        let mut bytes = std::fs::read(&entry).expect("an artifact");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&entry, bytes).expect("it is ours");
    }
    let wary = Runtime::new(options).expect("the engine is set up");
    wary.load(component, "guest").await.expect("it is a frontend");
    assert_eq!(wary.compiled(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_built_in_artifact_is_not_compiled_again() {
    let Some(component) = component("hostile-guest") else { return };
    let artifact: &'static [u8] = frontend::precompile(&component).expect("it is a component").leak();
    let digest = Sha256::digest(&component).into();
    let component: &'static [u8] = component.leak();
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let guest = runtime.load_built_in((component, digest), Some(artifact), "guest").await.expect("it is a frontend");
    assert_eq!(runtime.compiled(), 0);
    run(&guest, &FakeBridge::new(), "honest", 0).await.expect("it runs");
    let other = Runtime::new(Options::default()).expect("the engine is set up");
    other
        .load_built_in((component, digest), Some(b"of another version"), "guest")
        .await
        .expect("it is compiled instead");
    assert_eq!(other.compiled(), 1);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_honest_frontend_makes_this_graph_each_time_with_the_same_instructions() {
    let Some(component) = component("hostile-guest") else { return };
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let guest = runtime.load(component, "guest").await.expect("it is a frontend");
    let mut digests = Vec::new();
    for _ in 0..3 {
        let (output, statistics) = guest.run(std::sync::Arc::new(FakeBridge::new()), Default::default()).await;
        let output = output.expect("it is honest");
        let (_, definition) = &output.refs[0];
        let edge = definition.edge.expect("it has a result");
        digests.push((
            definition.graph.vertex(edge.vertex).digest.clone(),
            statistics.instructions,
            statistics.host_calls,
        ));
        let Op::Exec(exec) = &definition.graph.vertex(llb::VertexId(2)).op else { panic!("vertex 2 is the command") };
        let mounts: Vec<_> =
            exec.mounts.iter().map(|mount| (mount.dest.as_str(), mount.output, mount.readonly)).collect();
        assert_eq!(mounts, [("/", Some(0), false), ("/readonly", None, true), ("/src", Some(1), false)]);
        assert!(exec.mounts.iter().all(|mount| mount.kind == MountKind::Bind));
        assert_eq!(exec.secret_env[0].name, "TOKEN");
        // The third mount as the guest counts is the second output.
        assert_eq!(definition.graph.vertex(edge.vertex).inputs, [llb::Edge { vertex: llb::VertexId(2), output: 1 }]);
        assert_eq!(output.metadata["containerimage.config"], b"{}");
    }
    assert!(digests.iter().all(|first| *first == digests[0]), "{digests:?}");
    assert!(digests[0].1 > 0 && digests[0].2 == 4, "{digests:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_that_a_frontend_leaves_to_the_host() {
    let Some(component) = component("hostile-guest") else { return };
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let guest = runtime.load(component, "guest").await.expect("it is a frontend");
    let ask = |id: &str| {
        let opts = [("requestid".to_owned(), id.to_owned())];
        frontend::Request { opts: opts.into(), ..Default::default() }
    };
    let bridge = std::sync::Arc::new(FakeBridge::new());
    let (answer, _) = guest.run(bridge.clone(), ask("frontend.subrequests.describe")).await;
    let answer = answer.expect("the host answers");
    let json: serde_json::Value = serde_json::from_slice(&answer.metadata["result.json"]).expect("it is JSON");
    assert_eq!(json[0]["name"], "frontend.subrequests.describe");
    let (answer, _) = guest.run(bridge, ask("frontend.outline")).await;
    check_error("outline", &answer.expect_err("nobody answers"), "unsupported", "unsupported request frontend.outline");
}
