//! The image config and its history, made to agree with the layers, as BuildKit's exporter does.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, bail};
use base64::Engine as _;
use bytes::Bytes;
use jiff::Timestamp;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use crate::documents;

/// What a layer that the frontend's history does not speak of is called.
const UNNAMED_LAYER: &str = "created by pintle";
/// Who adds such an entry; BuildKit's own word, by which tools know it.
const ADDED_COMMENT: &str = "buildkit.exporter.image.v0";
/// Where an inline cache stands; BuildKit's own word.
const CACHE_KEY: &str = "moby.buildkit.cache.v0";
/// `PATH` of an image whose frontend gave no config.
const DEFAULT_PATH: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the config says of a layer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct LayerInfo {
    /// SHA-256 of the uncompressed tar.
    pub(crate) diff_id: String,
    /// When it was made, where that is known.
    pub(crate) created: Option<Timestamp>,
    /// What made it; may be empty.
    pub(crate) description: String,
}

/// A history entry. `created` is kept as it was written.
#[derive(Clone, Default, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
struct History {
    #[serde(skip_serializing_if = "Option::is_none")]
    created: Option<String>,
    #[serde(skip_serializing_if = "String::is_empty")]
    created_by: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    author: String,
    #[serde(skip_serializing_if = "String::is_empty")]
    comment: String,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    empty_layer: bool,
}

/// A finished config.
#[derive(Debug)]
pub(crate) struct Patched {
    pub(crate) bytes: Bytes,
    /// `created`, where there is one.
    pub(crate) created: Option<String>,
    pub(crate) platform: oci::Platform,
}

/// The config of an image for `platform` without one of its own.
pub(crate) fn default(platform: &oci::Platform) -> Vec<u8> {
    let mut config = json!({
        "architecture": platform.architecture(),
        "os": platform.os(),
        "config": { "Env": [DEFAULT_PATH], "WorkingDir": "/" },
    });
    if !platform.variant().is_empty() {
        config["variant"] = platform.variant().into();
    }
    config.to_string().into_bytes()
}

/// How many layers the image of a config has; none where it is no config.
pub(crate) fn layers_of(config: &[u8]) -> usize {
    let config: Value = serde_json::from_slice(config).unwrap_or_default();
    config.pointer("/rootfs/diff_ids").and_then(Value::as_array).map_or(0, Vec::len)
}

/// Makes `config` say what the image is: `rootfs` from the layers, as many history entries as there are layers, times no later
/// than `epoch`. History that `base` (the config of the image that it was built on) has too keeps its times. `cache` are the records of
/// an inline cache.
pub(crate) fn patch(
    config: &[u8],
    layers: &[LayerInfo],
    epoch: Option<Timestamp>,
    base: Option<&[u8]>,
    cache: Option<&[u8]>,
) -> Result<Patched> {
    let mut fields = parse(config)?;
    let platform = platform(&fields)?;
    let base = base.map(parse).transpose().context("base image config")?;
    let base = base.map(|fields| history_of(&fields)).transpose().context("base image config")?.unwrap_or_default();
    let mut history = history_of(&fields)?;
    match_layers(&mut history, layers);
    fill_times(&mut history, layers);
    if let Some(epoch) = epoch {
        clamp_history(&mut history, epoch, &base)?;
    }
    let created = created(&fields, &history, epoch)?;
    let diff_ids: Vec<&str> = layers.iter().map(|layer| layer.diff_id.as_str()).collect();
    fields.insert("rootfs".into(), json!({ "type": "layers", "diff_ids": diff_ids }));
    fields.insert("history".into(), serde_json::to_value(&history)?);
    fields.insert("created".into(), created.clone().map_or(Value::Null, Value::String));
    // What a base image says of how it was made is not true of this one.
    fields.remove(CACHE_KEY);
    if let Some(cache) = cache {
        fields.insert(CACHE_KEY.into(), base64::engine::general_purpose::STANDARD.encode(cache).into());
    }
    Ok(Patched { bytes: documents::compact(&fields)?, created, platform })
}

/// The config's fields; sorted, as Go writes a map.
pub(crate) fn parse(config: &[u8]) -> Result<BTreeMap<String, Value>> {
    let fields: Option<BTreeMap<String, Value>> =
        serde_json::from_slice(config).context("image config is not a JSON object")?;
    fields.context("image config is null")
}

