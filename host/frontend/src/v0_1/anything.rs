//! A guest that says anything, for fuzzing and random tests: calls of the interface, with values that are made of bytes.

use std::sync::Arc;

use wasmtime::component::Resource;

use super::{
    Guest, GuestRef,
    bindings::{
        Output,
        pintle::frontend::{
            host::{Host as _, HostRef as _, SourceQuery},
            llb::{FileAction, Host as _, Mount},
        },
    },
    convert::Answer,
    wit::{Attr, Content, Edge, Error, Location},
};
use crate::{Bridge, Limits, limits::Breach, words::Table};

/// The most calls of one guest.
const CALLS_MAX: usize = 100;
/// Bytes that are left for what a guest answers.
const ANSWER_BYTES: usize = 24;
/// The codes that a guest is told where it is to blame.
const CODES: [&str; 6] = ["not-found", "invalid-argument", "unknown-attr", "unknown-kind", "limit", "not-utf8"];

/// Lets a guest say what `bytes` make it say, and answers what became of it.
///
/// # Panics
/// When the guest is told an error without words or with a code that is not for it, or ends otherwise than by a limit, or when the host
/// takes a graph that it cannot write and read again.
pub fn anything(bytes: &[u8], bridge: Arc<dyn Bridge>, limits: Limits) -> Result<crate::Output, crate::Error> {
    let mut talker =
        Talker { words: Words { bytes, vertices: 0 }, guest: Guest::new(bridge, limits), refs: Vec::new() };
    let outcome = futures::executor::block_on(talker.talk());
    if let Ok(output) = &outcome {
        let extras = output.extras.iter().map(|extra| &extra.definition);
        output.refs.iter().map(|(_, made)| made).chain(extras).for_each(check);
    }
    outcome
}

/// What the host took is a graph that BuildKit reads.
fn check(made: &crate::Definition) {
    let bytes = made.graph.encode_bytes(made.edge).expect("the graph can be written");
    let (graph, edge) = llb::Graph::decode_bytes(bytes, &llb::Limits::default()).expect("what is written can be read");
    llb::text::text(&graph, edge, None).expect("what is read can be shown");
}

struct Talker<'a> {
    words: Words<'a>,
    guest: Guest,
    refs: Vec<Resource<GuestRef>>,
}

type Ended<T> = Result<T, crate::Error>;

