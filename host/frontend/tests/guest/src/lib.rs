//! A frontend that does what option `do` says: most of it what an honest frontend would not.

use pintle_sdk::{
    Edge, Error, Frontend, Host, Level, Output, Request, Result, SourceQuery, State, VertexBuilder, VertexOptions,
    Warning, file, mount,
};

struct Guest;

impl Frontend for Guest {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let times = request.opt("times").and_then(|times| times.parse().ok()).unwrap_or(0);
        match request.opt("do").unwrap_or("honest") {
            "honest" => honest(cx),
            "loop" => spin(),
            "trap" => std::process::abort(),
            "names" => names(cx),
            "panic" => panic!("no {} here", request.opt("times").unwrap_or("panic")),
            "index" => Err(Error::invalid([""][times].to_owned())),
            "allocate" => allocate(times),
            "recurse" => Err(Error::invalid(recurse(times as u64).to_string())),
            "pile-up" => Err(Error::invalid(pile_up(times as u64).to_string())),
            "log" => flood(times, || cx.log(Level::Info, "again and again and again")),
            "warn" => flood(times, || {
                let _ = cx.warn(&Warning::new("mind the gap"));
            }),
            "warn-at-length" => warn_at_length(cx, times),
            "huge-fields" => huge_fields(cx, &"x".repeat(times)),
            "supports" => flood(times, || {
                cx.supports("op.diff");
            }),
            "vertices" => vertices(cx, times),
            "grow-and-solve" => grow_and_solve(cx, times),
            "hold-refs" => hold_refs(cx, times),
            "source-files" => source_files(cx, times),
            "queries" => queries(cx, times),
            "huge-string" => Err(cx.image(&"x".repeat(times)).add().err().unwrap_or(Error::invalid("it was taken"))),
            "huge-error" => Err(Error::invalid("x".repeat(times)).with("key", "y".repeat(times))),
            "huge-metadata" => Ok(honest(cx)?.metadata("x", "y".repeat(times))),
            "results" => {
                Ok((0..times).fold(Output::default(), |output, n| output.platform(&n.to_string(), cx.scratch())))
            }
            "same-platform" => Ok(Output::new(cx.scratch()).platform("", cx.scratch())),
            "dangling-edge" => dangling(cx, 77, 0),
            "dangling-output" => dangling(cx, 0, 5),
            "dangling-result" => {
                honest(cx)?;
                Ok(Output::new(cx.state(Some(Edge { vertex: 3, output: 9 }))))
            }
            "unknown-attr" => cx.image("a").attr("tag", "3").add().map(Output::new),
            "unknown-op" => cx.op("fold", &[], &[], None, &VertexOptions::new()).map(Output::new),
            "bad-definition" => cx.definition(b"\xff\xff\xff").map(Output::new),
            "bad-place" => bad_place(cx),
            "carry-on" => carry_on(cx),
            "read-fails" => read_fails(cx),
            "other-session" => other_session(cx),
            "call" => call(cx, &request),
            other => Err(Error::unsupported(format!("no deed {other:?}"))),
        }
    }
}

fn honest(cx: &Host) -> Result<Output> {
    let base = cx.image("docker.io/library/alpine:3").platform("linux/amd64").add()?;
    let context = cx.local("context").include(["a"]).add()?;
    let ran = base
        .run(["make"])
        .mount(mount::Bind::new("/readonly", &context).readonly(true))
        .mount(mount::Bind::new("/src", &context))
        .mount(mount::Secret::env("TOKEN", "token"))
        .add()?;
    let source = ran.mount("/src").ok_or_else(|| Error::invalid("the mount is writable"))?;
    let output = cx.scratch().file().copy(file::Copy::new(&source, "/out", "/out")).add()?;
    Ok(Output::new(output).metadata("containerimage.config", "{}"))
}

/// Names and texts that would do something to a terminal.
fn names(cx: &Host) -> Result<Output> {
    const NASTY: &str = "\x1b[2J\x1b]0;mine\x07\x1b[31mred\u{9b}1mbold\rover\u{202e}turned";
    cx.log(Level::Info, NASTY);
    let state = cx.scratch().file().mkfile(file::Mkfile::new("/f", "x")).name(NASTY).add()?;
    cx.warn(&Warning::new(NASTY))?;
    cx.solve(&state)?.read_file("/f")?;
    Err(Error::invalid(NASTY).with(NASTY, NASTY))
}

fn spin() -> Result<Output> {
    let mut number = 1u64;
    loop {
        number = std::hint::black_box(number.wrapping_mul(3));
    }
}

fn allocate(bytes: usize) -> Result<Output> {
    let chunk = 1 << 20;
    let held: Vec<Vec<u8>> = (0..bytes / chunk).map(|_| std::hint::black_box(vec![1u8; chunk])).collect();
    Err(Error::invalid(format!("got {} MiB", held.len())))
}

fn recurse(depth: u64) -> u64 {
    let place = std::hint::black_box([depth; 16]);
    if depth == 0 { place[0] } else { recurse(depth - 1) + place[3] }
}

