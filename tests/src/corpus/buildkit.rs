//! BuildKit's frontend, a Go program of `peers/dockerfile`.

use std::{
    collections::BTreeMap,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, ensure};
use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde::Deserialize;

use super::{Answer, Given, Warning};

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Said {
    refs: Option<BTreeMap<String, String>>,
    metadata: Option<BTreeMap<String, String>>,
    warnings: Option<Vec<SaidWarning>>,
    error: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct SaidWarning {
    message: String,
    detail: Option<Vec<String>>,
    #[serde(rename = "URL")]
    url: String,
    lines: Option<Vec<(i32, i32)>>,
}

/// What BuildKit's frontend answers to each case. `tool` is the built program.
///
/// # Errors
/// That the program does not run.
pub fn answers(tool: &Path, given: &[Given]) -> anyhow::Result<Vec<Answer>> {
    let mut child = Command::new(tool)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .with_context(|| tool.display().to_string())?;
    let mut stdin = child.stdin.take().context("it has a pipe")?;
    let lines = given.iter().map(serde_json::to_string).collect::<Result<Vec<String>, _>>()?;
    // From a thread of its own: answers come before all cases are read.
    let writer = std::thread::spawn(move || lines.iter().try_for_each(|line| writeln!(stdin, "{line}")));
    let output = child.wait_with_output()?;
    ensure!(output.status.success(), "{} failed: {}", tool.display(), output.status);
    writer.join().ok().context("the writer ended")??;
    let answers: Vec<Answer> = String::from_utf8(output.stdout)?.lines().map(read).collect::<anyhow::Result<_>>()?;
    ensure!(answers.len() == given.len(), "{} answers to {} cases", answers.len(), given.len());
    Ok(answers)
}

fn read(line: &str) -> anyhow::Result<Answer> {
    let said: Said = serde_json::from_str(line)?;
    let refs = said.refs.unwrap_or_default().into_iter();
    let warnings = said.warnings.unwrap_or_default().into_iter();
    Ok(Answer {
        refs: refs.map(|(id, data)| Ok((id, STANDARD.decode(data)?))).collect::<anyhow::Result<_>>()?,
        metadata: said.metadata.unwrap_or_default(),
        warnings: warnings
            .map(|warning| Warning {
                lines: warning.lines.unwrap_or_default(),
                message: warning.message,
                detail: warning.detail.unwrap_or_default(),
                url: warning.url,
            })
            .collect(),
        error: Some(said.error).filter(|error| !error.is_empty()),
    })
}
