//! Speed of whole builds: each row builds something with the `pintle` command and prints what a run, or a step, took.
//!
//! Usage: bench PINTLE [ROW...]. Times are wall clock; the middle of several runs, so that one disturbance does not count.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, bail, ensure};

/// A row: its name, what is aimed at, and how it is measured.
struct Row {
    name: &'static str,
    aim_ms: f64,
    measure: fn(&Bench) -> anyhow::Result<Duration>,
}

const ROWS: &[Row] = &[
    Row { name: "nothing changed, 4 steps, embedded", aim_ms: 15.0, measure: |bench| bench.unchanged(false) },
    Row { name: "nothing changed, 4 steps, daemon", aim_ms: 5.0, measure: |bench| bench.unchanged(true) },
    Row { name: "RUN true, per step of 50", aim_ms: 12.0, measure: Bench::run_chain },
    Row { name: "COPY of one file, per step of 120", aim_ms: 2.0, measure: Bench::copy_chain },
    Row { name: "40 parallel stages with a RUN", aim_ms: 400.0, measure: Bench::parallel },
    Row { name: "20,000 files, cold", aim_ms: 800.0, measure: |bench| bench.files(Change::Cold) },
    Row { name: "20,000 files, nothing changed", aim_ms: 100.0, measure: |bench| bench.files(Change::Nothing) },
    Row { name: "20,000 files, one changed", aim_ms: 150.0, measure: |bench| bench.files(Change::One) },
    Row { name: "512 MB file, COPY", aim_ms: 2400.0, measure: |bench| bench.large(&[]) },
    Row { name: "512 MB file, COPY and gzip OCI export", aim_ms: 6900.0, measure: |bench| bench.large(&["gzip"]) },
    Row { name: "512 MB file, COPY and zstd OCI export", aim_ms: 3200.0, measure: |bench| bench.large(&["zstd"]) },
];

fn main() -> anyhow::Result<()> {
    let mut arguments = std::env::args().skip(1);
    let pintle = PathBuf::from(arguments.next().context("usage: bench PINTLE [ROW...]")?).canonicalize()?;
    let wanted: Vec<String> = arguments.collect();
    println!("{:<42} {:>10} {:>10} {:>7}", "", "aim", "took", "ratio");
    for row in ROWS {
        if !wanted.is_empty() && !wanted.iter().any(|word| row.name.contains(word.as_str())) {
            continue;
        }
        let bench = Bench::new(&pintle)?;
        match (row.measure)(&bench) {
            Ok(took) => {
                let ms = took.as_secs_f64() * 1000.0;
                println!("{:<42} {:>7.1} ms {ms:>7.1} ms {:>6.2}x", row.name, row.aim_ms, ms / row.aim_ms);
            }
            Err(error) => println!("{:<42} {:>7.1} ms failed: {error:#}", row.name, row.aim_ms),
        }
    }
    Ok(())
}

/// What of a large context changes between the build that is measured and the one before.
enum Change {
    Cold,
    Nothing,
    One,
}

/// One row's directory, with a base image's files beside the context.
struct Bench {
    pintle: PathBuf,
    dir: tempfile::TempDir,
}

impl Bench {
    fn new(pintle: &Path) -> anyhow::Result<Self> {
        let dir = tempfile::tempdir()?;
        fs::create_dir(dir.path().join("context"))?;
        Ok(Bench { pintle: pintle.to_path_buf(), dir })
    }

    fn context(&self) -> PathBuf {
        self.dir.path().join("context")
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> anyhow::Result<()> {
        let path = self.context().join(name);
        fs::create_dir_all(path.parent().context("a file is in a directory")?)?;
        Ok(fs::write(path, content)?)
    }

    /// A stage `base` with busybox.
    fn base(&self) -> anyhow::Result<&'static str> {
        let busybox = ["/bin/busybox", "/usr/bin/busybox"].into_iter().find(|path| Path::new(path).exists());
        fs::copy(busybox.context("install the package busybox-static")?, self.context().join("busybox"))?;
        Ok(
            "FROM scratch AS base\nCOPY busybox /bin/busybox\nRUN [\"/bin/busybox\",\"--install\",\"-s\",\"/bin\"]\nENV PATH=/bin\n",
        )
    }

