//! Shows a build that was recorded with `--progress=rawjson`, as it went on: `cargo run -p client --example replay < FILE`.

use std::{io::BufRead, time::Duration};

use client::progress::{Mode, SolveStatus, for_stderr};
use jiff::Timestamp;

fn main() -> anyhow::Result<()> {
    let mut display = for_stderr(Mode::Auto, "replay")?;
    let mut begin: Option<(Timestamp, Timestamp)> = None;
    for line in std::io::stdin().lock().lines() {
        let status: SolveStatus = serde_json::from_str(&line?)?;
        if let Some(time) = latest(&status) {
            let (recorded, now) = *begin.get_or_insert((time, Timestamp::now()));
            let due = now + time.duration_since(recorded);
            while Timestamp::now() < due {
                std::thread::sleep(Duration::from_millis(50));
                display.tick(Timestamp::now());
            }
        }
        display.update(&status, Timestamp::now());
    }
    display.finish(Timestamp::now());
    Ok(())
}

fn latest(status: &SolveStatus) -> Option<Timestamp> {
    let vertexes = status.vertexes.iter().filter_map(|v| v.completed.or(v.started));
    vertexes.chain(status.logs.iter().map(|l| l.timestamp)).chain(status.statuses.iter().map(|s| s.timestamp)).max()
}
