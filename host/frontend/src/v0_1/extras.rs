//! Trees beside the results, which components name by edges in their metadata.

use std::collections::BTreeMap;

use super::{Guest, wit};
use crate::{Error, Extra};

/// What a bill of materials is made of beside the results: the metadata key, a platform may follow.
const EXTRAS: &str = "sbom.extras";

impl Guest {
    /// Takes out of the metadata what a bill of materials is made of beside the results: by platform, edges by name.
    pub(super) fn extras(&self, metadata: &mut BTreeMap<String, Vec<u8>>) -> Result<Vec<Extra>, Error> {
        let is_extra =
            |key: &str| key.strip_prefix(EXTRAS).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'));
        let mut out = Vec::new();
        for (key, value) in metadata.extract_if(.., |key, _| is_extra(key)) {
            let edges: BTreeMap<String, Option<(u32, u32)>> = serde_json::from_slice(&value)
                .map_err(|error| Error::invalid(format!("answers {key}, which is no object of edges: {error}")))?;
            let platform = key[EXTRAS.len()..].trim_start_matches('/').to_owned();
            for (name, edge) in edges {
                if name.is_empty() || !name.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c)) {
                    return Err(Error::invalid(format!("answers {key} with the name {name:?}")));
                }
                let edge = edge.map(|(vertex, output)| wit::Edge { vertex, output });
                out.push(Extra { platform: platform.clone(), name, definition: self.answered(edge)? });
            }
            if out.len() > self.limits.results {
                return Err(Error::limit(format!("answers more than {} extra trees", self.limits.results)));
            }
        }
        Ok(out)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{Limits, testing::FakeBridge};

    #[test]
    fn extra_trees_are_edges_with_plain_names() {
        let guest = Guest::new(Arc::new(FakeBridge::new()), Limits::default());
        let extras = |json: &str| {
            let entries = [("sbom.extras/linux/arm64", json), ("sbom.extrasolar", "kept")];
            let mut metadata = entries.map(|(key, value)| (key.to_owned(), value.as_bytes().to_vec())).into();
            let extras = guest.extras(&mut metadata)?;
            assert_eq!(metadata.keys().collect::<Vec<_>>(), ["sbom.extrasolar"]);
            Ok::<_, Error>(extras)
        };
        let found = extras(r#"{"context": null}"#).unwrap();
        let [extra] = found.as_slice() else { panic!("{found:?}") };
        assert_eq!((extra.platform.as_str(), extra.name.as_str()), ("linux/arm64", "context"));
        assert!(extra.definition.edge.is_none());
        for bad in [r#"{"a/b": null}"#, r#"{"": null}"#, r#"{"a": [9, 0]}"#, r#"{"a": [-1, 0]}"#, "[]", ""] {
            assert!(extras(bad).is_err(), "{bad}");
        }
    }
}
