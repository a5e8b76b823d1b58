//! Calls of plugins: a program with variables, a configuration on standard input, and an answer or an error on standard output.

use std::{
    fs::File,
    io::{Read, Seek, Write},
    process::{Child, Command},
    time::Duration,
};

use anyhow::{Context, bail};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    fs::MemfdFlags,
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde::Deserialize;
use serde_json::{Map, Value};

use super::list::{List, Plugin};

/// How long a plugin may run.
pub const TIMEOUT: Duration = Duration::from_secs(60);
/// How much of an answer is read.
const ANSWER_BYTES_MAX: u64 = 1 << 20;
/// The network device of a container.
const DEVICE: &str = "eth0";

/// What is done.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Verb {
    Add,
    Del,
}

/// Whom it is done for.
pub struct Container<'a> {
    pub id: &'a str,
    /// The namespace; empty when it is gone.
    pub namespace: &'a str,
    /// A host name that plugins may make known; empty for none.
    pub hostname: &'a str,
}

/// What a plugin says that fails.
#[derive(Deserialize)]
struct Failure {
    code: u32,
    msg: String,
    #[serde(default)]
    details: String,
}

/// Calls all plugins in order, and gives what the last one answered.
pub fn add(list: &List, container: &Container<'_>) -> anyhow::Result<Option<Value>> {
    list.plugins.iter().try_fold(None, |result, plugin| {
        let answer = call(list, plugin, Verb::Add, container, result.as_ref(), TIMEOUT)?;
        Ok(answer.or(result))
    })
}

/// Calls all plugins, the last one first. Each is called, whatever those before say; the first error is given.
pub fn del(list: &List, container: &Container<'_>, result: Option<&Value>) -> anyhow::Result<()> {
    let calls = list.plugins.iter().rev();
    let ends: Vec<_> =
        calls.map(|plugin| call(list, plugin, Verb::Del, container, result, TIMEOUT).map(drop)).collect();
    ends.into_iter().collect()
}

/// Calls one plugin.
pub fn call(
    list: &List,
    plugin: &Plugin,
    verb: Verb,
    container: &Container<'_>,
    result: Option<&Value>,
    timeout: Duration,
) -> anyhow::Result<Option<Value>> {
    let what = || format!("CNI plugin {:?}", plugin.kind);
    let config = serde_json::to_vec(&input(list, plugin, verb, result))?;
    let mut input = memory(&config)?;
    input.rewind()?;
    let (mut answer, mut errors) = (memory(b"")?, memory(b"")?);
    let mut command = Command::new(&plugin.program);
    command.env("CNI_COMMAND", if verb == Verb::Add { "ADD" } else { "DEL" });
    command.env("CNI_CONTAINERID", container.id).env("CNI_NETNS", container.namespace);
    command.env("CNI_IFNAME", DEVICE).env("CNI_PATH", &list.path).env("CNI_ARGS", arguments(container.hostname));
    command.stdin(input).stdout(answer.try_clone()?).stderr(errors.try_clone()?);
    let mut child = command.spawn().with_context(|| format!("start {}", plugin.program.display()))?;
    let ended = wait(&mut child, timeout);
    let status = ended.with_context(what)?;
    let (answer, errors) = (text(&mut answer)?, text(&mut errors)?);
    if status.success() {
        let answer = answer.trim();
        let parsed = (!answer.is_empty()).then(|| serde_json::from_str(answer)).transpose();
        return parsed.with_context(|| format!("{}: its answer", what()));
    }
    match serde_json::from_str::<Failure>(&answer) {
        Ok(Failure { code, msg, details }) => {
            let details = if details.is_empty() { String::new() } else { format!(" ({details})") };
            bail!("{}: {msg}{details}, code {code}", what())
        }
        Err(_) => bail!("{} ended with {status}: {}", what(), [answer.trim(), errors.trim()].join(" ").trim()),
    }
}

/// A plugin's own part, with what is the list's.
fn input(list: &List, plugin: &Plugin, verb: Verb, result: Option<&Value>) -> Map<String, Value> {
    let mut config = plugin.config.clone();
    config.insert("cniVersion".into(), list.version.as_str().into());
    config.insert("name".into(), list.name.as_str().into());
    if let Some(result) = result.filter(|_| list.passes_results(verb == Verb::Del)) {
        config.insert("prevResult".into(), result.clone());
    }
    config
}

/// The name under which Kubernetes tells a host name, which other plugins are to pass over.
fn arguments(hostname: &str) -> String {
    if hostname.is_empty() { String::new() } else { format!("IgnoreUnknown=1;K8S_POD_NAME={hostname}") }
}

/// A file without a name: what is written does not wait for a reader.
fn memory(bytes: &[u8]) -> anyhow::Result<File> {
    let mut file = File::from(rustix::fs::memfd_create("cni", MemfdFlags::CLOEXEC)?);
    file.write_all(bytes)?;
    Ok(file)
}

fn text(file: &mut File) -> anyhow::Result<String> {
    file.rewind()?;
    let mut bytes = Vec::new();
    file.take(ANSWER_BYTES_MAX).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn wait(child: &mut Child, timeout: Duration) -> anyhow::Result<std::process::ExitStatus> {
    let handle = pidfd_open(Pid::from_child(child), PidfdFlags::empty())?;
    let limit = Timespec::try_from(timeout)?;
    let ended = loop {
        match poll(&mut [PollFd::new(&handle, PollFlags::IN)], Some(&limit)) {
            Err(rustix::io::Errno::INTR) => continue,
            other => break other? > 0,
        }
    };
    if !ended {
        child.kill()?;
        child.wait()?;
        bail!("it did not end in {timeout:?}");
    }
    Ok(child.wait()?)
}
