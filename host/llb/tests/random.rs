//! Damaged definitions: decoding answers or refuses, and what it accepts is stable.

use bytes::Bytes;
use llb::{Graph, Limits};
use proptest::prelude::*;
use prost::Message;

fn samples() -> Vec<Vec<u8>> {
    let dir = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/llb");
    let mut paths: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    paths.retain(|path| path.extension().is_some_and(|ext| ext == "pb"));
    paths.sort();
    paths.iter().map(|path| std::fs::read(path).unwrap()).filter(|bytes| !bytes.is_empty()).collect()
}

/// Decodes; what is accepted must come out of encode and decode again the same.
fn check(bytes: Vec<u8>) {
    let limits = Limits { vertices: 1000, bytes: 1 << 20 };
    let Ok((graph, edge)) = Graph::decode_bytes(bytes.into(), &limits) else { return };
    let definition = graph.encode(edge).unwrap();
    let (again, edge_again) = Graph::decode(definition.clone(), &limits).unwrap();
    assert_eq!(again.encode(edge_again).unwrap(), definition);
    llb::text::text(&graph, edge, None).unwrap();
    llb::text::json(&graph, edge).unwrap();
}

/// Damages one op, and names it anew everywhere, so that the damage is met by the checks and not by a missing digest.
fn damage_op(sample: &[u8], which: usize, at: usize, value: u8) -> Vec<u8> {
    let mut definition = llb::wire::pb::Definition::decode(sample).unwrap();
    let which = which % definition.def.len();
    let mut op = definition.def[which].to_vec();
    let at = at % op.len();
    op[at] = value;
    let before = llb::Digest::of(&definition.def[which]).to_string();
    definition.def[which] = op.into();
    rename(&mut definition.def, which, before);
    definition.encode_to_vec()
}

/// Replaces the digest of op `changed` in all that use it, and in what uses those.
fn rename(def: &mut [Bytes], changed: usize, before: String) {
    let mut work = vec![(changed, before)];
    while let Some((changed, before)) = work.pop() {
        let after = llb::Digest::of(&def[changed]).to_string();
        for (number, bytes) in def.iter_mut().enumerate() {
            let Ok(mut op) = llb::wire::pb::Op::decode(bytes.clone()) else { continue };
            let uses = op.inputs.iter_mut().filter(|input| input.digest == before);
            if uses.map(|input| input.digest.clone_from(&after)).count() > 0 {
                work.push((number, llb::Digest::of(bytes).to_string()));
                *bytes = op.encode_to_vec().into();
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2000, ..ProptestConfig::default() })]

    #[test]
    fn a_damaged_definition(sample in 0..100usize, at in any::<usize>(), value in any::<u8>(), cut in any::<Option<usize>>()) {
        let samples = samples();
        let mut bytes = samples[sample % samples.len()].clone();
        let at = at % bytes.len();
        bytes[at] = value;
        if let Some(cut) = cut {
            bytes.truncate(cut % (bytes.len() + 1));
        }
        check(bytes);
    }

    #[test]
    fn a_damaged_op(sample in 0..100usize, which in any::<usize>(), at in any::<usize>(), value in any::<u8>()) {
        let samples = samples();
        check(damage_op(&samples[sample % samples.len()], which, at, value));
    }

    #[test]
    fn any_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        check(bytes);
    }
}
