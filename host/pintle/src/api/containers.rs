//! Containers of a client that runs the frontend itself: NewContainer, ExecProcess and what belongs to them.
//!
//! One ExecProcess stream carries any number of processes, by the client's ids. For each the daemon says that it started, then what it
//! writes, that each stream has ended, how it ended, and that nothing more will come.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use frontend::{Container, ContainerIo, ContainerProcess, ContainerSpec, Error};
use futures::{StreamExt, stream::BoxStream};
use proto::gateway::{self as wire, exec_message::Input};
use tokio::{
    io::{AsyncWriteExt, DuplexStream},
    sync::mpsc,
};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::task::AbortOnDropHandle;
use tonic::{Status, Streaming};

use super::{
    errors,
    gateway::{Call, Client},
};

/// How many containers one client may hold.
const CONTAINERS_MAX: usize = 256;
/// How many processes one stream may carry at once.
const PROCESSES_MAX: usize = 256;
/// The longest id of a container or process, in bytes.
const ID_BYTES_MAX: usize = 256;
/// What waits between a client and a process, in bytes.
const STDIN_BYTES: usize = 256 << 10;
/// Messages that may wait to be sent; then processes wait too.
const MESSAGES_WAITING: usize = 64;
/// Signals and sizes that may wait for a process; more are dropped.
const SIGNALS_WAITING: usize = 16;
/// BuildKit's exit code of a process that could not be run.
const UNKNOWN_EXIT: u32 = 255;

/// The containers of one client, by the ids that it gave them.
#[derive(Default)]
pub struct Containers(Mutex<HashMap<String, Arc<dyn Container>>>);

impl Containers {
    /// Lists a container under an id that is new.
    fn add(&self, id: &str, container: Arc<dyn Container>) -> Result<(), Status> {
        check_id(id)?;
        let mut table = self.table();
        if table.len() >= CONTAINERS_MAX {
            return Err(Status::resource_exhausted(format!(
                "the build holds {CONTAINERS_MAX} containers: that is the most"
            )));
        }
        match table.contains_key(id) {
            true => Err(Status::already_exists(format!("container {id:?} exists already"))),
            false => {
                table.insert(id.to_string(), container);
                Ok(())
            }
        }
    }

    /// The container of this id.
    pub fn get(&self, id: &str) -> Result<Arc<dyn Container>, Status> {
        let found = self.table().get(id).cloned();
        found.ok_or_else(|| Status::not_found(format!("no container {id:?}: it was released, or never made")))
    }

    /// Ends a container.
    pub fn release(&self, id: &str) -> Result<(), Status> {
        let container = self.table().remove(id);
        let container = container.ok_or_else(|| Status::not_found(format!("no container {id:?}")))?;
        container.release();
        Ok(())
    }

    /// Ends all of them.
    pub fn release_all(&self) {
        for (_, container) in self.table().drain() {
            container.release();
        }
    }

    fn table(&self) -> std::sync::MutexGuard<'_, HashMap<String, Arc<dyn Container>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn check_id(id: &str) -> Result<(), Status> {
    match id.is_empty() || id.len() > ID_BYTES_MAX {
        true => {
            Err(Status::invalid_argument(format!("an id must have 1 to {ID_BYTES_MAX} bytes; this has {}", id.len())))
        }
        false => Ok(()),
    }
}

/// Makes the container that a client asks for.
pub async fn new(client: &Client, request: wire::NewContainerRequest) -> Result<(), Status> {
    check_id(&request.container_id)?;
    let mut files = Vec::new();
    let mut mounts = Vec::with_capacity(request.mounts.len());
    for mut mount in request.mounts {
        mount.input = -1;
        // What is written is for the container alone.
        mount.output = -1;
        if !mount.result_id.is_empty() {
            mount.input = files.len() as i64;
            files.push(client.get(&mount.result_id)?);
        }
        mounts.push(mount);
    }
    let meta = proto::pb::Meta {
        args: vec![NO_COMMAND.into()],
        extra_hosts: request.extra_hosts,
        hostname: request.hostname,
        ..Default::default()
    };
    let op = proto::pb::ExecOp { meta: Some(meta), mounts, network: request.network, ..Default::default() };
    let op = exec_op(op, files.len())?;
    let container = client.bridge.new_container(ContainerSpec { op, files }).await.map_err(to_status)?;
    client.containers.add(&request.container_id, container)
}

