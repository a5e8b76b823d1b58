//! Definitions made by BuildKit's own Go library (`tests/peers/llbsample`) against ours.

use std::{collections::BTreeMap, path::PathBuf};

use bytes::Bytes;
use llb::{Graph, Limits};
use prost::Message;

fn cases() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/llb")
}

/// The samples, by name.
fn samples() -> Vec<(String, Bytes)> {
    let mut samples = Vec::new();
    for entry in std::fs::read_dir(cases()).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|ext| ext == "pb") {
            let name = path.file_stem().unwrap().to_str().unwrap().to_owned();
            samples.push((name, std::fs::read(path).unwrap().into()));
        }
    }
    samples.sort();
    assert!(samples.len() >= 12, "only {} samples", samples.len());
    samples
}

#[test]
fn an_op_made_again_from_its_typed_form_has_the_same_bytes() {
    for (name, bytes) in samples() {
        let (graph, _) = Graph::decode_bytes(bytes, &Limits::default()).unwrap();
        let mut again = Graph::new();
        for file in graph.sources() {
            again.add_source((**file).clone());
        }
        for (id, vertex) in graph.iter() {
            let mut vertex = (**vertex).clone();
            let caps = std::mem::take(&mut vertex.meta.caps);
            let made =
                again.add(vertex.op.clone(), vertex.inputs, vertex.platform, vertex.constraints, vertex.meta).unwrap();
            assert_eq!(made, id, "{name}");
            assert_eq!(again.vertex(made).bytes, vertex.bytes, "{name}: {:#?}", vertex.op);
            // Needed only where the client knows what the builder can do, which the samples' maker does not.
            let mut needed = again.vertex(made).meta.caps.clone();
            needed.remove("exec.meta.setsdefaultpath");
            // The one sample whose source is put together by hand.
            let by_hand = name == "empty" && vertex.op.kind() == "source";
            assert_eq!(if by_hand { BTreeMap::new() } else { needed }, caps, "{name}: {:#?}", vertex.op);
        }
    }
}

#[test]
fn a_definition_survives_decode_and_encode() {
    for (name, bytes) in samples() {
        let theirs = llb::wire::pb::Definition::decode(bytes.clone()).unwrap();
        let (graph, edge) = Graph::decode(theirs.clone(), &Limits::default()).unwrap();
        assert_eq!(edge.is_none(), name == "scratch");
        let ours = graph.encode(edge).unwrap();
        assert_eq!(ours.def, theirs.def, "{name}");
        assert_eq!(ours.metadata, theirs.metadata, "{name}");
        let filled = |definition: &llb::wire::pb::Definition| definition.source.clone().unwrap_or_default().infos;
        assert_eq!(filled(&ours), filled(&theirs), "{name}");
    }
}

#[test]
fn source_maps_survive() {
    let (_, bytes) = samples().into_iter().find(|(name, _)| name == "source-map").unwrap();
    let theirs = llb::wire::pb::Definition::decode(bytes).unwrap();
    let (graph, edge) = Graph::decode(theirs.clone(), &Limits::default()).unwrap();
    let run = graph.vertex(edge.unwrap().vertex);
    let lines: Vec<i32> = run.meta.locations.iter().map(|place| place.ranges[0].start_line).collect();
    assert_eq!(lines, [2, 1]);
    assert_eq!(graph.sources()[0].filename, "Dockerfile");
    let mut ours = graph.encode(edge).unwrap().source.unwrap();
    let mut theirs = theirs.source.unwrap();
    // Go's client lists vertices without a location too.
    theirs.locations.retain(|_, places| !places.locations.is_empty());
    for places in ours.locations.values_mut().chain(theirs.locations.values_mut()) {
        places.locations.sort_by_key(|place| place.ranges[0].start.unwrap().line);
    }
    assert_eq!(ours, theirs);
}

/// The samples as text, beside them in `NAME.txt`; `UPDATE=1` rewrites those.
#[test]
fn text_of_the_samples() {
    let platform = llb::Platform { architecture: "amd64".into(), os: "linux".into(), ..llb::Platform::default() };
    for (name, bytes) in samples() {
        let (graph, edge) = Graph::decode_bytes(bytes, &Limits::default()).unwrap();
        let text = llb::text::text(&graph, edge, Some(&platform)).unwrap();
        let path = cases().join(format!("{name}.txt"));
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&path, &text).unwrap();
        }
        assert_eq!(text, std::fs::read_to_string(&path).unwrap_or_default(), "{name}: UPDATE=1 writes it anew");
    }
}

#[test]
fn json_and_dot_have_every_vertex() {
    for (name, bytes) in samples() {
        let (graph, edge) = Graph::decode_bytes(bytes, &Limits::default()).unwrap();
        let json = llb::text::json(&graph, edge).unwrap();
        assert_eq!(json["vertices"].as_array().unwrap().len(), graph.len(), "{name}");
        for (number, vertex) in json["vertices"].as_array().unwrap().iter().enumerate() {
            assert_eq!(vertex["digest"], graph.vertex(llb::VertexId(number as u32)).digest.as_str());
            assert!(vertex["op"].get(graph.vertex(llb::VertexId(number as u32)).op.kind()).is_some());
        }
        let dot = llb::text::dot(&graph, edge).unwrap();
        let edges: usize = graph.iter().map(|(_, vertex)| vertex.inputs.len()).sum();
        assert_eq!(dot.matches("->").count() - dot_arrows_in_labels(&graph, edge), edges + usize::from(edge.is_some()));
    }
}

/// Arrows that stand in a vertex's own text, not between vertices.
fn dot_arrows_in_labels(graph: &Graph, edge: Option<llb::Edge>) -> usize {
    llb::text::text(graph, edge, None).unwrap().matches("->").count()
}

#[test]
fn the_json_is_buildkits() {
    for (name, bytes) in samples() {
        let (graph, edge) = Graph::decode_bytes(bytes, &Limits::default()).unwrap();
        let theirs = std::fs::read_to_string(cases().join(&name).with_extension("json")).unwrap();
        let mut theirs: serde_json::Value = serde_json::from_str(&theirs).unwrap();
        // BuildKit also lists vertices that have no places.
        let mut none_left = false;
        if let Some(locations) = theirs.pointer_mut("/source/locations").and_then(|it| it.as_object_mut()) {
            locations.retain(|_, places| places != &serde_json::json!({}));
            none_left = locations.is_empty();
        }
        if let Some(source) = theirs["source"].as_object_mut().filter(|_| none_left) {
            source.remove("locations");
        }
        assert_eq!(llb::wire::json(&graph, edge).unwrap(), format!("{theirs:#}"), "{name}");
    }
}
