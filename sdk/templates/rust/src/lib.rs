//! The build language {{name}}: a file of steps, a line each.
//!
//! ```text
//! from docker.io/library/alpine:3
//! copy app /opt/app
//! run /opt/app/configure
//! write /etc/motd hello
//! ```

use pintle_sdk::{Error, Frontend, Host, Location, Output, Request, Result, State, VertexBuilder, file};
use serde_json::json;

/// The file that is read unless option `filename` names another.
const FILENAME: &str = "Buildfile";

pub struct Language;

impl Frontend for Language {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let filename = request.opt("filename").unwrap_or(FILENAME);
        let local = cx.local("dockerfile").follow([filename]).shared_key("dockerfile").name("load build file").add()?;
        let text = cx.solve(&local)?.read_text(filename)?;
        let source = cx.source_file(filename, "{{name}}", text.as_str(), Some(&local))?;
        let mut state = cx.scratch();
        for (number, line) in (1..).zip(text.lines()) {
            if line.trim().is_empty() || line.starts_with('#') {
                continue;
            }
            let end = u32::try_from(line.len() - 1).unwrap_or(u32::MAX);
            state = step(cx, &state, line, source.location((number, 0), (number, end)))?;
        }
        Ok(Output::new(state).config(&json!({ "os": "linux", "architecture": "amd64", "config": {} })))
    }
}

/// Does what a line says, on what was made before it.
fn step(cx: &Host, state: &State, line: &str, place: Location) -> Result<State> {
    let words: Vec<&str> = line.split_whitespace().collect();
    match words.as_slice() {
        ["from", "scratch"] => Ok(cx.scratch()),
        ["from", image] => cx.image(image).name(line).at(place).add(),
        ["copy", from, to] => {
            let context = cx.local("context").shared_key("context").name("load build context").add()?;
            state.file().copy(file::Copy::new(&context, *from, *to).create_parents(true)).name(line).at(place).add()
        }
        ["run", command @ ..] if !command.is_empty() => {
            let ran = state.run(["/bin/sh", "-c", &command.join(" ")]).name(line).at(place).add()?;
            Ok(ran.root())
        }
        ["write", path, text @ ..] => {
            let text = format!("{}\n", text.join(" "));
            state.file().mkfile(file::Mkfile::new(*path, text)).name(line).at(place).add()
        }
        _ => Err(Error::invalid("want from IMAGE, copy FROM TO, run COMMAND or write PATH TEXT").at(place)),
    }
}

pintle_sdk::frontend!(Language);

#[cfg(test)]
mod tests {
    use pintle_sdk::testing::FakeHost;

    use super::*;

    #[test]
    fn a_file_is_written() {
        let host = FakeHost::new().file("local://dockerfile", FILENAME, "write /a b\n");
        let built = host.build(&Language, &[]).expect("it is well formed");
        assert!(built.graph.contains("mkfile /a"), "{}", built.graph);
    }
}