    fn command(&self, extra: &[&str]) -> Command {
        let mut command = Command::new(&self.pintle);
        command.args(["build", "--progress=quiet"]).args(extra).arg(self.context());
        command.env("PINTLE_ROOT", self.dir.path().join("root"));
        command.stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    fn build(&self, extra: &[&str]) -> anyhow::Result<Duration> {
        let start = Instant::now();
        let output = self.command(extra).output()?;
        let took = start.elapsed();
        ensure!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        Ok(took)
    }

    fn unchanged(&self, daemon: bool) -> anyhow::Result<Duration> {
        let base = self.base()?;
        self.write("a.txt", "a")?;
        self.write("Dockerfile", format!("{base}COPY a.txt /\nRUN true\nRUN echo done\n"))?;
        let mut extra = Vec::new();
        let _daemon = if daemon { Some(self.daemon()?) } else { None };
        let addr = format!("unix://{}", self.dir.path().join("sock").display());
        if daemon {
            extra = vec!["--addr", addr.as_str()];
        }
        self.build(&extra)?;
        middle((0..21).map(|_| self.build(&extra)))
    }

    fn daemon(&self) -> anyhow::Result<Running> {
        let socket = self.dir.path().join("sock");
        let child = Command::new(&self.pintle)
            .arg("daemon")
            .arg(format!("--listen=unix://{}", socket.display()))
            .env("PINTLE_ROOT", self.dir.path().join("root"))
            .stderr(Stdio::null())
            .spawn()?;
        let running = Running(child);
        let start = Instant::now();
        while std::os::unix::net::UnixStream::connect(&socket).is_err() {
            if start.elapsed() > Duration::from_secs(20) {
                bail!("the daemon does not listen");
            }
            std::thread::sleep(Duration::from_millis(5));
        }
        Ok(running)
    }

    /// What `steps` add to a build that has none of them, by their number.
    fn per_step(&self, steps: &str, count: u32) -> anyhow::Result<Duration> {
        let base = self.base()?;
        self.write("Dockerfile", base)?;
        self.build(&[])?;
        let without = middle((0..5).map(|_| self.build(&[])))?;
        self.write("Dockerfile", format!("{base}{steps}"))?;
        Ok(self.build(&[])?.saturating_sub(without) / count)
    }

    fn run_chain(&self) -> anyhow::Result<Duration> {
        let steps = (0..50).fold(String::new(), |mut text, number| {
            let _ = writeln!(text, "RUN true # {number}");
            text
        });
        self.per_step(&steps, 50)
    }

    fn copy_chain(&self) -> anyhow::Result<Duration> {
        let mut steps = String::new();
        for number in 0..120 {
            self.write(&format!("f{number}"), number.to_string())?;
            writeln!(steps, "COPY f{number} /d/")?;
        }
        self.per_step(&steps, 120)
    }

    fn parallel(&self) -> anyhow::Result<Duration> {
        let mut text = String::new();
        for number in 0..40 {
            writeln!(text, "FROM base AS s{number}\nRUN echo {number} > /f{number}")?;
        }
        text.push_str("FROM scratch\n");
        for number in 0..40 {
            writeln!(text, "COPY --from=s{number} /f{number} /")?;
        }
        self.per_step(&text, 1)
    }

    fn files(&self, change: Change) -> anyhow::Result<Duration> {
        for number in 0..20_000 {
            self.write(&format!("src/d{}/f{number}", number / 100), format!("file {number}\n").repeat(50))?;
        }
        self.write("Dockerfile", "FROM scratch\nCOPY src /src\n")?;
        let cold = self.build(&[])?;
        match change {
            Change::Cold => Ok(cold),
            Change::Nothing => middle((0..5).map(|_| self.build(&[]))),
            Change::One => {
                self.write("src/d7/f777", "changed")?;
                self.build(&[])
            }
        }
    }

    fn large(&self, compression: &[&str]) -> anyhow::Result<Duration> {
        let mut state = 0x9e37_79b9_7f4a_7c15_u64;
        let mut data = Vec::with_capacity(512 << 20);
        while data.len() < 512 << 20 {
            // Incompressible, and the same each time.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            data.extend_from_slice(&state.to_le_bytes());
        }
        self.write("large", &data)?;
        drop(data);
        self.write("Dockerfile", "FROM scratch\nCOPY large /\n")?;
        let output: Vec<String> = compression
            .iter()
            .map(|kind| format!("-otype=oci,dest={},compression={kind}", self.dir.path().join("out.tar").display()))
            .collect();
        let output: Vec<&str> = output.iter().map(String::as_str).collect();
        self.build(&output)
    }
}

/// A daemon, ended when this is dropped.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

fn middle(runs: impl Iterator<Item = anyhow::Result<Duration>>) -> anyhow::Result<Duration> {
    let mut runs = runs.collect::<anyhow::Result<Vec<_>>>()?;
    runs.sort();
    runs.get(runs.len() / 2).copied().context("no runs")
}
