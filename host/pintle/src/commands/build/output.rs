//! Where results go, from flags.

use std::{collections::BTreeMap, path::PathBuf, process::Command};

use anyhow::{Context, bail, ensure};
use client::{Export, ExportTarget, SolveResponse, outputs as flags};

use super::request::Prepared;

/// What loads an image.
const DOCKER: &str = "docker";

/// All results of a build.
pub struct Outputs {
    exports: Vec<(Export, Option<ExportTarget>)>,
    /// An image for docker, written first and then loaded.
    load: Option<tempfile::TempDir>,
}

/// From `--output`, `--tag`, `--push` and `--load`.
pub fn outputs(specs: &[String], tags: &[String], push: bool, load: bool) -> anyhow::Result<Outputs> {
    let mut exports = Vec::new();
    for spec in specs {
        let parsed = flags::parse_output(spec)?;
        exports.extend(parsed.export.map(|export| (export, parsed.target)));
    }
    let mut outputs = Outputs { exports, load: None };
    if push {
        ensure!(!tags.is_empty(), "--push needs a name for the image: --tag REGISTRY/NAME:TAG");
        outputs.push("image", &[("push", "true")], None);
    }
    if load {
        ensure!(
            exec::find_program(DOCKER.as_ref()).is_some(),
            "--load needs the {DOCKER} command, which is not in PATH; --output type=docker,dest=FILE writes what it loads"
        );
        let dir = tempfile::tempdir()?;
        outputs.push("docker", &[], Some(ExportTarget::File(dir.path().join("image.tar"))));
        outputs.load = Some(dir);
    }
    if outputs.exports.is_empty() && !tags.is_empty() {
        outputs.push("image", &[], None);
    }
    let names = tags.join(",");
    for (export, _) in &mut outputs.exports {
        if is_image(export) && !names.is_empty() {
            export.attrs.entry("name".into()).or_insert_with(|| names.clone());
        }
    }
    Ok(outputs)
}

fn is_image(export: &Export) -> bool {
    matches!(export.kind.as_str(), "image" | "registry" | "oci" | "docker")
}

/// The exporters' attributes for one of buildx's `--annotation [KIND[PLATFORM],...:]KEY=VALUE`.
fn annotation(spec: &str) -> anyhow::Result<Vec<(String, String)>> {
    let what = || format!("--annotation {spec:?}: want [KIND[PLATFORM],...:]KEY=VALUE");
    let (name, value) = spec.split_once('=').with_context(what)?;
    let (kinds, key) = name.split_once(':').map_or(("manifest", name), |(kinds, key)| (kinds, key));
    ensure!(!key.is_empty(), what());
    let attr = |place: &str| {
        let kind = place.split_once('[').map_or(place, |(kind, _)| kind);
        ensure!(
            matches!(kind, "manifest" | "index" | "manifest-descriptor" | "index-descriptor"),
            "--annotation {spec:?}: there is no kind {kind:?}; there are manifest, index, manifest-descriptor and index-descriptor"
        );
        Ok((format!("annotation-{place}.{key}"), value.to_string()))
    };
    kinds.split(',').map(attr).collect()
}

impl Outputs {
    fn push(&mut self, kind: &str, attrs: &[(&str, &str)], target: Option<ExportTarget>) {
        let attrs = attrs.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        self.exports.push((Export { kind: kind.into(), attrs }, target));
    }

    /// Annotates the images among the results.
    pub fn annotate(&mut self, specs: &[String]) -> anyhow::Result<()> {
        for spec in specs {
            let attrs = annotation(spec)?;
            let images = self.exports.iter_mut().map(|(export, _)| export).filter(|export| is_image(export));
            images.for_each(|export| export.attrs.extend(attrs.iter().cloned()));
        }
        Ok(())
    }

    /// Adds the results to a request.
    pub fn fill(&self, prepared: &mut Prepared) {
        for (number, (export, target)) in self.exports.iter().enumerate() {
            prepared.request.exports.push(export.clone());
            if let Some(target) = target {
                prepared.attachments.exports.insert(number, target.clone());
            }
        }
        if self.exports.is_empty() {
            eprintln!(
                "note: no output: the result stays in the cache; name an image with --tag or a place with --output"
            );
        }
    }

    /// What is to be done after the build.
    pub fn finish(&self) -> anyhow::Result<()> {
        let Some(dir) = &self.load else { return Ok(()) };
        let image: PathBuf = dir.path().join("image.tar");
        let status = Command::new(DOCKER).arg("load").arg("-i").arg(&image).status();
        let status = status.context("--load: run the docker command")?;
        if !status.success() {
            bail!("--load: docker load failed: {status}");
        }
        Ok(())
    }
}

/// The exporters' answers as a metadata file has them: values that are JSON in base64 are shown as JSON.
pub fn metadata(response: &SolveResponse) -> BTreeMap<String, serde_json::Value> {
    use base64::{Engine, prelude::BASE64_STANDARD};
    let decode = |text: &str| {
        let bytes = BASE64_STANDARD.decode(text).ok()?;
        serde_json::from_slice::<serde_json::Value>(&bytes).ok().filter(serde_json::Value::is_object)
    };
    let values = response.exporter.iter();
    values.map(|(key, value)| (key.clone(), decode(value).unwrap_or_else(|| value.clone().into()))).collect()
}
