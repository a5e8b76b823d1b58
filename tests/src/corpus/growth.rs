//! How the frontend's work grows with the Dockerfile, in WebAssembly instructions: the same on every machine.

use std::{fmt::Write as _, sync::Arc};

use anyhow::{Context, ensure};
use frontend::{Statistics, WasmFrontend};

use super::{Given, Image, component};

/// The component is at most so large.
pub const COMPONENT_BYTES: usize = 3 << 20;

/// Instructions for each line of a usual Dockerfile, to read it and to build its graph. A machine of today does some 7,000 of
/// them in a microsecond, so that ten thousand lines are read in less than 20 ms and built in less than 100 ms.
const READ_PER_LINE: u64 = 14_000;
/// See [`READ_PER_LINE`].
const BUILD_PER_LINE: u64 = 45_000;

/// Lines of the smaller text; the larger has twice as many.
const LINES: usize = 2_000;

/// Texts of so many lines, each with much of one thing.
pub const TEXTS: [(&str, fn(usize) -> String); 11] = [
    ("usual", usual),
    ("steps", |lines| repeat("FROM alpine\n", lines, |at| format!("RUN step {at}\n"))),
    ("copies", |lines| repeat("FROM alpine\n", lines, |at| format!("COPY file-{at} /dir/\n"))),
    ("variables", |lines| repeat("FROM alpine\n", lines, |at| format!("ENV NAME_{at}=value\n"))),
    ("stages", |lines| {
        repeat("FROM alpine AS s0\n", lines / 2, |at| format!("FROM alpine AS s{}\nCOPY --from=s{at} /a /b\n", at + 1))
    }),
    ("stages on stages", |lines| repeat("FROM scratch AS s0\n", lines, |at| format!("FROM s{at} AS s{}\n", at + 1))),
    ("empty stages", |lines| {
        repeat("FROM scratch AS s0\n", lines / 2, |at| {
            format!("FROM scratch AS s{}\nCOPY --from=s{at} /a /b\n", at + 1)
        })
    }),
    ("one argument", |lines| repeat("FROM alpine\n", lines / 2, |at| format!("ARG A={at}\nRUN step $A\n"))),
    ("one instruction", |lines| repeat("FROM alpine\nRUN begin", lines, |at| format!(" && \\\n  go on {at}")) + "\n"),
    ("heredoc", |lines| repeat("FROM alpine\nCOPY <<E /x\n", lines, |at| format!("line {at} $A\n")) + "E\n"),
    ("mistakes", |lines| repeat("FROM alpine\n", lines / 4, |_| "MAINTAINER me\n".to_owned())),
];

fn repeat(head: &str, times: usize, line: impl Fn(usize) -> String) -> String {
    (0..times).fold(head.to_owned(), |text, at| text + &line(at))
}

/// Ten lines of the usual kinds, again and again.
pub fn usual(lines: usize) -> String {
    let mut text = String::from("FROM alpine AS build\n");
    for at in 0..lines / 10 {
        let _ = write!(
            text,
            "# part {at}\nENV VERSION={at} NAME=\"a b\"\nARG OPTION=${{VERSION:-1}}\nCOPY --chown=1:2 src/{at} ./src/\n\
             RUN --mount=type=cache,target=/cache make \\\n    VERSION=$VERSION \\\n    part-{at}\nWORKDIR /work/{at}\n\
             LABEL part=\"{at}\" kind=usual\nRUN [\"test\", \"{at}\"]\n"
        );
    }
    text
}

/// A Dockerfile as what a frontend is given, with the one image that [`usual`] names.
pub fn given(text: &str) -> Given {
    let config = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"]},"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#;
    let mut given = Given::default();
    let image = Image { digest: format!("sha256:{}", "a".repeat(64)), config: config.to_owned() };
    given.images.insert("docker.io/library/alpine:latest".to_owned(), image);
    given.file("local://context", ".keep", "");
    given.file("local://dockerfile", "Dockerfile", text);
    given
}

/// What it takes to list the targets of a Dockerfile (which is to read it), or to build its graph.
///
/// # Errors
/// The frontend's.
pub async fn cost(frontend: &WasmFrontend, text: &str, read_only: bool) -> anyhow::Result<Statistics> {
    let mut given = given(text);
    if read_only {
        given.opts.insert("requestid".to_owned(), "frontend.targets".to_owned());
    }
    let (outcome, statistics) = frontend.run(Arc::new(component::bridge(&given)), component::request(&given)?).await;
    outcome.map(|_| statistics).map_err(anyhow::Error::new)
}

/// Twice the text is not much more than twice the work.
///
/// # Errors
/// It is.
pub async fn is_linear(frontend: &WasmFrontend, text: fn(usize) -> String) -> anyhow::Result<()> {
    for read_only in [true, false] {
        let what = if read_only { "reading" } else { "building" };
        let small = cost(frontend, &text(LINES), read_only).await.context(what)?.instructions;
        let large = cost(frontend, &text(2 * LINES), read_only).await.context(what)?.instructions;
        ensure!(
            large * 10 <= small * 23,
            "{what} {LINES} lines takes {small} instructions, twice as many take {large}"
        );
    }
    Ok(())
}

/// A usual Dockerfile of ten thousand lines is read and built within its limits.
///
/// # Errors
/// It is not.
pub async fn within_limits(frontend: &WasmFrontend) -> anyhow::Result<()> {
    let lines = 10_000;
    let text = usual(lines);
    for (what, read_only, limit) in [("read", true, READ_PER_LINE), ("build", false, BUILD_PER_LINE)] {
        let used = cost(frontend, &text, read_only).await?;
        let per_line = used.instructions / lines as u64;
        println!("{what}: {per_line} instructions a line, {} KiB, {:?}", used.memory_bytes >> 10, used.running);
        ensure!(per_line <= limit, "to {what} it takes {per_line} instructions a line, more than {limit}");
    }
    Ok(())
}
