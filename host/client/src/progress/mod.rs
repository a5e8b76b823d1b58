//! Shows how a build goes on: as lines of text, as a live tree on a terminal, as JSON, or not at all.
//!
//! A [`Display`] gets the engine's news and the time, and writes. It never looks at a clock or a terminal by itself, so that a
//! recorded build looks the same each time.

mod brief;
mod format;
mod plain;
mod rawjson;
mod status;
mod trace;
mod tty;

use std::{io::Write, time::Duration};

use jiff::Timestamp;
use tokio::sync::mpsc;

pub use brief::Brief;
pub use format::harmless;
pub use plain::Plain;
pub use rawjson::RawJson;
pub use status::{
    Data, Position, ProgressGroup, Range, SolveStatus, SourceInfo, Vertex, VertexLog, VertexStatus, VertexWarning,
};
pub use tty::{Size, Tty};

/// How often a display is told the time when there is no news.
const TICK: Duration = Duration::from_millis(100);

/// Something that shows a build.
pub trait Display: Send {
    /// Takes news that came at `now`.
    fn update(&mut self, status: &SolveStatus, now: Timestamp);
    /// Time has passed.
    fn tick(&mut self, now: Timestamp);
    /// There will be no more news. Called once.
    fn finish(&mut self, now: Timestamp);
}

/// Which display.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Mode {
    /// [`Mode::Tty`] on a terminal, else [`Mode::Plain`].
    #[default]
    Auto,
    /// Lines of text.
    Plain,
    /// A live tree; fails when there is no terminal.
    Tty,
    /// One JSON object a line, as the engine sends them.
    RawJson,
    /// What is said alone: output, warnings, and the names of steps that take long.
    Brief,
    /// Nothing.
    Quiet,
}

impl std::str::FromStr for Mode {
    type Err = crate::outputs::FlagError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const MODES: [(&str, Mode); 6] = [
            ("auto", Mode::Auto),
            ("plain", Mode::Plain),
            ("tty", Mode::Tty),
            ("rawjson", Mode::RawJson),
            ("quiet", Mode::Quiet),
            ("none", Mode::Quiet),
        ];
        let found = MODES.iter().find(|(name, _)| *name == text).map(|(_, mode)| *mode);
        found.ok_or_else(|| {
            crate::outputs::FlagError::unknown("progress mode", text, MODES.iter().map(|(name, _)| *name))
        })
    }
}

/// Shows nothing.
pub struct Quiet;

impl Display for Quiet {
    fn update(&mut self, _: &SolveStatus, _: Timestamp) {}
    fn tick(&mut self, _: Timestamp) {}
    fn finish(&mut self, _: Timestamp) {}
}

/// What a display writes to.
pub type Out = Box<dyn Write + Send>;

/// The display for standard error. `description` is shown beside the header, such as the name of the engine.
pub fn for_stderr(mode: Mode, description: &str) -> anyhow::Result<Box<dyn Display>> {
    let size = tty::stderr_size();
    let mode = match mode {
        Mode::Auto if size.is_some() => Mode::Tty,
        Mode::Auto => Mode::Plain,
        mode => mode,
    };
    let err: Out = Box::new(std::io::stderr());
    Ok(match mode {
        Mode::Tty => {
            anyhow::ensure!(size.is_some(), "progress mode tty needs a terminal: use plain or auto");
            let colours = std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty());
            Box::new(Tty::new(err, Box::new(tty::stderr_size), description, colours))
        }
        Mode::RawJson => Box::new(RawJson::new(err)),
        Mode::Brief => Box::new(Brief::new(err)),
        Mode::Quiet => Box::new(Quiet),
        Mode::Plain | Mode::Auto => Box::new(Plain::new(err)),
    })
}

/// Gives a display the news until there are no more.
pub async fn drive(display: &mut dyn Display, mut news: mpsc::UnboundedReceiver<SolveStatus>) {
    let mut ticks = tokio::time::interval(TICK);
    ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    // A build that is cancelled drops this future; the display must leave the terminal in order then too.
    let display = Finish(display);
    loop {
        tokio::select! {
            status = news.recv() => match status {
                Some(status) => display.0.update(&status, Timestamp::now()),
                None => return,
            },
            _ = ticks.tick() => display.0.tick(Timestamp::now()),
        }
    }
}

struct Finish<'a>(&'a mut dyn Display);

impl Drop for Finish<'_> {
    fn drop(&mut self) {
        self.0.finish(Timestamp::now());
    }
}

#[cfg(test)]
mod tests;