pub(crate) fn platform(fields: &BTreeMap<String, Value>) -> Result<oci::Platform> {
    let text = |name: &str| fields.get(name).and_then(Value::as_str).unwrap_or("");
    for name in ["os", "architecture"] {
        if text(name).is_empty() {
            bail!("image config has no {name}");
        }
    }
    Ok(oci::Platform::new(text("os"), text("architecture"), text("variant")))
}

fn history_of(fields: &BTreeMap<String, Value>) -> Result<Vec<History>> {
    let Some(history) = fields.get("history") else { return Ok(Vec::new()) };
    let history: Option<Vec<History>> = serde_json::from_value(history.clone()).context("image config: history")?;
    Ok(history.unwrap_or_default())
}

/// As many entries with a layer as there are layers: too many become empty from the top, missing ones are added.
fn match_layers(history: &mut Vec<History>, layers: &[LayerInfo]) {
    let mut seen = 0;
    for entry in history.iter_mut().filter(|entry| !entry.empty_layer) {
        if seen == layers.len() {
            entry.empty_layer = true;
        } else {
            seen += 1;
        }
    }
    for layer in &layers[seen..] {
        history.push(History {
            created: layer.created.map(|time| time.to_string()),
            created_by: if layer.description.is_empty() { UNNAMED_LAYER } else { &layer.description }.into(),
            comment: ADDED_COMMENT.into(),
            ..History::default()
        });
    }
}

/// Gives entries without a time that of their layer, of the first new layer, or of the entry before them.
fn fill_times(history: &mut [History], layers: &[LayerInfo]) {
    let with_layer = history.iter_mut().filter(|entry| !entry.empty_layer);
    for (entry, layer) in with_layer.zip(layers) {
        if entry.created.is_none() {
            entry.created = layer.created.map(|time| time.to_string());
        }
    }
    // Metadata that is written before the first new layer would else look as old as the base image.
    let gap = history.iter().position(|entry| entry.created.is_none());
    let first_new = gap.and_then(|gap| history[gap..].iter().find_map(|entry| entry.created.clone()));
    let mut last = first_new.or_else(|| history.iter().rev().find_map(|entry| entry.created.clone()));
    let mut after_gap = false;
    for entry in history {
        match &entry.created {
            Some(time) if after_gap => last = Some(time.clone()),
            Some(_) => {}
            None => {
                after_gap = true;
                entry.created = last.clone();
            }
        }
    }
}

fn time(text: &str) -> Result<Timestamp> {
    text.parse().with_context(|| format!("image config: time {text:?}"))
}

fn clamp_history(history: &mut [History], epoch: Timestamp, base: &[History]) -> Result<()> {
    let inherited = history.iter().zip(base).take_while(|(ours, theirs)| ours == theirs).count();
    for entry in &mut history[inherited..] {
        let keep = match &entry.created {
            Some(created) => time(created)? <= epoch,
            None => false,
        };
        if !keep {
            entry.created = Some(epoch.to_string());
        }
    }
    Ok(())
}