impl Talker<'_> {
    async fn talk(&mut self) -> Ended<crate::Output> {
        for _ in 0..CALLS_MAX {
            if self.words.bytes.len() < ANSWER_BYTES {
                break;
            }
            match self.words.below(4) {
                0 | 1 => {
                    self.add()?;
                    self.words.vertices = self.guest.graph.snapshot().len();
                }
                2 => self.ask().await?,
                _ => self.read().await?,
            }
        }
        if self.words.below(8) == 7 {
            let error = self.words.error();
            return Err(self.guest.error_out(error));
        }
        let output = self.words.output();
        self.guest.output(output)
    }

    fn add(&mut self) -> Ended<()> {
        let (words, guest) = (&mut self.words, &mut self.guest);
        match words.below(10) {
            0 | 1 => {
                let (identifier, attrs) = words.source();
                told(guest.add_source(identifier, attrs))?;
            }
            2 => {
                let (root, args) = (words.maybe(Words::edge), words.list(3, Words::text));
                let (env, mounts) = (words.list(3, Words::pair), words.list(4, Words::mount));
                told(guest.add_exec(root, args, env, mounts, words.attrs(&["vertex", "exec"])))?;
            }
            3 => {
                let (base, actions) = (words.maybe(Words::edge), words.list(4, Words::action));
                told(guest.add_file(base, actions, words.attrs(&["vertex"])))?;
            }
            4 => drop(told(guest.add_merge(words.list(4, Words::edge), words.attrs(&["vertex"])))?),
            5 => {
                let (lower, upper) = (words.maybe(Words::edge), words.maybe(Words::edge));
                told(guest.add_diff(lower, upper, words.attrs(&["vertex"])))?;
            }
            6 => {
                let kind = words.one(&["source", "merge", "diff", "build", "passthrough", "fold"]);
                let inputs = words.list(3, |words| words.maybe(Words::edge));
                let (params, content) = (words.attrs(&[&format!("op.{kind}")]), words.maybe(Words::content));
                told(guest.add_op(kind.into(), inputs, params, content, words.attrs(&["vertex"])))?;
            }
            7 => drop(told(guest.add_definition(words.blob()))?),
            8 => {
                let (name, language, text) = (words.text(), words.text(), words.content());
                told(guest.add_source_file(name, language, text, words.maybe(Words::edge)))?;
            }
            _ => drop(told(guest.locate(words.number(), words.list(3, Words::place)))?),
        }
        Ok(())
    }

    async fn ask(&mut self) -> Ended<()> {
        let (words, guest) = (&mut self.words, &mut self.guest);
        match words.below(6) {
            0 => drop(guest.supports(words.text()).expect("a question of words has an answer")),
            1 => {
                let (edge, attrs) = (words.maybe(Words::edge), words.attrs(&["solve"]));
                self.refs.extend(told(guest.solve(edge, attrs).await)?);
            }
            2 => {
                let inputs = words.list(2, |words| (words.text(), words.maybe(Words::edge)));
                told(guest.solve_frontend(words.text(), words.list(2, Words::pair), inputs).await)?;
            }
            3 => {
                let queries = words.list(3, |words| {
                    let (identifier, attrs) = words.source();
                    SourceQuery { identifier, platform: words.maybe(Words::text), attrs }
                });
                let asked = queries.len();
                let answers = told(guest.resolve_sources(queries).await.map(Ok))?;
                assert!(answers.is_none_or(|answers| answers.len() == asked), "one answer to each question");
            }
            4 => {
                let level = words.one(&["debug", "info", "warn", "error", "panic", "shout"]);
                guest.log(level.into(), words.text()).expect("a line is taken, or cut off");
            }
            _ => {
                let (vertex, message) = (words.maybe(Words::number), words.text());
                let (places, attrs) = (words.list(2, Words::place), words.attrs(&["warn"]));
                told(guest.warn(vertex, message, places, attrs))?;
            }
        }
        Ok(())
    }

    /// Resources that a guest does not hold never get here: the runtime knows its handles.
    async fn read(&mut self) -> Ended<()> {
        let (words, guest) = (&mut self.words, &mut self.guest);
        if self.refs.is_empty() {
            return Ok(());
        }
        let at = words.below(self.refs.len());
        let this = || Resource::new_borrow(self.refs[at].rep());
        match words.below(8) {
            0 => drop(told(guest.read_file(this(), words.text()).await)?),
            1 => {
                let (path, offset, length) = (words.text(), words.number(), words.number());
                told(guest.read_range(this(), path, offset.into(), length.into()).await)?;
            }
            2 => drop(told(guest.read_text(this(), words.text()).await)?),
            3 => drop(told(guest.read_dir(this(), words.text(), words.attrs(&["read-dir"])).await)?),
            4 => drop(told(guest.stat(this(), words.text()).await)?),
            5 => drop(told(guest.target(this()))?),
            6 => drop(told(guest.wait(this()).await)?),
            _ => guest.drop(self.refs.swap_remove(at)).expect("it is held"),
        }
        Ok(())
    }
}

/// What the guest is told; the error is one that ends it.
fn told<T>(answer: Answer<T>) -> Ended<Option<T>> {
    match answer {
        Ok(Ok(value)) => Ok(Some(value)),
        Ok(Err(error)) => {
            assert!(CODES.contains(&error.code.as_str()) && !error.message.is_empty(), "{error:?}");
            Ok(None)
        }
        Err(end) => Err(end.downcast::<Breach>().expect("a limit alone ends a guest").into()),
    }
}

/// Values, made of bytes; when those are used up, the first of each kind.
struct Words<'a> {
    bytes: &'a [u8],
    /// How many there are.
    vertices: usize,
}

/// Texts that mean something somewhere.
const TEXTS: &[&str] = &[
    "",
    "/",
    "a",
    "/a",
    "../a",
    "/a/./b//c/",
    "a\0b",
    "\u{1b}[2J",
    "é",
    "x=y",
    "root:0",
    "1000",
    "0",
    "-1",
    "1",
    "755",
    "u+x,go-w",
    "99999999999999999999",
    "true",
    "false",
    "linux/amd64",
    "linux/arm64/v8",
    "linux",
    "docker-image://a",
    "docker-image://b@c",
    "docker-image://",
    "local://context",
    "oci-layout://a@sha256:aa",
    "docker-image+blob://a@sha256:aa",
    "git://h/r#x",
    "https://h/f",
    "http://",
    "ftp://h",
    "nofile=1:2",
    "h=127.0.0.1",
    "h=::1",
    "PATH",
    "vertex",
    "cause",
    "sbom.extras",
    "sbom.extras/linux/arm64",
    "{\"a\": [0, 0]}",
    "{\"a\": null, \"b\": [1, 9]}",
    "containerimage.config",
    "{}",
];

