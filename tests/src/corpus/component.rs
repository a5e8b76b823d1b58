//! Our frontend: the shipped component, run by the runtime that ships it.

use std::{path::Path, sync::Arc};

use anyhow::Context;
use frontend::{Definition, Options, Request, Runtime, Statistics, WasmFrontend, testing::FakeBridge};
use llb::{Graph, op::SourceOp};
use sha2::{Digest as _, Sha256};

use super::{Answer, Given, Warning};

/// The component in `dir`, which `make frontends` fills.
///
/// # Errors
/// That it is not built, or does not load.
pub async fn load(dir: &Path) -> anyhow::Result<WasmFrontend> {
    let read = |name: &str| {
        let path = dir.join(name);
        let bytes = std::fs::read(&path).with_context(|| format!("{}: run `make frontends`", path.display()))?;
        Ok::<&'static [u8], anyhow::Error>(bytes.leak())
    };
    let runtime = Runtime::new(Options::default())?;
    let artifact = read("dockerfile.cwasm")?;
    let component = read("dockerfile.wasm")?;
    let digest = Sha256::digest(component).into();
    Ok(runtime.load_built_in((component, digest), Some(artifact), "dockerfile").await?)
}

/// What it answers, and what it used.
///
/// # Errors
/// A graph that cannot be written.
pub async fn answer(frontend: &WasmFrontend, given: &Given) -> anyhow::Result<(Answer, Statistics)> {
    let bridge = bridge(given);
    let (outcome, statistics) = frontend.run(Arc::new(bridge.clone()), request(given)?).await;
    let mut answer = Answer { warnings: bridge.warnings().iter().map(warning).collect(), ..Answer::default() };
    match outcome {
        Err(error) => answer.error = Some(error.to_string()),
        Ok(output) => {
            for (id, definition) in &output.refs {
                answer.refs.insert(id.clone(), definition.graph.encode_bytes(definition.edge)?.to_vec());
            }
            let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
            answer.metadata = output.metadata.into_iter().map(|(key, value)| (key, text(value))).collect();
        }
    }
    Ok((answer, statistics))
}

/// What the frontend is asked.
///
/// # Errors
/// An input that is no source.
pub fn request(given: &Given) -> anyhow::Result<Request> {
    let inputs = given.inputs.iter().map(|(name, identifier)| Ok((name.clone(), input(identifier)?)));
    Ok(Request { opts: given.opts.clone(), inputs: inputs.collect::<anyhow::Result<_>>()? })
}

/// What the frontend may ask.
pub fn bridge(given: &Given) -> FakeBridge {
    let mut bridge = FakeBridge::new();
    for (name, image) in &given.images {
        let (reference, platform) = name.split_once(' ').unwrap_or((name, ""));
        bridge = bridge.image_for(platform, reference, &image.digest, &image.config);
    }
    for (source, files) in &given.files {
        for (path, text) in files {
            bridge = bridge.file(source, path, text);
        }
    }
    given.times.iter().fold(bridge, |bridge, (source, seconds)| bridge.time(source, *seconds))
}

/// A source as an input.
fn input(identifier: &str) -> anyhow::Result<Definition> {
    let mut graph = Graph::new();
    let op = llb::Op::Source(SourceOp { identifier: identifier.to_owned(), ..SourceOp::default() });
    let platform = llb::Platform { os: "linux".into(), architecture: "amd64".into(), ..llb::Platform::default() };
    let vertex = graph.add(op, Vec::new(), Some(platform), Vec::new(), llb::VertexMeta::default())?;
    Ok(Definition { graph: Arc::new(graph), edge: Some(llb::Edge { vertex, output: 0 }) })
}

fn warning(warning: &frontend::Warning) -> Warning {
    let ranges = warning.source.iter().flat_map(|(_, ranges)| ranges);
    Warning {
        lines: ranges.map(|range| (range.start_line, range.end_line)).collect(),
        message: warning.short.clone(),
        detail: warning.detail.clone(),
        url: warning.url.clone(),
    }
}
