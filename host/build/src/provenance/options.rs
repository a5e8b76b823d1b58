//! What a build is asked to attest: `attest:KIND` among its options, or `build-arg:BUILDKIT_ATTEST_KIND`.

use std::collections::BTreeMap;

use crate::Failure;

const PREFIXES: [&str; 2] = ["attest:", "build-arg:BUILDKIT_ATTEST_"];
const PROVENANCE: &str = "provenance";
const SBOM: &str = "sbom";
/// The file that provenance goes to beside files.
const PROVENANCE_FILE: &str = "provenance.json";

/// Everything that is asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Attest {
    /// How the results were made.
    pub provenance: Option<ProvenanceOptions>,
    /// What is in the results, as the generator with these options finds out.
    pub sbom: Option<SbomOptions>,
}

/// How provenance is written.
#[derive(Clone, Debug, PartialEq)]
pub struct ProvenanceOptions {
    /// With the whole graph and the source texts.
    pub is_max: bool,
    /// As SLSA v0.2 and not v1.
    pub is_v02: bool,
    /// The URL that names who builds; may be empty.
    pub builder_id: String,
    /// The user's word that the build is reproducible.
    pub reproducible: bool,
    /// Only for images that are stored or pushed.
    pub inline_only: bool,
    /// Fails where not all materials are known.
    pub complete_materials: bool,
    /// The file, where results are files.
    pub filename: String,
    /// Over many lines, for people.
    pub indented: bool,
}

impl Default for ProvenanceOptions {
    fn default() -> Self {
        ProvenanceOptions {
            is_max: true,
            is_v02: false,
            builder_id: String::new(),
            reproducible: false,
            inline_only: false,
            complete_materials: false,
            filename: PROVENANCE_FILE.into(),
            indented: false,
        }
    }
}

/// How a bill of materials is made.
#[derive(Clone, Debug, PartialEq)]
pub struct SbomOptions {
    /// The image that makes it.
    pub generator: String,
    /// What else the user says, for the generator.
    pub parameters: BTreeMap<String, String>,
}

/// What BuildKit takes for a generator where none is named.
const DEFAULT_GENERATOR: &str = "docker/buildkit-syft-scanner:stable-1";

/// Reads what is asked for in `attrs`.
pub fn read(attrs: &BTreeMap<String, String>) -> Result<Attest, Failure> {
    let mut attest = Attest::default();
    let asked = attrs.iter().filter_map(|(key, value)| {
        let kind = PREFIXES.iter().find_map(|prefix| key.strip_prefix(prefix))?;
        Some((kind.to_lowercase(), value))
    });
    for (kind, value) in asked {
        let fields = fields(value);
        if fields.get("disabled").is_some_and(|value| value == "true" || value.is_empty()) {
            continue;
        }
        match kind.as_str() {
            PROVENANCE => attest.provenance = Some(provenance(&fields)?),
            SBOM => attest.sbom = Some(sbom(fields)),
            other => return Err(invalid(format!("unknown attestation {other:?}: there are {PROVENANCE}, {SBOM}"))),
        }
    }
    Ok(attest)
}

/// `key=value,key=value`, a field with a comma in double quotes.
fn fields(text: &str) -> BTreeMap<String, String> {
    let (mut fields, mut field, mut is_quoted) = (Vec::new(), String::new(), false);
    for letter in text.chars() {
        match letter {
            '"' => is_quoted = !is_quoted,
            ',' if !is_quoted => fields.push(std::mem::take(&mut field)),
            other => field.push(other),
        }
    }
    fields.push(field);
    let fields = fields.iter().filter(|field| !field.is_empty());
    fields
        .map(|field| field.split_once('=').unwrap_or((field, "")))
        .map(|(key, value)| (key.into(), value.into()))
        .collect()
}

fn provenance(fields: &BTreeMap<String, String>) -> Result<ProvenanceOptions, Failure> {
    let text = |name: &str| fields.get(name).map_or("", String::as_str);
    let flag = |name: &str| match text(name) {
        "true" | "1" => Ok(true),
        "" | "false" | "0" => Ok(false),
        other => Err(invalid(format!("provenance: {name}={other:?}: want true or false"))),
    };
    let filename = if text("filename").is_empty() { PROVENANCE_FILE } else { text("filename") };
    Ok(ProvenanceOptions {
        is_max: match text("mode") {
            "" | "max" | "full" => true,
            "min" => false,
            other => return Err(invalid(format!("provenance: mode={other:?}: want min or max"))),
        },
        is_v02: match text("version") {
            "" | "v1" => false,
            "v0.2" => true,
            other => return Err(invalid(format!("provenance: version={other:?}: want v1 or v0.2"))),
        },
        builder_id: text("builder-id").into(),
        reproducible: flag("reproducible")?,
        inline_only: flag("inline-only")?,
        complete_materials: flag("complete-materials")?,
        filename: filename.into(),
        indented: false,
    })
}

fn sbom(mut fields: BTreeMap<String, String>) -> SbomOptions {
    let generator = fields.remove("generator").filter(|name| !name.is_empty());
    SbomOptions { generator: generator.unwrap_or_else(|| DEFAULT_GENERATOR.into()), parameters: fields }
}

fn invalid(message: String) -> Failure {
    Failure::new("invalid-argument", message)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn attest(key: &str, value: &str) -> Result<Attest, Failure> {
        read(&[(key.to_string(), value.to_string()), ("target".into(), "x".into())].into())
    }

    #[test]
    fn what_is_asked_for() {
        let max = attest("attest:provenance", "").unwrap().provenance.unwrap();
        assert!(max.is_max && !max.is_v02 && !max.inline_only && max.filename == "provenance.json");
        let min = attest("build-arg:BUILDKIT_ATTEST_PROVENANCE", "mode=min,inline-only=true,version=v0.2,builder-id=x");
        let min = min.unwrap().provenance.unwrap();
        assert!(!min.is_max && min.is_v02 && min.inline_only && min.builder_id == "x");
        assert_eq!(attest("attest:provenance", "disabled=true").unwrap(), Attest::default());
        let sbom = attest("attest:sbom", "generator=a/b,\"x=1,2\"").unwrap().sbom.unwrap();
        assert_eq!((sbom.generator.as_str(), sbom.parameters["x"].as_str()), ("a/b", "1,2"));
        assert_eq!(attest("attest:sbom", "").unwrap().sbom.unwrap().generator, DEFAULT_GENERATOR);
    }

    #[test]
    fn what_is_refused() {
        for (key, value, want) in [
            ("attest:provenance", "mode=most", "want min or max"),
            ("attest:provenance", "version=v2", "want v1 or v0.2"),
            ("attest:provenance", "reproducible=perhaps", "want true or false"),
            ("attest:weather", "", "unknown attestation"),
        ] {
            let error = attest(key, value).unwrap_err();
            assert!(error.message.contains(want), "{value}: {}", error.message);
        }
    }
}