impl Words<'_> {
    fn byte(&mut self) -> u8 {
        let Some((first, rest)) = self.bytes.split_first() else { return 0 };
        self.bytes = rest;
        *first
    }

    fn below(&mut self, limit: usize) -> usize {
        usize::from(self.byte()) % limit
    }

    fn one<T: Copy>(&mut self, of: &[T]) -> T {
        of[self.below(of.len())]
    }

    /// Small, most of the time.
    fn number(&mut self) -> u32 {
        match self.byte() {
            255 => u32::MAX,
            254 => i32::MAX as u32 + 1,
            byte => u32::from(byte % 16),
        }
    }

    fn blob(&mut self) -> Vec<u8> {
        let length = self.below(64).min(self.bytes.len());
        let (taken, rest) = self.bytes.split_at(length);
        self.bytes = rest;
        taken.to_vec()
    }

    fn text(&mut self) -> String {
        match self.below(4) {
            0 => String::from_utf8_lossy(&self.blob()).into_owned(),
            1 => self.one(Table::get().choices()).into(),
            _ => self.one(TEXTS).into(),
        }
    }

    fn maybe<T>(&mut self, make: impl FnOnce(&mut Self) -> T) -> Option<T> {
        (self.below(4) > 0).then(|| make(self))
    }

    fn list<T>(&mut self, most: usize, mut make: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| make(self)).collect()
    }

    /// One that is there, most of the time.
    fn edge(&mut self) -> Edge {
        let known = self.below(8) > 0 && self.vertices > 0;
        let vertex = if known { self.below(self.vertices) as u32 } else { self.number() };
        Edge { vertex, output: if self.below(8) == 7 { self.number() } else { 0 } }
    }

    fn pair(&mut self) -> Attr {
        (self.text(), self.text())
    }

    /// Attributes of these rows of the table, and others.
    fn attrs(&mut self, on: &[&str]) -> Vec<Attr> {
        let known = Table::get().words(on);
        self.list(3, |words| match words.below(8) {
            0 => words.pair(),
            _ if known.is_empty() => words.pair(),
            _ => (words.one(&known).replace('*', "x"), words.text()),
        })
    }

    fn source(&mut self) -> (String, Vec<Attr>) {
        let schemes = ["docker-image", "local", "git", "http", "oci-layout", "docker-image+blob", "oci-layout+blob"];
        let scheme = self.one(&schemes);
        let attrs = self.attrs(&[&format!("source.{scheme}"), "vertex", "query"]);
        (if self.below(4) == 0 { self.text() } else { format!("{scheme}://a") }, attrs)
    }

    fn content(&mut self) -> Content {
        if self.below(2) == 0 { Content::Text(self.text()) } else { Content::Bytes(self.blob()) }
    }

    fn place(&mut self) -> Location {
        let [file, start_line, start_column, end_line, end_column] = std::array::from_fn(|_| self.number());
        Location { file, start_line, start_column, end_line, end_column }
    }

    fn mount(&mut self) -> Mount {
        let kind = self.one(&["bind", "cache", "tmpfs", "secret", "ssh", "moon"]);
        let attrs = self.attrs(&["mount", &format!("mount.{kind}")]);
        Mount { kind: kind.into(), target: self.text(), input: self.maybe(Words::edge), attrs }
    }

    fn action(&mut self) -> FileAction {
        let kind = self.one(&["copy", "mkfile", "mkdir", "rm", "symlink", "mknod"]);
        let attrs = self.attrs(&[&format!("file.{kind}")]);
        let (path, input) = (self.text(), self.maybe(Words::edge));
        FileAction { kind: kind.into(), path, input, content: self.maybe(Words::content), attrs }
    }

    fn error(&mut self) -> Error {
        let (code, message) = (self.text(), self.text());
        Error { code, message, detail: self.list(3, Words::pair), places: self.list(2, Words::place) }
    }

    fn output(&mut self) -> Output {
        let results = self.list(3, |words| (words.text(), words.maybe(Words::edge)));
        Output { results, metadata: self.list(3, |words| (words.text(), words.content())) }
    }
}

#[cfg(test)]
mod tests {
    use rand::{RngCore, SeedableRng, rngs::StdRng};

    use super::*;
    use crate::testing::FakeBridge;

    /// What is said at random is taken or refused; enough of each that both were tried.
    #[test]
    fn random_guests_end_well() {
        let limits = Limits { vertices: 40, refs: 10, log_bytes: 100, warnings: 2, ..Limits::default() };
        let (mut made, mut failed) = (0, 0);
        for seed in 0..3_000 {
            let mut bytes = vec![0; 20 + seed as usize % 300];
            StdRng::seed_from_u64(seed).fill_bytes(&mut bytes);
            let bridge = FakeBridge::new().image("a", "sha256:aa", "{}").file("local://a", "a", "é");
            match anything(&bytes, Arc::new(bridge), limits) {
                Ok(output) => made += usize::from(output.refs.iter().any(|(_, made)| made.edge.is_some())),
                Err(_) => failed += 1,
            }
        }
        assert!(made > 30 && failed > 100, "{made} made graphs, {failed} failed");
    }
}
