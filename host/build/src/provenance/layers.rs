//! The layers that steps are known to have made.

use llb::text::Steps;
use serde_json::{Map, Value, json};
use store::Descriptor;

use crate::{bridge::State, cache::Top};

/// How many descriptors are told. Each step has those of the steps below it too, so that they grow with the square of what is made.
const DESCRIPTORS_MAX: usize = 50_000;

/// The chains of layers by the step and output that they are (`step3:0`): those that are blobs now.
pub(super) fn of(state: &State, top: &Top, steps: &Steps<'_>) -> anyhow::Result<Map<String, Value>> {
    let mut told = Told::default();
    let records = state.build.records(&top.vertex).map_err(|error| anyhow::anyhow!("{error}"))?;
    for (vertex, record) in records {
        let Some(step) = vertex.parse().ok().and_then(|digest| steps.id(&digest)) else { continue };
        for (output, name) in ops::snapshots_of(&record).enumerate() {
            let chains = state.environment.store.known_blobs(name)?;
            if !chains.is_empty() && !told.add(format!("{step}:{output}"), &chains) {
                return Ok(told.layers);
            }
        }
    }
    Ok(told.layers)
}

#[derive(Default)]
struct Told {
    layers: Map<String, Value>,
    descriptors: usize,
}

impl Told {
    /// Adds the chains of a step, unless they are too many.
    fn add(&mut self, step: String, chains: &[Vec<Descriptor>]) -> bool {
        self.descriptors += chains.iter().map(Vec::len).sum::<usize>();
        if self.descriptors > DESCRIPTORS_MAX {
            return false;
        }
        let chains: Vec<Vec<Value>> = chains.iter().map(|chain| chain.iter().map(descriptor).collect()).collect();
        self.layers.insert(step, json!(chains));
        true
    }
}

fn descriptor(layer: &Descriptor) -> Value {
    let mut told = json!({ "mediaType": layer.media_type, "digest": layer.digest, "size": layer.size });
    if !layer.annotations.is_empty() {
        told["annotations"] = json!(layer.annotations);
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn as_many_as_are_told() {
        let layer = Descriptor {
            media_type: "application/vnd.oci.image.layer.v1.tar+gzip".into(),
            digest: format!("sha256:{}", "ab".repeat(32)),
            size: 1,
            annotations: Default::default(),
        };
        let mut told = Told::default();
        assert!(told.add("step0:0".into(), &[vec![layer.clone(); DESCRIPTORS_MAX - 1], vec![layer.clone()]]));
        assert!(!told.add("step1:0".into(), &[vec![layer]]));
        assert_eq!(told.layers.len(), 1);
        assert_eq!(told.layers["step0:0"][1][0]["size"], 1);
    }
}