/// Stands where an op must have a command.
const NO_COMMAND: &str = "-";

fn exec_op(op: proto::pb::ExecOp, inputs: usize) -> Result<llb::op::ExecOp, Status> {
    llb::wire::exec_op(op, inputs).map_err(|error| Status::invalid_argument(error.to_string()))
}

fn to_status(error: Error) -> Status {
    errors::status(&build::Failure::from(error))
}

/// The processes of one stream.
pub fn exec(
    client: Call,
    incoming: Streaming<wire::ExecMessage>,
) -> BoxStream<'static, Result<wire::ExecMessage, Status>> {
    let (answers, outgoing) = mpsc::channel(MESSAGES_WAITING);
    let task = tokio::spawn(async move {
        let mut processes = Processes { client, answers: answers.clone(), running: HashMap::new() };
        if let Err(status) = processes.serve(incoming).await {
            let _ = answers.send(Err(status)).await;
        }
    });
    // Whoever drops the stream ends its processes.
    let task = AbortOnDropHandle::new(task);
    ReceiverStream::new(outgoing)
        .map(move |message| {
            let _ = &task;
            message
        })
        .boxed()
}

struct Processes {
    client: Call,
    answers: mpsc::Sender<Result<wire::ExecMessage, Status>>,
    running: HashMap<String, Running>,
}

/// The ways to a process.
struct Running {
    stdin: Option<DuplexStream>,
    signals: mpsc::Sender<i32>,
    sizes: mpsc::Sender<(u16, u16)>,
    task: AbortOnDropHandle<()>,
}

impl Processes {
    async fn serve(&mut self, mut incoming: Streaming<wire::ExecMessage>) -> Result<(), Status> {
        while let Some(message) = incoming.message().await? {
            let id = message.process_id;
            check_id(&id)?;
            match message.input {
                Some(Input::Init(init)) => self.start(id, init)?,
                Some(Input::File(file)) => self.input(&id, file).await?,
                Some(Input::Resize(size)) => {
                    let side = |cells: u32| u16::try_from(cells).unwrap_or(u16::MAX);
                    let _ = self.get(&id)?.sizes.try_send((side(size.rows), side(size.cols)));
                }
                Some(Input::Signal(signal)) => {
                    let number = number_of(&signal.name)
                        .ok_or_else(|| Status::invalid_argument(format!("unknown signal {:?}", signal.name)))?;
                    let _ = self.get(&id)?.signals.try_send(number);
                }
                Some(Input::Started(_) | Input::Exit(_) | Input::Done(_)) | None => {
                    return Err(Status::invalid_argument(format!(
                        "process {id:?}: a message that only the daemon sends"
                    )));
                }
            }
        }
        // The client has nothing more to say; what runs goes on until it reads no more either.
        for (_, process) in self.running.drain() {
            let Running { stdin, signals, sizes, task } = process;
            drop((stdin, signals, sizes));
            let _ = task.await;
        }
        Ok(())
    }

    fn get(&mut self, id: &str) -> Result<&mut Running, Status> {
        self.running.get_mut(id).ok_or_else(|| Status::not_found(format!("no process {id:?} in this stream")))
    }

