//! Recorded builds, played to each display with a clock of their own. A case is a file of `tests/cases/progress`:
//!
//! ```text
//! size 60x12            the terminal; also in the middle, when it is resized
//! 0.000 {"vertexes":..} news at that time, in the form of rawjson; `@0.1` in it is a time of the build
//! 0.500                 time passes
//! finish 1.000          there are no more news
//! ---- plain
//! ...
//! ---- brief
//! ...
//! ---- tty 0.500        the screen at that time
//! ...
//! ---- tty              the screen at the end
//! ```
//!
//! `UPDATE=1 cargo test` writes what is shown into the files.

use std::{
    fmt::Write as _,
    io::{self, Write},
    path::Path,
    sync::{Arc, Mutex},
};

use jiff::{SignedDuration, Timestamp};

use super::*;

/// When all builds of the cases began.
const EPOCH: i64 = 1_700_000_000;

#[derive(Clone, Default)]
struct Buffer(Arc<Mutex<Vec<u8>>>);

impl Write for Buffer {
    fn write(&mut self, data: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(data);
        Ok(data.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

enum Event {
    Resize(Size),
    News(Timestamp, SolveStatus),
    Tick(Timestamp),
    Finish(Timestamp),
}

fn at(seconds: &str) -> Timestamp {
    let seconds: f64 = seconds.parse().unwrap_or_else(|_| panic!("{seconds:?} is no time"));
    Timestamp::from_second(EPOCH).unwrap() + SignedDuration::from_millis((seconds * 1000.0).round() as i64)
}

/// Puts full times in place of `@1.5`.
fn with_times(json: &str) -> String {
    let mut out = String::new();
    let mut rest = json;
    while let Some((before, after)) = rest.split_once("\"@") {
        let (seconds, after) = after.split_once('"').unwrap();
        write!(out, "{before}\"{}\"", at(seconds)).unwrap();
        rest = after;
    }
    out + rest
}

fn parse(input: &str) -> Vec<Event> {
    let size = |text: &str| {
        let (columns, rows) = text.split_once('x').unwrap();
        Event::Resize(Size { columns: columns.parse().unwrap(), rows: rows.parse().unwrap() })
    };
    let lines = input.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines
        .map(|line| match line.split_once(' ') {
            Some(("size", text)) => size(text),
            Some(("finish", time)) => Event::Finish(at(time)),
            Some((time, json)) => {
                let status = serde_json::from_str(&with_times(json)).unwrap_or_else(|e| panic!("{line}: {e}"));
                Event::News(at(time), status)
            }
            None => Event::Tick(at(line)),
        })
        .collect()
}

fn play(display: &mut dyn Display, event: &Event) {
    match event {
        Event::Resize(_) => {}
        Event::News(time, status) => display.update(status, *time),
        Event::Tick(time) => display.tick(*time),
        Event::Finish(time) => display.finish(*time),
    }
}

/// What a display writes that knows no terminal.
fn written<D: Display>(display: impl FnOnce(Out) -> D, events: &[Event]) -> String {
    let out = Buffer::default();
    let mut display = display(Box::new(out.clone()));
    events.iter().for_each(|event| play(&mut display, event));
    String::from_utf8(out.0.lock().unwrap().clone()).unwrap()
}

/// What a terminal shows after all events up to `until`.
fn screen(events: &[Event], until: Option<Timestamp>) -> String {
    let out = Buffer::default();
    let size = Arc::new(Mutex::new(Size { columns: 80, rows: 24 }));
    let ask = size.clone();
    let mut display = Tty::new(Box::new(out.clone()), Box::new(move || Some(*ask.lock().unwrap())), "pintle", true);
    let mut terminal = vt100::Parser::new(24.try_into().unwrap(), 80.try_into().unwrap(), 1000);
    let mut resized = None;
    for event in events {
        let time = match event {
            Event::Resize(new) => {
                resized = Some(*new);
                continue;
            }
            Event::News(time, _) | Event::Tick(time) | Event::Finish(time) => *time,
        };
        if until.is_some_and(|until| time > until) {
            break;
        }
        if let Some(new) = resized.take() {
            *size.lock().unwrap() = new;
            terminal.screen_mut().set_size(new.rows.try_into().unwrap(), new.columns.try_into().unwrap());
        }
        play(&mut display, event);
        terminal.process(&std::mem::take(&mut *out.0.lock().unwrap()));
    }
    assert!(!terminal.screen().hide_cursor(), "the cursor must be seen again");
    let lines: Vec<String> = terminal.screen().rows(0, u16::MAX).map(|line| line.trim_end().to_owned()).collect();
    lines.join("\n").trim_end().to_owned() + "\n"
}

/// Plays a case. Returns it with what is shown now.
fn replay(text: &str) -> String {
    let mut sections = text.split("---- ");
    let input = sections.next().unwrap_or_default();
    let events = parse(input);
    let mut out = input.to_owned();
    for section in sections {
        let head = section.lines().next().unwrap_or_default();
        let shown = match head.split_once(' ') {
            Some(("tty", time)) => screen(&events, Some(at(time))),
            None if head == "tty" => screen(&events, None),
            None if head == "plain" => written(Plain::new, &events),
            None if head == "brief" => written(Brief::new, &events),
            _ => panic!("{head:?} is no display"),
        };
        write!(out, "---- {head}\n{shown}").unwrap();
    }
    out
}

#[test]
fn recorded_builds_look_as_they_did() {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/cases/progress");
    let mut cases: Vec<_> = std::fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    cases.sort();
    assert!(!cases.is_empty());
    for case in cases {
        let text = std::fs::read_to_string(&case).unwrap();
        let now = replay(&text);
        if std::env::var_os("UPDATE").is_some() {
            std::fs::write(&case, &now).unwrap();
        } else {
            assert_eq!(text, now, "{}: UPDATE=1 writes what is shown now", case.display());
        }
    }
}

#[test]
fn rawjson_is_what_came() {
    let line = concat!(
        r#"{"vertexes":[{"digest":"sha256:1","inputs":["sha256:0"],"name":"a","started":"2023-11-14T22:13:20Z","#,
        r#""cached":true,"progressGroup":{"id":"g","name":"group","weak":true}}],"#,
        r#""statuses":[{"id":"s","vertex":"sha256:1","total":2,"current":0,"timestamp":"2023-11-14T22:13:20.5Z"}],"#,
        r#""logs":[{"vertex":"sha256:1","stream":1,"data":"aGk=","timestamp":"2023-11-14T22:13:20Z"}],"#,
        r#""warnings":[{"vertex":"sha256:1","level":1,"short":"d2Fybg==","detail":["bW9yZQ=="],"url":"https://x","#,
        r#""sourceInfo":{"filename":"Dockerfile","data":"RlJPTQ=="},"range":[{"start":{"line":1},"end":{"line":1,"character":4}}]}]}"#,
        "\n"
    );
    let out = Buffer::default();
    RawJson::new(Box::new(out.clone())).update(&serde_json::from_str(line).unwrap(), Timestamp::UNIX_EPOCH);
    assert_eq!(String::from_utf8(out.0.lock().unwrap().clone()).unwrap(), line);
}

#[test]
fn any_news_at_any_size_are_drawn_without_a_panic_and_fit() {
    use rand::{Rng, SeedableRng, rngs::StdRng};
    for seed in 0..200 {
        let mut rng = StdRng::seed_from_u64(seed);
        let size = Size { columns: rng.random_range(0..130), rows: rng.random_range(0..20) };
        let out = Buffer::default();
        let mut tty = Tty::new(Box::new(out.clone()), Box::new(move || Some(size)), "engine", true);
        let mut plain = Plain::new(Box::new(Buffer::default()));
        let (columns, rows) = (size.columns.max(10), size.rows.max(3));
        let mut terminal = vt100::Parser::new(rows.try_into().unwrap(), columns.try_into().unwrap(), 100);
        terminal.process(b"before\r\n");
        let mut now = at("0");
        for _ in 0..rng.random_range(1..30) {
            now += SignedDuration::from_millis(rng.random_range(0..400));
            let status = random_status(&mut rng, now);
            tty.update(&status, now);
            plain.update(&status, now);
            terminal.process(&std::mem::take(&mut *out.0.lock().unwrap()));
            // As long as the build runs, nothing may scroll out of sight: it could not be drawn anew.
            terminal.screen_mut().set_scrollback(usize::MAX);
            assert!(terminal.screen().scrollback() <= 1, "seed {seed}: the tree is higher than {rows} lines");
            terminal.screen_mut().set_scrollback(0);
        }
        tty.finish(now);
        plain.finish(now);
    }
}

fn random_status(rng: &mut rand::rngs::StdRng, now: Timestamp) -> SolveStatus {
    use rand::Rng;
    let digest = |rng: &mut rand::rngs::StdRng| format!("sha256:{}", rng.random_range(0..12));
    let names =
        ["[1/2] FROM alpine", "漢字漢字漢字漢字漢字", "tab\tnl\nesc\x1b[2J", "", "a very long name ".repeat(20).leak()];
    let maybe = |rng: &mut rand::rngs::StdRng| rng.random_bool(0.5).then_some(now);
    SolveStatus {
        vertexes: (0..rng.random_range(0..4))
            .map(|_| Vertex {
                digest: digest(rng),
                name: names[rng.random_range(0..names.len())].to_owned(),
                started: maybe(rng),
                completed: maybe(rng),
                cached: rng.random_bool(0.2),
                error: if rng.random_bool(0.1) { "it broke".into() } else { String::new() },
                progress_group: rng.random_bool(0.2).then(|| ProgressGroup { id: "g".into(), ..Default::default() }),
                ..Vertex::default()
            })
            .collect(),
        statuses: (0..rng.random_range(0..3))
            .map(|_| VertexStatus {
                id: format!("part {}", rng.random_range(0..4)),
                vertex: digest(rng),
                current: rng.random(),
                total: rng.random_range(-5..1000),
                timestamp: now,
                started: maybe(rng),
                completed: maybe(rng),
                ..VertexStatus::default()
            })
            .collect(),
        logs: (0..rng.random_range(0..3))
            .map(|_| {
                let data = (0..rng.random_range(0..200)).map(|_| rng.random()).collect();
                VertexLog { vertex: digest(rng), stream: 1, data: Data(data), timestamp: now }
            })
            .collect(),
        warnings: Vec::new(),
    }
}
