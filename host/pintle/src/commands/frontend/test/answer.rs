//! What a frontend answered, as the sections of a case.

use frontend::{Error, Output, Warning, cases::place};

/// The words that titles of expectations begin with.
const EXPECTED: [&str; 5] = ["llb", "extra", "metadata", "warnings", "error"];

/// Whether a section is an expectation.
pub fn is_expected(title: &str) -> bool {
    EXPECTED.contains(&title.split(' ').next().unwrap_or_default())
}

/// Titles and bodies, in order.
///
/// # Errors
/// A graph that cannot be shown.
pub fn sections(outcome: &Result<Output, Error>, warnings: &[Warning]) -> anyhow::Result<Vec<(String, String)>> {
    let mut sections = Vec::new();
    match outcome {
        Err(error) => {
            sections
                .push(("error".into(), line(&format!("{}{}", place(error.source_location.as_ref()), error.message))));
        }
        Ok(output) => {
            for (platform, made) in &output.refs {
                sections.push((format!("llb {platform}").trim_end().to_owned(), graph(made)?));
            }
            for extra in &output.extras {
                let title = format!("extra {} {}", extra.platform, extra.name);
                sections.push((title.replace("  ", " "), graph(&extra.definition)?));
            }
            let metadata = output.metadata.iter();
            sections.extend(metadata.map(|(key, value)| (format!("metadata {key}"), shown(value))));
        }
    }
    if !warnings.is_empty() {
        let warning = |warning: &Warning| line(&format!("{}{}", place(warning.source.as_ref()), warning.short));
        sections.push(("warnings".into(), warnings.iter().map(warning).collect()));
    }
    Ok(sections)
}

fn graph(definition: &frontend::Definition) -> anyhow::Result<String> {
    Ok(llb::text::text(&definition.graph, definition.edge, None)?)
}

/// JSON one field a line, sorted, for their order has no meaning; other text as it is, and of bytes their digest.
fn shown(value: &[u8]) -> String {
    if let Ok(mut json @ (serde_json::Value::Object(_) | serde_json::Value::Array(_))) = serde_json::from_slice(value) {
        json.sort_all_objects();
        return line(&format!("{json:#}"));
    }
    match std::str::from_utf8(value) {
        Ok(text) => line(text),
        Err(_) => line(&format!("{} bytes, {}", value.len(), oci::digest_of(value))),
    }
}

fn line(text: &str) -> String {
    format!("{}\n", text.trim_end_matches('\n'))
}