    /// Begins a process. One that cannot be begun is told of as one that ended badly: the others of the stream go on.
    fn start(&mut self, id: String, init: wire::InitMessage) -> Result<(), Status> {
        self.running.retain(|_, process| !process.task.is_finished());
        if self.running.contains_key(&id) {
            return Err(Status::already_exists(format!("process {id:?} runs already")));
        }
        if self.running.len() >= PROCESSES_MAX {
            return Err(Status::resource_exhausted(format!(
                "the stream has {PROCESSES_MAX} processes: that is the most"
            )));
        }
        let has = |fd: u32| init.fds.contains(&fd);
        let (stdin, process_stdin) = tokio::io::duplex(STDIN_BYTES);
        let (signals, process_signals) = mpsc::channel(SIGNALS_WAITING);
        let (sizes, process_sizes) = mpsc::channel(SIGNALS_WAITING);
        let io = ContainerIo {
            stdin: has(0).then(|| Box::new(process_stdin) as _),
            stdout: has(1).then(|| self.output(&id, 1)),
            stderr: has(2).then(|| self.output(&id, 2)),
            signals: Some(process_signals),
            resize: Some(process_sizes),
        };
        let begin =
            || -> Result<_, Status> { Ok((self.client.containers.get(&init.container_id)?, process_op(&init)?)) };
        let begun = begin().map(|(container, op)| (container, ContainerProcess { op, tty: init.tty, io }));
        let outputs = [1, 2].into_iter().filter(|fd| has(*fd)).collect();
        let task = AbortOnDropHandle::new(tokio::spawn(run(begun, id.clone(), outputs, self.answers.clone())));
        self.running.insert(id, Running { stdin: has(0).then_some(stdin), signals, sizes, task });
        Ok(())
    }

    /// Hands output on; the process waits while the client does not read.
    fn output(&self, id: &str, fd: u32) -> frontend::ContainerOutput {
        let (answers, id) = (self.answers.clone(), id.to_string());
        Box::new(move |data| {
            let file = wire::FdMessage { fd, eof: false, data: data.to_vec().into() };
            let message = message(&id, Input::File(file));
            // A client that is gone reads nothing; the process ends with its stream.
            tokio::task::block_in_place(|| drop(answers.blocking_send(Ok(message))));
        })
    }

    async fn input(&mut self, id: &str, file: wire::FdMessage) -> Result<(), Status> {
        // The process may have ended meanwhile.
        let Some(process) = self.running.get_mut(id) else { return Ok(()) };
        if file.fd != 0 {
            return Err(Status::invalid_argument(format!("process {id:?}: file {} is no input", file.fd)));
        }
        let gone = match &mut process.stdin {
            Some(stdin) => stdin.write_all(&file.data).await.is_err(),
            None => false,
        };
        if file.eof || gone {
            process.stdin = None;
        }
        Ok(())
    }
}

fn message(id: &str, input: Input) -> wire::ExecMessage {
    wire::ExecMessage { process_id: id.to_string(), input: Some(input) }
}

/// What the client says of a process, checked as an op is.
fn process_op(init: &wire::InitMessage) -> Result<llb::op::ExecOp, Status> {
    let root = proto::pb::Mount { dest: "/".into(), input: -1, output: -1, ..Default::default() };
    let op = proto::pb::ExecOp {
        meta: init.meta.clone(),
        mounts: vec![root],
        security: init.security,
        secretenv: init.secretenv.clone(),
        ..Default::default()
    };
    exec_op(op, 0)
}

/// Runs a process, and tells of it.
async fn run(
    begun: Result<(Arc<dyn Container>, ContainerProcess), Status>,
    id: String,
    outputs: Vec<u32>,
    answers: mpsc::Sender<Result<wire::ExecMessage, Status>>,
) {
    let tell = async |input| {
        // A client that is gone is told nothing.
        let _ = answers.send(Ok(message(&id, input))).await;
    };
    tell(Input::Started(wire::StartedMessage {})).await;
    let exit = match begun {
        Ok((container, process)) => container.run(process).await.map_err(to_status),
        Err(status) => Err(status),
    };
    for fd in outputs {
        tell(Input::File(wire::FdMessage { fd, eof: true, ..Default::default() })).await;
    }
    tell(Input::Exit(exit_message(exit))).await;
    tell(Input::Done(wire::DoneMessage {})).await;
}

