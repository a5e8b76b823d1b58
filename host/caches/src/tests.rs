//! Configs, written and read.

use std::collections::HashMap;

use solver::{
    Look,
    keys::{Class, InputKey},
    memory::{Entry, EntryInput},
};

use crate::{
    Step,
    format::{Config, Layer, Link, Record},
    read::{Reader, check_layers, order},
    write::{RecordOf, records},
};

fn input(maker: &Entry, output: u32, look: Look, contents: Option<&str>) -> EntryInput {
    let edge = maker.class().output(output);
    let key = InputKey { edge, look, contents: contents.map(String::from) };
    EntryInput { name: maker.name.clone(), maker: maker.class(), key }
}

fn entry(op: &str, inputs: Vec<EntryInput>) -> Entry {
    Entry::new(op.into(), format!("step {op}"), inputs, vec![])
}

/// A source, a step of two outputs over it, and one that looks at the second output's contents.
fn chain() -> Vec<Entry> {
    let source = entry("source", vec![]);
    let step = entry("step", vec![input(&source, 0, Look::Path("/bin".into()), None)]);
    let view = Look::Contents("view".into());
    let top = entry("top", vec![input(&step, 1, view, Some("sha256:x")), input(&source, 0, Look::Whole, None)]);
    vec![source, step, top]
}

fn written(results: HashMap<Class, Vec<Option<RecordOf>>>) -> Config {
    let steps: Vec<Step> = chain().into_iter().map(|entry| Step { entry, outputs: None }).collect();
    let layer = |blob: &str, parent_index| Layer { blob: blob.into(), parent_index, annotations: None };
    let config = Config { layers: vec![layer("a", -1), layer("b", 0)], records: records(&steps, results) };
    serde_json::from_str(&serde_json::to_string(&config).unwrap()).unwrap()
}

#[test]
fn what_is_written_is_read() {
    let [source, step, top] = chain().try_into().unwrap();
    let layer = |index| Some(RecordOf::Layer(index, "2026-01-01T00:00:00Z".into()));
    let results = HashMap::from([
        (source.class(), vec![layer(0)]),
        (step.class(), vec![Some(RecordOf::Nothing), layer(1)]),
        (top.class(), vec![Some(RecordOf::Chain(vec![1, 0]))]),
    ]);
    let config = written(results);
    assert_eq!(config.records.len(), 4, "one for each output");
    assert!(config.records.iter().all(|record| record.inputs.iter().all(|links| !links.is_empty())));
    let mut reader = Reader::new(&config);
    for index in order(&config).unwrap() {
        reader.record(index);
    }
    assert_eq!(reader.entries, [source.clone(), step.clone(), top.clone()]);
    assert_eq!(reader.outputs[&source.class()], [Some(vec![0])]);
    assert_eq!(reader.outputs[&step.class()], [Some(vec![]), Some(vec![0, 1])]);
    assert_eq!(reader.outputs[&top.class()], [Some(vec![1, 0])]);
}

#[test]
fn a_record_that_is_not_what_it_calls_itself_is_left_out() {
    let mut config = written(HashMap::new());
    for record in &mut config.records[1..3] {
        record.step.as_mut().unwrap().op = "another".into();
    }
    let mut reader = Reader::new(&config);
    for index in order(&config).unwrap() {
        reader.record(index);
    }
    // What is made of it goes too: its inputs are not known any more.
    assert_eq!(reader.entries, [chain().remove(0)]);
}

/// As BuildKit writes it: inputs by alternatives, empty lists as null, layers with annotations.
#[test]
fn a_cache_of_buildkit_is_readable() {
    let text = r#"{
        "layers": [{"blob": "sha256:1", "parent": -1, "annotations": {"size": 3, "createdAt": "2026-01-01T00:00:00Z"}}],
        "records": [
            {"digest": "sha256:a", "inputs": null, "layers": [{"layer": 0, "createdAt": "2026-01-01T00:00:00Z"}]},
            {"digest": "sha256:b", "inputs": [[{"selector": "sha256:s", "link": 0}, {"link": 2}]], "chains": [{"layers": [0]}]},
            {"digest": "sha256:c"}
        ]}"#;
    let config: Config = serde_json::from_str(text).unwrap();
    check_layers(&config).unwrap();
    let order = order(&config).unwrap();
    assert_eq!(order.len(), 3);
    let mut reader = Reader::new(&config);
    assert!(order.into_iter().all(|index| reader.record(index).is_none()), "its keys say nothing here");
    let inline: Vec<Record> = serde_json::from_str(r#"[{"digest": "sha256:a"}]"#).unwrap();
    assert_eq!(inline.len(), 1);
}

#[test]
fn links_that_lead_nowhere_are_refused() {
    let record = |links: &[i64]| Record {
        inputs: vec![links.iter().map(|link| Link { link: *link, ..Link::default() }).collect()],
        ..Record::default()
    };
    for (records, want) in [
        (vec![record(&[1]), record(&[0])], "circle"),
        (vec![record(&[0])], "circle"),
        (vec![record(&[7])], "links to 7, and there are 1"),
        (vec![record(&[-1])], "links to -1"),
    ] {
        let error = order(&Config { records, layers: vec![] }).unwrap_err().to_string();
        assert!(error.contains(want), "{error}");
    }
    let layers = |parents: &[i64]| {
        let layer = |parent: &i64| Layer { blob: String::new(), parent_index: *parent, annotations: None };
        check_layers(&Config { layers: parents.iter().map(layer).collect(), records: vec![] })
    };
    assert!(layers(&[-1, 0, 1, 0]).is_ok());
    for parents in [&[0][..], &[1, 0], &[2], &[-2]] {
        assert!(layers(parents).is_err(), "{parents:?}");
    }
}

/// Depth costs no stack.
#[test]
fn a_long_chain_is_read() {
    let link = |to: i64| Record { inputs: vec![vec![Link { link: to, ..Link::default() }]], ..Record::default() };
    let count = 100_000;
    let records = (0..count).map(|at| if at + 1 < count { link(at + 1) } else { Record::default() }).collect();
    let layers = (0..count).map(|at| Layer { blob: String::new(), parent_index: at - 1, annotations: None }).collect();
    let config = Config { records, layers };
    assert_eq!(order(&config).unwrap().first(), Some(&(count as usize - 1)));
    check_layers(&config).unwrap();
}
