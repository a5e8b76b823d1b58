//! Where components are compiled: in this process, or, for components that nobody vouches for, in one of its own with limits.

use std::{
    io::{Read, Write},
    os::unix::process::{CommandExt, ExitStatusExt},
    process::{Child, Command, Stdio},
    sync::mpsc,
    time::Duration,
};

use rustix::process::{Resource, Rlimit, Signal, setrlimit};
use sys::artifact::Verified;
use wasmtime::{Engine, component::Component};

use crate::{Error, Limits, artifact};

/// The hidden first argument that makes this program compile what it reads.
const HELPER_WORD: &str = "compile-frontend";
/// The helper's exit code when the component is to blame; its standard error says why.
const REFUSED: u8 = 3;

/// How the system ends a process that has used up its processor time: at once, or with a signal of that name before.
const SIGKILL: i32 = Signal::KILL.as_raw();
const SIGXCPU: i32 = Signal::XCPU.as_raw();

/// Who compiles components that are not part of the program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Compiler {
    /// This process.
    #[default]
    Here,
    /// This program, run again for each component: what it may use is limited, and it takes nothing else with it. A program that
    /// chooses this calls [`helper_main`] first thing.
    Helper,
}

impl Compiler {
    /// Bytes of address space that compiling one component may use.
    pub const ADDRESS_SPACE: u64 = 8 << 30;
    /// Time that compiling one component may take. It works without ever waiting, and its processor time has a limit of its own
    /// ([`Limits::compiling`]); so this is for a machine that is too busy to give it any.
    pub const DEADLINE: Duration = Duration::from_secs(900);
    /// Bytes of machine code that one component may become.
    pub const ARTIFACT_BYTES: u64 = 512 << 20;

    /// `limit` is the processor time that a helper may take.
    pub(crate) fn compile(self, engine: &Engine, name: &str, bytes: &[u8], limit: Duration) -> Result<Verified, Error> {
        match self {
            Compiler::Here => serialize(&artifact::compile(engine, name, bytes)?),
            Compiler::Helper => compile_in_helper(name, bytes, limit.as_secs().max(1)),
        }
    }
}

fn serialize(component: &Component) -> Result<Verified, Error> {
    let bytes = component.serialize();
    let bytes = bytes.map_err(|error| Error::internal(format!("cannot write the compiled component: {error:#}")))?;
    Ok(Verified::made(bytes))
}

fn compile_in_helper(name: &str, bytes: &[u8], seconds: u64) -> Result<Verified, Error> {
    let failed = |why: String| Error::internal(format!("frontend {name}: the compiler {why}"));
    let mut child = Command::new("/proc/self/exe")
        .args([HELPER_WORD, name, &seconds.to_string()])
        .env_clear()
        // Ctrl-C in a terminal is for this process to act on: others may wait for the component.
        .process_group(0)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| failed(format!("cannot be started: {error}")))?;
    let (made, said) = talk(&mut child, bytes);
    let status = child.wait().map_err(|error| failed(format!("cannot be waited for: {error}")))?;
    let slow = |what: String| Error::limit(format!("frontend {name}: compiling it took more than the {what}"));
    match (status.code(), made) {
        (Some(0), Some(made)) => Ok(Verified::made(made)),
        (Some(code), _) if code == i32::from(REFUSED) => Err(Error::invalid(said.trim().to_owned())),
        // What the system does where processor time is used up.
        (None, Some(_)) if matches!(status.signal(), Some(SIGKILL | SIGXCPU)) => {
            Err(slow(format!("{seconds} s of processor time that it may")).with_limit("compiling"))
        }
        (_, None) => {
            let (seconds, code) = (Compiler::DEADLINE.as_secs(), Compiler::ARTIFACT_BYTES >> 20);
            Err(slow(format!("{seconds} seconds or {code} MiB of code that it may")))
        }
        _ => Err(Error::limit(format!(
            "frontend {name}: the compiler ended ({status}); it may use {} GiB: {}",
            Compiler::ADDRESS_SPACE >> 30,
            said.trim()
        ))),
    }
}

/// Sends the component, and reads what was made of it (`None`: too much, or too late; the child is killed then) and what was said.
fn talk(child: &mut Child, bytes: &[u8]) -> (Option<Vec<u8>>, String) {
    let (mut stdin, stdout, stderr) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
    std::thread::scope(|scope| {
        let (done, ended) = mpsc::channel();
        scope.spawn(move || {
            // A helper that ends before it read all says why; the broken pipe does not matter.
            let _ = stdin.as_mut().map(|stdin| stdin.write_all(bytes));
        });
        let said = scope.spawn(move || read(stderr, 64 << 10).unwrap_or_default());
        let made = scope.spawn(move || {
            let made = read(stdout, Compiler::ARTIFACT_BYTES);
            let _ = done.send(made.is_some());
            made
        });
        let in_time = ended.recv_timeout(Compiler::DEADLINE).unwrap_or(false);
        if !in_time {
            let _ = child.kill();
        }
        let made = made.join().ok().flatten().filter(|_| in_time);
        (made, said.join().map(|said| String::from_utf8_lossy(&said).into_owned()).unwrap_or_default())
    })
}

/// All that a pipe gives; `None` when that is more than `limit`.
fn read(pipe: Option<impl Read>, limit: u64) -> Option<Vec<u8>> {
    let mut bytes = Vec::new();
    let _ = pipe?.take(limit + 1).read_to_end(&mut bytes);
    (bytes.len() as u64 <= limit).then_some(bytes)
}

/// A program whose runtime uses [`Compiler::Helper`] calls this first thing in `main`. It returns at once, unless this process was
/// started to compile a component: then it never returns.
pub fn helper_main() {
    let mut arguments = std::env::args().skip(1);
    if arguments.next().as_deref() != Some(HELPER_WORD) {
        return;
    }
    let name = arguments.next().unwrap_or_default();
    let seconds = arguments.next().and_then(|seconds| seconds.parse().ok()).unwrap_or(Limits::COMPILING.as_secs());
    let code = match compile_stdin(&name, seconds) {
        Ok(()) => 0,
        Err(error) => {
            eprintln!("{error}");
            if error.code == "invalid-argument" { REFUSED } else { 1 }
        }
    };
    std::process::exit(i32::from(code));
}

fn compile_stdin(name: &str, seconds: u64) -> Result<(), Error> {
    let failed = |error: std::io::Error| Error::internal(error.to_string());
    limit(Resource::As, Compiler::ADDRESS_SPACE)?;
    limit(Resource::Cpu, seconds)?;
    limit(Resource::Core, 0)?;
    limit(Resource::Fsize, 0)?;
    let mut bytes = Vec::new();
    std::io::stdin().read_to_end(&mut bytes).map_err(failed)?;
    let compiled = serialize(&artifact::compile(&artifact::engine()?, name, &bytes)?)?;
    std::io::stdout().write_all(compiled.bytes()).map_err(failed)
}

fn limit(resource: Resource, most: u64) -> Result<(), Error> {
    let limit = Rlimit { current: Some(most), maximum: Some(most) };
    setrlimit(resource, limit).map_err(|error| Error::internal(format!("set a limit: {error}")))
}
