//! A live tree on a terminal, drawn anew in place.
//!
//! ```text
//! [+] Building 1.2s (5/9)                                  pintle
//!  => [internal] load build definition from Dockerfile       0.0s
//!  => => transferring dockerfile: 104B                       0.0s
//!  => CACHED [2/4] RUN apk add gcc                           0.0s
//!  => [3/4] RUN make                                         0.9s
//!  => => # cc -c main.c
//! ```
//!
//! While the build runs the tree is never higher than the terminal: what ended long ago leaves first. At the end all of it is
//! written once more, to stay.

use std::{collections::HashMap, num::NonZeroU16};

use jiff::{SignedDuration, Timestamp};

use super::{
    Data, Display, Out, SolveStatus, format,
    trace::{Outcome, Step, Trace, WARNINGS_SHOWN, last_words, part_text, warning_text},
};

/// Least time between two drawings.
const FRAME: SignedDuration = SignedDuration::from_millis(100);
/// Lines of a running step's output that are shown.
const LOG_ROWS: NonZeroU16 = NonZeroU16::new(6).unwrap();
/// Columns that the lead of a log line takes.
const LOG_LEAD: &str = " => => # ";
/// Columns below which a line has no time at its end.
const NARROW_COLUMNS: usize = 24;
/// Columns from which a part has a bar.
const WIDE_COLUMNS: usize = 100;
/// Columns of a bar.
const BAR_COLUMNS: usize = 20;
/// The narrowest terminal, and what is taken for the size of one that has none.
const SIZE_MIN: Size = Size { columns: 10, rows: 3 };

/// A terminal's size in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Size {
    pub columns: u16,
    pub rows: u16,
}

/// The size of the terminal at standard error; `None` when there is none.
pub(super) fn stderr_size() -> Option<Size> {
    if !rustix::termios::isatty(std::io::stderr()) {
        return None;
    }
    let found = rustix::termios::tcgetwinsize(std::io::stderr()).ok();
    // Some terminals, such as those of serial lines and of CI, do not know their size.
    let size = found.filter(|s| s.ws_col > 0 && s.ws_row > 0).map(|s| Size { columns: s.ws_col, rows: s.ws_row });
    Some(size.unwrap_or(Size { columns: 80, rows: 24 }))
}

/// Asks for the terminal's size, which may change at any time.
type AskSize = Box<dyn Fn() -> Option<Size> + Send>;

/// Draws on a terminal.
pub struct Tty {
    out: Out,
    size: AskSize,
    description: String,
    colours: bool,
    trace: Trace,
    screens: HashMap<usize, vt100::Parser>,
    /// Columns of each line that is drawn.
    drawn: Vec<usize>,
    last_frame: Option<Timestamp>,
}

/// A line of the tree.
struct Row {
    text: String,
    /// Follows the text, which is cut before this is.
    amount: String,
    /// At the right end.
    time: String,
    style: Style,
    runs: bool,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Style {
    Plain,
    Done,
    Warn,
    Failed,
    Faint,
}

impl Tty {
    /// Draws on `out`, the terminal of which `size` tells the size. `description` stands at the right of the first line.
    pub fn new(out: Out, size: AskSize, description: &str, colours: bool) -> Self {
        Tty {
            out,
            size,
            description: format::one_line(description),
            colours,
            trace: Trace::default(),
            screens: HashMap::new(),
            drawn: Vec::new(),
            last_frame: None,
        }
    }

    fn size(&self) -> Size {
        let size = (self.size)().unwrap_or(SIZE_MIN);
        Size { columns: size.columns.max(SIZE_MIN.columns), rows: size.rows.max(SIZE_MIN.rows) }
    }

    fn feed(&mut self, digest: &str, data: &Data, size: Size) {
        let Some(id) = self.trace.find(digest) else { return };
        let columns = log_columns(size);
        let screen = self.screens.entry(id).or_insert_with(|| vt100::Parser::new(LOG_ROWS, columns, 0));
        if screen.screen().size().1 != columns {
            screen.screen_mut().set_size(LOG_ROWS, columns);
        }
        // A pipe has no terminal that would make a new line of a line feed.
        for piece in data.0.split_inclusive(|b| *b == b'\n') {
            match piece.strip_suffix(b"\n") {
                Some(line) => {
                    screen.process(line);
                    screen.process(b"\r\n");
                }
                None => screen.process(piece),
            }
        }
    }

