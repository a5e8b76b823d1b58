//! Speed and memory of whole builds: each row builds something with the `pintle` command and prints what a run, or a step, took.
//!
//! Usage: bench PINTLE [WORD...]. A row is measured when its name has one of the words, or when there are none. Where `go` is
//! installed, a second table has the same builds through the same `buildctl` against BuildKit's own daemon and against ours.
//!
//! Times are wall clock, the least of several runs where a build can be repeated: what else runs on the machine only adds to it.

mod context;
mod files;
mod frontend;
mod graph;
mod large;
mod memory;
mod peers;
mod steps;
mod world;

use std::path::PathBuf;

use anyhow::Context as _;
use world::World;

/// What a row is measured in.
#[derive(Clone, Copy)]
enum Unit {
    Milliseconds,
    Microseconds,
    Megabytes,
}

impl Unit {
    fn name(self) -> &'static str {
        match self {
            Unit::Milliseconds => "ms",
            Unit::Microseconds => "us",
            Unit::Megabytes => "MB",
        }
    }
}

/// A row: its name, what is aimed at, and how it is measured.
struct Row {
    name: &'static str,
    unit: Unit,
    aim: f64,
    measure: fn(&World) -> anyhow::Result<f64>,
}

const fn row(name: &'static str, unit: Unit, aim: f64, measure: fn(&World) -> anyhow::Result<f64>) -> Row {
    Row { name, unit, aim, measure }
}

const ROWS: &[Row] = &[
    row("nothing changed, 4 steps, embedded", Unit::Milliseconds, 15.0, |world| steps::unchanged(world, false)),
    row("nothing changed, 4 steps, daemon", Unit::Milliseconds, 5.0, |world| steps::unchanged(world, true)),
    row("Dockerfile frontend's share, warm", Unit::Milliseconds, 3.0, frontend::share),
    row("Dockerfile of 10,000 lines, read", Unit::Milliseconds, 20.0, frontend::read_long),
    row("Dockerfile of 10,000 lines, made a graph", Unit::Milliseconds, 100.0, frontend::build_long),
    row("an instance of a frontend", Unit::Microseconds, 50.0, frontend::instance),
    row("a call of the host by a frontend", Unit::Microseconds, 1.0, frontend::host_call),
    row("a call of a frontend that is remembered", Unit::Microseconds, 200.0, frontend::recorded),
    row("a component's build over the built-in one's", Unit::Milliseconds, 2.0, frontend::external),
    row("a frontend in JavaScript, from disk", Unit::Milliseconds, 20.0, frontend::javascript),
    row("a frontend in Python, from disk", Unit::Milliseconds, 20.0, frontend::python),
    row("first use of a frontend, compiled then", Unit::Milliseconds, 1000.0, frontend::first_use),
    row("RUN true, per step of 50", Unit::Milliseconds, 12.0, steps::run_chain),
    row("COPY of one file, per step of 120", Unit::Milliseconds, 2.0, steps::copy_chain),
    row("40 parallel stages with a RUN", Unit::Milliseconds, 400.0, steps::parallel),
    row("10,000 vertices, all cached", Unit::Milliseconds, 100.0, |world| graph::cached(world, 10_000)),
    row("40,000 vertices, all cached", Unit::Milliseconds, 400.0, |world| graph::cached(world, 40_000)),
    row("20,000 files, cold", Unit::Milliseconds, 800.0, files::cold),
    row("20,000 files, nothing changed", Unit::Milliseconds, 100.0, files::unchanged),
    row("20,000 files, one changed", Unit::Milliseconds, 150.0, files::one_changed),
    row("512 MB file, COPY", Unit::Milliseconds, 2400.0, |world| large::build(world, None)),
    row("512 MB file, COPY and gzip OCI export", Unit::Milliseconds, 6900.0, |world| large::build(world, Some("gzip"))),
    row("512 MB file, COPY and zstd OCI export", Unit::Milliseconds, 3200.0, |world| large::build(world, Some("zstd"))),
    row("memory of an idle daemon", Unit::Megabytes, 40.0, memory::idle),
    row("most memory while a 4 GB image is exported", Unit::Megabytes, 200.0, memory::exporting),
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pintle = PathBuf::from(arguments.next().context("usage: bench PINTLE [WORD...]")?).canonicalize()?;
    let words: Vec<String> = arguments.collect();
    let wanted = |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    println!("{:<44} {:>11} {:>11} {:>7}", "", "aim", "took", "ratio");
    for row in ROWS.iter().filter(|row| wanted(row.name)) {
        let (name, aim, unit) = (row.name, row.aim, row.unit.name());
        match World::new(&pintle).and_then(|world| (row.measure)(&world)) {
            Ok(took) => println!("{name:<44} {aim:>8.1} {unit} {took:>8.1} {unit} {:>6.2}x", took / aim),
            Err(error) => println!("{name:<44} {aim:>8.1} {unit} failed: {error:#}"),
        }
    }
    peers::table(&pintle, &wanted)
}
