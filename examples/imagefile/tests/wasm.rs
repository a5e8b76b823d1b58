//! The component in the runtime, over a scripted bridge.

use std::sync::Arc;

use frontend::{Options, Request, Runtime, testing::FakeBridge};
use llb::Op;

const TEXT: &str = "base = \"alpine:3\"\npackages = [\"curl\"]\npackage-manager = \"apk\"\n[image]\ncmd = [\"curl\"]\n";

#[tokio::test(flavor = "multi_thread")]
async fn an_image_file_becomes_a_graph_and_a_config() {
    let component = match frontend::testing::component("imagefile") {
        Ok(component) => component,
        Err(error) if error.contains("may not be installed") => return eprintln!("skipped: {error}"),
        Err(error) => panic!("{error}"),
    };
    let bridge = FakeBridge::new().file("local://dockerfile", "Imagefile.toml", TEXT).image(
        "docker.io/library/alpine:3",
        "sha256:aa",
        r#"{"config":{"Env":["PATH=/bin"]}}"#,
    );
    let runtime = Runtime::new(Options::default()).expect("the engine is set up");
    let frontend = runtime.load(component, "imagefile").await.expect("it is a frontend");
    let (output, statistics) = frontend.run(Arc::new(bridge.clone()), Request::default()).await;
    let output = output.expect("it is well formed");

    let config: serde_json::Value =
        serde_json::from_slice(&output.metadata["containerimage.config"]).expect("it is JSON");
    assert_eq!(config["config"], serde_json::json!({ "Env": ["PATH=/bin"], "Cmd": ["curl"] }));
    let [(platform, definition)] = output.refs.as_slice() else { panic!("one result") };
    assert_eq!(platform, "");
    let edge = definition.edge.expect("it is not empty");
    let Op::Exec(exec) = &definition.graph.vertex(edge.vertex).op else { panic!("the last vertex installs packages") };
    assert_eq!(exec.args, ["/bin/sh", "-c", "apk add curl"]);
    assert_eq!(exec.env, ["PATH=/bin"]);
    let kinds: Vec<&str> = definition.graph.iter().map(|(_, vertex)| vertex.op.kind()).collect();
    assert_eq!(kinds, ["source", "source", "exec"]);
    assert_eq!(bridge.solves(), 1);
    assert!(statistics.instructions > 0);

    let wrong = FakeBridge::new().file("local://dockerfile", "Imagefile.toml", "base = \"scratch\"\n\ncolour = 1\n");
    let (outcome, _) = frontend.run(Arc::new(wrong), Request::default()).await;
    let error = outcome.expect_err("there is no such key");
    let (file, ranges) = error.source_location.as_ref().expect("it has a place");
    assert_eq!((file.filename.as_str(), ranges[0].start_line, ranges[0].start_character), ("Imagefile.toml", 3, 0));
}