/// The image's own time: what the frontend says, else that of the last entry that has one.
fn created(fields: &BTreeMap<String, Value>, history: &[History], epoch: Option<Timestamp>) -> Result<Option<String>> {
    let own = fields.get("created").and_then(Value::as_str).map(str::to_owned);
    let created = own.or_else(|| history.iter().rev().find_map(|entry| entry.created.clone()));
    match (created, epoch) {
        (Some(created), Some(epoch)) if time(&created)? > epoch => Ok(Some(epoch.to_string())),
        (created, _) => Ok(created),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn layers(times: &[Option<i64>]) -> Vec<LayerInfo> {
        let time = |second: i64| Timestamp::from_second(second).unwrap();
        let layer = |(number, second): (usize, &Option<i64>)| LayerInfo {
            diff_id: format!("sha256:{number:064}"),
            created: second.map(time),
            description: String::new(),
        };
        times.iter().enumerate().map(layer).collect()
    }

    fn patched(config: Value, layers: &[LayerInfo], epoch: Option<i64>, base: Option<Value>) -> Value {
        let epoch = epoch.map(|second| Timestamp::from_second(second).unwrap());
        let base = base.map(|base| base.to_string());
        let patched =
            patch(config.to_string().as_bytes(), layers, epoch, base.as_ref().map(|base| base.as_bytes()), None)
                .unwrap();
        serde_json::from_slice(&patched.bytes).unwrap()
    }

    fn image(history: Value) -> Value {
        json!({ "os": "linux", "architecture": "amd64", "config": { "Cmd": ["a"] }, "x-own": 1, "history": history })
    }

    #[test]
    fn fields_are_sorted_and_strange_ones_kept() {
        let bytes = patch(image(json!([])).to_string().as_bytes(), &[], None, None, None).unwrap().bytes;
        let want = r#"{"architecture":"amd64","config":{"Cmd":["a"]},"created":null,"history":[],"os":"linux","rootfs":{"type":"layers","diff_ids":[]},"x-own":1}"#;
        assert_eq!(std::str::from_utf8(&bytes).unwrap(), want);
    }

    #[test]
    fn missing_entries_are_added_with_their_layers_times() {
        let config = patched(image(json!([{"created_by": "base"}])), &layers(&[Some(1), Some(2)]), None, None);
        let want = json!([
            {"created": "1970-01-01T00:00:01Z", "created_by": "base"},
            {"created": "1970-01-01T00:00:02Z", "created_by": UNNAMED_LAYER, "comment": ADDED_COMMENT},
        ]);
        assert_eq!(config["history"], want);
        assert_eq!(config["created"], "1970-01-01T00:00:02Z");
        assert_eq!(config["rootfs"]["diff_ids"].as_array().unwrap().len(), 2);
    }

    #[test]
    fn entries_without_a_layer_become_empty() {
        let history = json!([{"created_by": "a"}, {"created_by": "b"}, {"created_by": "c", "empty_layer": true}]);
        let config = patched(image(history), &layers(&[Some(1)]), None, None);
        let empty: Vec<bool> =
            config["history"].as_array().unwrap().iter().map(|entry| entry.get("empty_layer").is_some()).collect();
        assert_eq!(empty, [false, true, true]);
    }

    #[test]
    fn metadata_before_the_first_new_layer_is_not_as_old_as_the_base() {
        let history = json!([
            {"created": "1970-01-01T00:00:01Z", "created_by": "base"},
            {"created_by": "ENV", "empty_layer": true},
            {"created_by": "RUN"},
            {"created_by": "CMD", "empty_layer": true},
        ]);
        let config = patched(image(history), &layers(&[Some(9), Some(50)]), None, None);
        let times: Vec<&str> =
            config["history"].as_array().unwrap().iter().map(|entry| entry["created"].as_str().unwrap()).collect();
        let (old, new) = ("1970-01-01T00:00:01Z", "1970-01-01T00:00:50Z");
        assert_eq!(times, [old, new, new, new]);
    }

    #[test]
    fn the_epoch_clamps_all_but_the_base() {
        let base = json!([{"created": "1990-01-01T00:00:00Z", "created_by": "base"}]);
        let history = json!([base[0], {"created": "1990-01-01T00:00:00Z", "created_by": "RUN"}, {"created_by": "CMD"}]);
        let mut config = image(history);
        config["created"] = "2020-01-01T00:00:00Z".into();
        let config = patched(config, &layers(&[None, None, Some(7)]), Some(100), Some(image(base)));
        let times: Vec<&str> =
            config["history"].as_array().unwrap().iter().map(|entry| entry["created"].as_str().unwrap()).collect();
        assert_eq!(times, ["1990-01-01T00:00:00Z", "1970-01-01T00:01:40Z", "1970-01-01T00:00:07Z"]);
        assert_eq!(config["created"], "1970-01-01T00:01:40Z");
    }

    #[test]
    fn malformed_configs_are_refused() {
        for (config, want) in [
            ("null", "is null"),
            ("[]", "not a JSON object"),
            ("{", "not a JSON object"),
            (r#"{"os":"linux"}"#, "no architecture"),
            (r#"{"architecture":"amd64"}"#, "no os"),
            (r#"{"os":"linux","architecture":"amd64","history":5}"#, "history"),
        ] {
            let error = format!("{:#}", patch(config.as_bytes(), &[], None, None, None).unwrap_err());
            assert!(error.contains(want), "{config}: {error}");
        }
        let late = r#"{"os":"linux","architecture":"amd64","created":"yesterday"}"#;
        assert!(patch(late.as_bytes(), &[], Some(Timestamp::UNIX_EPOCH), None, None).is_err());
    }

    #[test]
    fn the_default_config_can_be_patched() {
        let arm = "linux/arm/v7".parse().unwrap();
        let patched = patch(&default(&arm), &layers(&[None]), None, None, None).unwrap();
        assert_eq!((patched.platform, patched.created), (arm, None));
    }
}