/// Needs much of the stack that lies in the memory, and little of the engine's.
fn pile_up(depth: u64) -> u64 {
    let place = std::hint::black_box([depth; 1024]);
    if depth == 0 { place[0] } else { pile_up(depth - 1) + place[3] }
}

fn flood(times: usize, mut deed: impl FnMut()) -> Result<Output> {
    (0..times).for_each(|_| deed());
    Ok(Output::default())
}

/// Warnings of a text of so many bytes, each with as many lines.
fn warn_at_length(cx: &Host, bytes: usize) -> Result<Output> {
    let file = cx.source_file("f", "", "x".repeat(bytes), None)?;
    let lines = vec!["a line"; bytes / 100];
    for _ in 0..4 {
        cx.warn(&Warning::new("mind the gap").detail(lines.clone()).at(file.location((1, 0), (1, 1))))?;
    }
    Ok(Output::default())
}

/// A long text wherever there may be one. What is refused is no matter here.
fn huge_fields(cx: &Host, long: &str) -> Result<Output> {
    let file = cx.source_file(long, long, long, None)?;
    let named =
        cx.scratch().file().mkfile(file::Mkfile::new(long, long)).name(long).at(file.location((1, 0), (1, 1))).add()?;
    let _ = cx.image("a").platform(long).add();
    let _ = cx.image("a").attr(long, long).add();
    let _ = cx.local(long).include([long]).shared_key(long).add();
    let _ = cx.op(long, &[], &[], None, &VertexOptions::new());
    let _ = named.run([long]).env(long, long).cwd(long).mount(mount::Cache::new(long, long)).add();
    let _ = cx.warn(&Warning::new(long).detail([long]).url(long));
    let _ = cx.solve_frontend(long, &[], &[(long.to_owned(), named.clone())]);
    let _ = cx.resolve(vec![SourceQuery::image(long)]);
    cx.log(Level::Info, long);
    let _ = cx.solve(&named)?.read_file(long);
    Ok(Output::new(named.clone()).platform(long, named).metadata("x", "y"))
}

fn vertices(cx: &Host, times: usize) -> Result<Output> {
    let mut state = cx.scratch();
    for number in 0..times {
        state = state.file().mkfile(file::Mkfile::new("/f", number.to_string())).add()?;
    }
    Ok(Output::new(state))
}

fn grow_and_solve(cx: &Host, times: usize) -> Result<Output> {
    let mut state = cx.scratch();
    let mut refs = Vec::new();
    for number in 0..times {
        state = state.file().mkfile(file::Mkfile::new("/f", number.to_string())).add()?;
        refs.push(cx.solve(&state)?);
    }
    Ok(Output::new(state))
}

fn hold_refs(cx: &Host, times: usize) -> Result<Output> {
    let refs = (0..times).map(|_| cx.solve(&cx.scratch())).collect::<Result<Vec<_>>>()?;
    drop(refs);
    Ok(Output::default())
}

fn source_files(cx: &Host, times: usize) -> Result<Output> {
    for number in 0..times {
        cx.source_file("f", "", number.to_string(), None)?;
    }
    Ok(Output::default())
}

fn queries(cx: &Host, times: usize) -> Result<Output> {
    cx.resolve(vec![SourceQuery::image("a"); times]);
    Ok(Output::default())
}

fn dangling(cx: &Host, vertex: u32, output: u32) -> Result<Output> {
    cx.image("a").add()?;
    let state: State = cx.state(Some(Edge { vertex, output }));
    state.run(["x"]).root().map(Output::new)
}

fn bad_place(cx: &Host) -> Result<Output> {
    let file = cx.source_file("f", "", "text", None)?;
    let state = cx.image("a").at(file.location((2, 0), (1, 0))).add()?;
    Ok(Output::new(state))
}

/// An author may go on after an error.
fn carry_on(cx: &Host) -> Result<Output> {
    for deed in ["dangling-edge", "unknown-attr", "bad-definition", "bad-place"] {
        let opts = [("do".to_owned(), deed.to_owned())];
        let request = Request { opts: opts.into(), ..Request::default() };
        if Guest.build(cx, request).is_ok() {
            return Err(Error::invalid(format!("{deed} was taken")));
        }
    }
    honest(cx)
}

/// Answers what another frontend makes, with a file in it.
fn call(cx: &Host, request: &Request) -> Result<Output> {
    let solved = cx.solve_frontend(request.opt("frontend").unwrap_or_default(), &[], &[])?;
    let (_, made) = solved.refs.first().ok_or_else(|| Error::not_found("it made nothing"))?;
    let file = file::Mkfile::new("/called", "by another\n");
    let mut output = Output::new(made.state()?.file().mkfile(file).add()?);
    output.metadata = solved.metadata;
    Ok(output)
}

/// Files of a client that is another build's.
fn other_session(cx: &Host) -> Result<Output> {
    let context = cx.local("context").session("somebody-elses").add()?;
    cx.solve(&context)?.read_file("/Dockerfile")?;
    Ok(Output::default())
}

fn read_fails(cx: &Host) -> Result<Output> {
    let context = cx.local("missing").add()?;
    cx.solve(&context)?.read_file("/Dockerfile").map_err(|error| error.context("the build file"))?;
    Ok(Output::default())
}

pintle_sdk::frontend!(Guest);