fn exit_message(exit: Result<i32, Status>) -> wire::ExitMessage {
    let error = |code: tonic::Code, message: String| {
        Some(proto::rpc::Status { code: code as i32, message, ..Default::default() })
    };
    match exit {
        Ok(0) => wire::ExitMessage::default(),
        Ok(code) => {
            let error = error(tonic::Code::Unknown, format!("exit code: {code}"));
            wire::ExitMessage { code: code.try_into().unwrap_or(UNKNOWN_EXIT), error }
        }
        Err(status) => {
            wire::ExitMessage { code: UNKNOWN_EXIT, error: error(status.code(), status.message().to_string()) }
        }
    }
}

/// Signals by their names without SIG, as Linux numbers them on most machines.
const SIGNALS: [(&str, i32); 32] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("ILL", 4),
    ("TRAP", 5),
    ("ABRT", 6),
    ("IOT", 6),
    ("BUS", 7),
    ("FPE", 8),
    ("KILL", 9),
    ("USR1", 10),
    ("SEGV", 11),
    ("USR2", 12),
    ("PIPE", 13),
    ("ALRM", 14),
    ("TERM", 15),
    ("STKFLT", 16),
    ("CHLD", 17),
    ("CONT", 18),
    ("STOP", 19),
    ("TSTP", 20),
    ("TTIN", 21),
    ("TTOU", 22),
    ("URG", 23),
    ("XCPU", 24),
    ("XFSZ", 25),
    ("VTALRM", 26),
    ("PROF", 27),
    ("WINCH", 28),
    ("IO", 29),
    ("PWR", 30),
    ("SYS", 31),
];

fn number_of(name: &str) -> Option<i32> {
    let bare = name.strip_prefix("SIG").unwrap_or(name);
    SIGNALS.iter().find(|(own, _)| *own == bare).map(|(_, number)| *number)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_by_name() {
        for (name, number) in [("INT", Some(2)), ("SIGTERM", Some(15)), ("WINCH", Some(28)), ("", None), ("RT", None)] {
            assert_eq!(number_of(name), number, "{name}");
        }
    }

    #[test]
    fn processes_are_checked_as_ops_are() {
        let meta = |args: &[&str], cwd: &str, env: &[&str]| {
            let owned = |list: &[&str]| list.iter().map(|text| text.to_string()).collect();
            Some(proto::pb::Meta { args: owned(args), cwd: cwd.into(), env: owned(env), ..Default::default() })
        };
        let good = wire::InitMessage { meta: meta(&["sh"], "/", &["A=b"]), ..Default::default() };
        assert!(process_op(&good).is_ok());
        let bad = [
            wire::InitMessage::default(),
            wire::InitMessage { meta: meta(&[], "/", &[]), ..Default::default() },
            wire::InitMessage { meta: meta(&["sh"], "a", &[]), ..Default::default() },
            wire::InitMessage { meta: meta(&["sh"], "/", &["A"]), ..Default::default() },
            wire::InitMessage { meta: meta(&["a\0"], "/", &[]), ..Default::default() },
            wire::InitMessage { security: 2, ..good.clone() },
            wire::InitMessage { security: -1, ..good.clone() },
            wire::InitMessage { security: i32::MAX, ..good.clone() },
            wire::InitMessage { secretenv: vec![proto::pb::SecretEnv::default()], ..good },
        ];
        for init in bad {
            assert_eq!(process_op(&init).unwrap_err().code(), tonic::Code::InvalidArgument, "{init:?}");
        }
    }

    #[test]
    fn exits() {
        let table = [(Ok(0), 0, None), (Ok(3), 3, Some(2)), (Err(Status::permission_denied("no")), 255, Some(7))];
        for (exit, code, error) in table {
            let message = exit_message(exit);
            assert_eq!((message.code, message.error.map(|error| error.code)), (code, error));
        }
    }
}