    fn draw(&mut self, now: Timestamp, is_final: bool) {
        let size = self.size();
        let lines = self.lines(now, size, is_final);
        let mut text = String::from("\x1b[?25l\r");
        let up = rows_of(&self.drawn, size);
        if up > 0 {
            text.push_str(&format!("\x1b[{up}A"));
        }
        self.drawn.clear();
        for (line, style) in &lines {
            self.drawn.push(format::width(line));
            let (on, off) = if self.colours { style.codes() } else { ("", "") };
            text.push_str(&format!("{on}{line}{off}\x1b[K\r\n"));
        }
        text.push_str("\x1b[J\x1b[?25h");
        // In one piece, so that no half of a frame is seen.
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
        self.last_frame = Some(now);
    }

    fn lines(&self, now: Timestamp, size: Size, is_final: bool) -> Vec<(String, Style)> {
        let columns = usize::from(size.columns);
        let mut lines = vec![(self.header(now, columns, is_final), Style::Plain)];
        let now = self.trace.engine_time(now);
        let groups: Vec<(usize, Vec<Row>)> =
            self.trace.started.iter().map(|id| (*id, rows(self.trace.step(*id), now, columns))).collect();
        if is_final {
            lines.extend(groups.iter().flat_map(|(_, rows)| rows).map(|row| row.lay_out(columns)));
            return lines;
        }
        // The line below the last is where the cursor stands.
        let free = usize::from(size.rows).saturating_sub(2);
        let runs = |rows: &[Row]| rows.first().is_some_and(|row| row.runs);
        let running = groups.iter().flat_map(|(_, rows)| rows).filter(|row| row.runs).count();
        // Output of what runs is worth more than what has ended, but the latest of that stays in sight too.
        let mut room = free.saturating_sub(running) * 2 / 3;
        let mut logs = HashMap::new();
        for (id, _) in groups.iter().filter(|(_, rows)| runs(rows)) {
            let lines = self.logs(*id, columns, room);
            room -= lines.len();
            logs.insert(*id, lines);
        }
        let taken: usize = logs.values().map(Vec::len).sum();
        for (id, rows) in choose(&groups, free - taken) {
            lines.extend(rows.iter().map(|row| row.lay_out(columns)));
            lines.extend(logs.remove(&id).unwrap_or_default());
        }
        lines
    }

    fn header(&self, now: Timestamp, columns: usize, is_final: bool) -> String {
        let elapsed =
            self.trace.begin.map_or(SignedDuration::ZERO, |begin| self.trace.engine_time(now).duration_since(begin));
        let (done, all) = self.trace.counts();
        let finished = if is_final && done == all && all > 0 { " FINISHED" } else { "" };
        let left = format!("[+] Building {} ({done}/{all}){finished}", format::seconds(elapsed));
        let rest = columns.saturating_sub(format::width(&left) + 1);
        if rest <= format::width(&self.description) {
            return format::cut(&left, columns - 1).to_owned();
        }
        format!("{}{}", format::fit(&left, columns - 1 - format::width(&self.description)), self.description)
    }

    /// The last lines of a running step's output, at most `room`.
    fn logs(&self, id: usize, columns: usize, room: usize) -> Vec<(String, Style)> {
        let Some(screen) = self.screens.get(&id) else { return Vec::new() };
        let width = columns.saturating_sub(format::width(LOG_LEAD) + 1);
        let lines = screen.screen().rows(0, width.try_into().unwrap_or(u16::MAX));
        let lines: Vec<String> = lines.filter(|line| !line.trim().is_empty()).collect();
        let skip = lines.len().saturating_sub(room);
        let line = |text: &String| (format!("{LOG_LEAD}{}", format::cut(text.trim_end(), width)), Style::Faint);
        lines.iter().skip(skip).map(line).collect()
    }
}

impl Display for Tty {
    fn update(&mut self, status: &SolveStatus, now: Timestamp) {
        self.trace.update(status, now);
        let size = self.size();
        status.logs.iter().for_each(|log| self.feed(&log.vertex, &log.data, size));
        self.tick(now);
    }

    fn tick(&mut self, now: Timestamp) {
        let due = self.last_frame.is_none_or(|last| now.duration_since(last) >= FRAME);
        if due && self.trace.begin.is_some() {
            self.draw(now, false);
        }
    }

