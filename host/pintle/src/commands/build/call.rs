//! `--call`: a question about the build instead of a build. Options and what is printed are docker's.

use std::process::ExitCode;

use anyhow::{Context, bail, ensure};
use client::{SolveResponse, lint::Findings};

use super::request::Prepared;
use crate::exit;

/// What is asked.
#[derive(Debug, PartialEq, Eq)]
pub struct Call {
    /// BuildKit's name of the request, without `frontend.`.
    name: String,
    json: bool,
    /// The exit code does not tell what was found.
    ignore_status: bool,
}

impl Call {
    /// Reads `NAME[,format=json][,ignorestatus=true]`; `build` asks nothing.
    pub fn parse(spec: &str) -> anyhow::Result<Option<Self>> {
        let mut call = Call { name: String::new(), json: false, ignore_status: false };
        for field in spec.split(',') {
            match field.split_once('=') {
                Some(("format", format)) => call.json = format == "json",
                Some(("ignorestatus", value)) => {
                    call.ignore_status = value.parse().with_context(|| format!("--call {spec:?}: {field:?}"))?;
                }
                Some((key, _)) => bail!("--call {spec:?}: unknown option {key:?}: there are format and ignorestatus"),
                None => {
                    ensure!(call.name.is_empty(), "--call {spec:?}: want one method");
                    call.name = field.to_string();
                }
            }
        }
        match call.name.as_str() {
            "check" => call.name = "lint".into(),
            "describe" => call.name = "subrequests.describe".into(),
            "build" | "" => return Ok(None),
            _ => {}
        }
        Ok(Some(call))
    }

    /// Turns a build into the question.
    pub fn fill(&self, prepared: &mut Prepared) {
        let attrs = &mut prepared.request.frontend_attrs;
        attrs.insert("requestid".into(), format!("frontend.{}", self.name));
        attrs.insert("frontend.caps".into(), "moby.buildkit.frontend.subrequests+forward".into());
    }

    /// Prints the answer. `file` is what the user calls the build file.
    pub fn print(&self, response: &SolveResponse, file: &str) -> anyhow::Result<ExitCode> {
        let answer = |key: &str| response.exporter.get(key).map(String::as_str);
        if self.json || answer("result.txt").is_none() {
            println!("{}", answer("result.json").with_context(|| format!("no answer to {}", self.name))?);
        } else if self.name == "lint" {
            let findings = Findings::parse(answer("result.json").unwrap_or("{}"));
            let mut findings = findings.context("the answer to lint cannot be read")?;
            findings.rename(file);
            print!("{}", findings.text());
            if let Some(error) = findings.error() {
                bail!("{}", error.trim_end());
            }
        } else {
            print!("{}", answer("result.txt").unwrap_or_default());
        }
        let status = answer("result.statuscode").filter(|_| !self.ignore_status);
        Ok(match status.unwrap_or("0") {
            "0" => ExitCode::SUCCESS,
            code => ExitCode::from(code.parse().unwrap_or(exit::FAILED)),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Call;

    #[test]
    fn calls() {
        let call = |name: &str, json, ignore_status| Some(Call { name: name.into(), json, ignore_status });
        for (spec, expected) in [
            ("build", None),
            ("", None),
            ("check", call("lint", false, false)),
            ("outline,format=json", call("outline", true, false)),
            ("format=json,check,ignorestatus=true", call("lint", true, true)),
            ("describe", call("subrequests.describe", false, false)),
            ("targets,format=text", call("targets", false, false)),
        ] {
            assert_eq!(Call::parse(spec).unwrap(), expected, "{spec}");
        }
        for wrong in ["a,b", "check,color=red", "check,ignorestatus=perhaps"] {
            assert!(Call::parse(wrong).is_err(), "{wrong}");
        }
    }
}