    fn finish(&mut self, now: Timestamp) {
        if self.trace.begin.is_some() {
            self.draw(now, true);
        }
        let text = last_words(&self.trace).replace('\n', "\r\n");
        let _ = self.out.write_all(text.as_bytes());
        let _ = self.out.flush();
    }
}

impl Row {
    fn lay_out(&self, columns: usize) -> (String, Style) {
        // The last column stays empty: some terminals wrap when it is written.
        let columns = columns - 1;
        let time = if columns < NARROW_COLUMNS { "" } else { self.time.as_str() };
        let room = columns.saturating_sub(format::width(time) + usize::from(!time.is_empty()));
        let left = room.saturating_sub(format::width(&self.amount) + 1);
        let text = match self.amount.as_str() {
            "" => format::cut(&self.text, room).to_owned(),
            _ if left < NARROW_COLUMNS / 2 => format::cut(&self.text, room).to_owned(),
            amount => format!("{} {amount}", format::cut(&self.text, left)),
        };
        let text = if time.is_empty() { text } else { format::fit(&text, room) + " " };
        (text + time, self.style)
    }
}

impl Style {
    fn codes(self) -> (&'static str, &'static str) {
        match self {
            Style::Plain => ("", ""),
            Style::Done => ("\x1b[34m", "\x1b[0m"),
            Style::Warn => ("\x1b[33m", "\x1b[0m"),
            Style::Failed => ("\x1b[31m", "\x1b[0m"),
            Style::Faint => ("\x1b[2m", "\x1b[0m"),
        }
    }
}

/// A step's own line, those of its parts and of its warnings.
fn rows(step: &Step, now: Timestamp, columns: usize) -> Vec<Row> {
    let outcome = step.outcome();
    let (mark, style) = match outcome {
        None => ("", Style::Plain),
        Some(Outcome::Done) => ("", Style::Done),
        Some(Outcome::Cached) => ("CACHED ", Style::Done),
        Some(Outcome::Cancelled) => ("CANCELED ", Style::Warn),
        Some(Outcome::Failed) => ("ERROR ", Style::Failed),
    };
    let runs = outcome.is_none();
    let time = format::seconds(step.duration(now));
    let mut out = vec![Row { text: format!(" => {mark}{}", step.name), amount: String::new(), time, style, runs }];
    for part in step.parts.iter().filter(|part| part.started.is_some()) {
        let (name, amount) = part_text(part);
        let ended = part.completed.is_some() || !runs;
        let end = part.completed.or(if runs { None } else { step.ended() }).unwrap_or(now);
        let time = part.started.map(|start| format::seconds(end.duration_since(start))).unwrap_or_default();
        let bar = if ended { String::new() } else { bar(part.current, part.total, columns) };
        let amount =
            [amount, bar].iter().filter(|word| !word.is_empty()).map(String::as_str).collect::<Vec<_>>().join(" ");
        let style = if ended { Style::Done } else { Style::Plain };
        out.push(Row { text: format!(" => => {name}"), amount, time, style, runs: !ended });
    }
    for warning in step.warnings.iter().take(WARNINGS_SHOWN) {
        let text = format!(" => WARN: {}", warning_text(warning));
        out.push(Row { text, amount: String::new(), time: String::new(), style: Style::Warn, runs: false });
    }
    out
}

/// `[=====>    ]`, where there is room for it and an end is known.
fn bar(current: i64, total: i64, columns: usize) -> String {
    if columns < WIDE_COLUMNS || total <= 0 || current < 0 {
        return String::new();
    }
    let inner = BAR_COLUMNS - 2;
    let full = (current.min(total) as f64 / total as f64 * inner as f64) as usize;
    let head = if full < inner { ">" } else { "" };
    format!("[{}]", format::fit(&format!("{}{head}", "=".repeat(full)), inner))
}

/// What of the tree fits into `free` lines: what has ended goes first, the oldest before the rest; then of what runs the oldest.
fn choose(groups: &[(usize, Vec<Row>)], free: usize) -> Vec<(usize, &[Row])> {
    let total: usize = groups.iter().map(|(_, rows)| rows.len()).sum();
    let mut excess = total.saturating_sub(free);
    let mut kept: Vec<(usize, &[Row])> = groups.iter().map(|(id, rows)| (*id, rows.as_slice())).collect();
    for runs in [false, true] {
        for (_, rows) in kept.iter_mut().filter(|(_, rows)| rows.first().is_some_and(|row| row.runs) == runs) {
            let keep = rows.len() - excess.min(rows.len());
            excess -= rows.len() - keep;
            // A step that loses lines keeps its own before those of its parts, while any are left.
            *rows = &rows[..keep];
        }
    }
    kept
}

/// Lines of the terminal that text of these widths takes, now that it is as wide as it is: a narrower one has wrapped it.
fn rows_of(widths: &[usize], size: Size) -> usize {
    widths.iter().map(|width| width.div_ceil(usize::from(size.columns)).max(1)).sum()
}

fn log_columns(size: Size) -> NonZeroU16 {
    NonZeroU16::new(size.columns.saturating_sub(LOG_LEAD.len() as u16 + 1)).unwrap_or(NonZeroU16::MIN)
}
