//! The exec op over a real store and the built-in executor, with a root made of a static busybox.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::symlink,
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use async_trait::async_trait;
use exec::Exit;
use libtest_mimic::{Arguments, Trial};
use llb::{
    Edge, Graph, Op, Platform, VertexMeta,
    op::{CacheSharing, ExecOp, Mount, MountKind, ProxyEnv, SecretEnv, SourceOp},
};
use ops::{Environment, ExecError, Vertices};
use session::{FileWriter, Filter, Session, SshSocket, Token, TokenRequest};
use solver::{
    Context,
    progress::{EventKind, Sink},
};
use store::{Options, Snapshot, Store};

const BUSYBOX: &str = "/bin/busybox";

fn main() {
    exec::helper_main();
    let args = Arguments::from_args();
    let missing = missing();
    if let Some(why) = &missing {
        eprintln!("skipped: every test of exec ops: {why}");
    }
    let trials = SUITE.iter().filter(|_| missing.is_none()).map(|(name, test)| {
        Trial::test(*name, move || {
            let runtime = tokio::runtime::Runtime::new()?;
            runtime.block_on(async { test(Bench::new().await).await });
            Ok(())
        })
    });
    libtest_mimic::run(&args, trials.collect()).exit();
}

fn missing() -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    (!Path::new(BUSYBOX).exists()).then(|| format!("needs a static {BUSYBOX}"))
}

type Test = fn(Bench) -> futures::future::BoxFuture<'static, ()>;

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        const SUITE: &[(&str, Test)] = &[$((stringify!($name), |bench| Box::pin($name(bench)))),*];
    };
}

suite![
    the_root_becomes_an_output,
    a_failure_keeps_the_files,
    exit_codes_that_count_as_success,
    a_process_that_cannot_start,
    outputs_in_the_order_of_their_numbers,
    binds_with_and_without_outputs,
    a_root_without_output_is_thrown_away,
    cache_mounts_keep_and_are_seeded,
    private_cache_mounts_are_apart,
    locked_cache_mounts_wait,
    two_steps_with_two_locks_end,
    secrets_reach_the_process_alone,
    agents_are_forwarded,
    proxies_under_both_names,
    a_dropped_step_lets_everything_go,
    malformed_mounts_are_errors,
];

struct Bench {
    dir: tempfile::TempDir,
    environment: Environment,
    root: Snapshot,
    log: Arc<Mutex<String>>,
}

impl Bench {
    async fn new() -> Bench {
        let dir = tempfile::tempdir().unwrap();
        let store = Store::open(&dir.path().join("store"), Options { snapshotter: None, max_bytes: None }).unwrap();
        let executor = Arc::new(exec::Builtin::new(&dir.path().join("exec")).unwrap());
        let platform = Platform { os: "linux".into(), architecture: "amd64".into(), ..Platform::default() };
        let root = tree(&store, busybox).await;
        let environment = Environment {
            store,
            sources: Default::default(),
            executor,
            sessions: Vec::new(),
            platform,
            pins: Default::default(),
            cdi: Arc::default(),
            tracing: None,
        };
        Bench { dir, environment, root, log: Arc::default() }
    }

    fn store(&self) -> &Store {
        &self.environment.store
    }

    /// Runs `op` over these inputs.
    async fn run(&self, op: ExecOp, inputs: &[&Snapshot]) -> anyhow::Result<Vec<Snapshot>> {
        let mut graph = Graph::new();
        let mut edges = Vec::new();
        for number in 0..inputs.len() {
            let source = SourceOp { identifier: format!("local://{number}"), ..SourceOp::default() };
            let vertex = graph.add(Op::Source(source), vec![], None, vec![], VertexMeta::default())?;
            edges.push(Edge { vertex, output: 0 });
        }
        let vertex = graph.add(Op::Exec(op), edges, None, vec![], VertexMeta::default())?;
        let vertex = Vertices::new(self.environment.clone(), false).vertex(&graph, Edge { vertex, output: 0 })?;
        let log = self.log.clone();
        let progress = Sink::new(move |event| {
            if let EventKind::Log { data, .. } = event.kind {
                log.lock().unwrap().push_str(&String::from_utf8_lossy(&data));
            }
        });
        vertex.op.run(inputs.iter().map(|input| (*input).clone()).collect(), &Context { progress }).await
    }

    /// Runs `op` over the root alone.
    async fn alone(&self, op: ExecOp) -> anyhow::Result<Vec<Snapshot>> {
        self.run(op, &[&self.root]).await
    }

    /// Runs a script over the root and these inputs, and returns what it wrote.
    async fn output(&self, script: &str, mounts: Vec<Mount>, inputs: &[&Snapshot]) -> String {
        let inputs: Vec<&Snapshot> = std::iter::once(&self.root).chain(inputs.iter().copied()).collect();
        self.run(script_op(script, mounts), &inputs).await.unwrap();
        self.logged()
    }

    fn logged(&self) -> String {
        std::mem::take(&mut *self.log.lock().unwrap())
    }

    async fn logs(&self, what: &str) {
        while !self.log.lock().unwrap().contains(what) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

async fn tree(store: &Store, fill: impl FnOnce(&Path)) -> Snapshot {
    let draft = store.draft(&store.scratch()).await.unwrap();
    fill(draft.path());
    draft.commit().await.unwrap()
}

fn busybox(root: &Path) {
    for dir in ["bin", "proc", "sys", "dev", "etc"] {
        fs::create_dir(root.join(dir)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("bin/busybox")).unwrap();
    for name in ["sh", "cat", "echo", "ls", "sleep", "stat", "touch", "env"] {
        symlink("busybox", root.join("bin").join(name)).unwrap();
    }
}

/// A script over input 0 as its root, which is output 0.
fn script_op(script: &str, mounts: Vec<Mount>) -> ExecOp {
    let root = Mount { input: Some(0), dest: "/".into(), output: Some(0), ..Mount::default() };
    ExecOp {
        args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
        env: vec!["PATH=/bin".into()],
        cwd: "/".into(),
        mounts: std::iter::once(root).chain(mounts).collect(),
        ..ExecOp::default()
    }
}

fn mount(input: Option<u32>, dest: &str, kind: MountKind) -> Mount {
    Mount { input, dest: dest.into(), kind, ..Mount::default() }
}

fn cache(id: &str, sharing: CacheSharing, input: Option<u32>) -> Mount {
    mount(input, "/cache", MountKind::Cache { id: id.into(), sharing })
}

async fn read(snapshot: &Snapshot, path: &str) -> Option<String> {
    let view = snapshot.view().await.unwrap();
    fs::read_to_string(view.path().join(path)).ok()
}

async fn list(snapshot: &Snapshot, path: &str) -> Vec<String> {
    let view = snapshot.view().await.unwrap();
    let entries = fs::read_dir(view.path().join(path)).unwrap();
    let mut names: Vec<_> = entries.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

async fn the_root_becomes_an_output(bench: Bench) {
    let op = script_op("echo hi > /out; echo said; echo warned >&2; cat /etc/hosts", vec![]);
    let outputs = bench.alone(op).await.unwrap();
    assert_eq!(outputs.len(), 1);
    assert_eq!(read(&outputs[0], "out").await.as_deref(), Some("hi\n"));
    assert_eq!(list(&outputs[0], "etc").await, Vec::<String>::new());
    assert_eq!(list(&outputs[0], "").await, ["bin", "dev", "etc", "out", "proc", "sys"]);
    assert_eq!(list(&bench.root, "").await, ["bin", "dev", "etc", "proc", "sys"]);
    let log = bench.logged();
    for said in ["said\n", "warned\n", "127.0.0.1\tlocalhost buildkitsandbox\n"] {
        assert!(log.contains(said), "{log}");
    }
}

async fn a_failure_keeps_the_files(bench: Bench) {
    let tmpfs = mount(None, "/t", MountKind::Tmpfs { size: 0 });
    let error = bench.alone(script_op("echo half > /out; exit 3", vec![tmpfs])).await.err().unwrap();
    assert_eq!(
        error.to_string(),
        "process \"/bin/sh -c echo half > /out; exit 3\" did not complete successfully: exit code: 3"
    );
    let error: &ExecError = error.downcast_ref().unwrap();
    assert_eq!((error.exit, error.code()), (Exit::Code(3), 3));
    assert_eq!(error.mounts.len(), 2);
    assert_eq!(read(error.mounts[0].as_ref().unwrap(), "out").await.as_deref(), Some("half\n"));
    assert!(error.mounts[1].is_none());
}

async fn exit_codes_that_count_as_success(bench: Bench) {
    let op = |script: &str| ExecOp { valid_exit_codes: vec![3, 137], ..script_op(script, vec![]) };
    assert!(bench.alone(op("exit 3")).await.is_ok());
    assert!(bench.alone(op("exit 0")).await.is_err());
}

async fn a_process_that_cannot_start(bench: Bench) {
    let op = ExecOp { args: vec!["nope".into(), "arg".into()], ..script_op("", vec![]) };
    let error = format!("{:#}", bench.alone(op).await.err().unwrap());
    assert!(error.contains("process \"nope arg\" could not be run") && error.contains("not found"), "{error}");
}

async fn outputs_in_the_order_of_their_numbers(bench: Bench) {
    let mut op = script_op("echo root > /o; echo extra > /m/o", vec![]);
    op.mounts[0].output = Some(1);
    op.mounts.push(Mount { output: Some(0), ..mount(None, "/m", MountKind::Bind) });
    let outputs = bench.alone(op).await.unwrap();
    assert_eq!(read(&outputs[0], "o").await.as_deref(), Some("extra\n"));
    assert_eq!(read(&outputs[1], "o").await.as_deref(), Some("root\n"));
    assert_eq!(list(&outputs[1], "").await, ["bin", "dev", "etc", "o", "proc", "sys"]);
}

async fn binds_with_and_without_outputs(bench: Bench) {
    let input = tree(bench.store(), |dir| {
        fs::create_dir_all(dir.join("a/b")).unwrap();
        fs::write(dir.join("a/b/f"), "text").unwrap();
        symlink("/a/b", dir.join("link")).unwrap();
    })
    .await;
    let bind = |dest: &str, selector: &str, readonly, output| Mount {
        selector: selector.into(),
        readonly,
        output,
        ..mount(Some(1), dest, MountKind::Bind)
    };
    let mounts = vec![
        bind("/rw/below", "a/b/f", true, None),
        bind("/ro", "/link", true, Some(1)),
        bind("/rw", "a", false, Some(2)),
        bind("/lost", "", false, None),
    ];
    let op = script_op(
        "cat /ro/f /rw/below; touch /ro/x 2>/dev/null || echo no; echo y > /rw/y; echo z > /lost/z; ls /lost",
        mounts,
    );
    let outputs = bench.run(op, &[&bench.root, &input]).await.unwrap();
    assert_eq!(bench.logged(), "texttextno\na\nlink\nz\n");
    assert_eq!(list(&outputs[1], "").await, ["a", "link"]);
    assert_eq!(read(&outputs[2], "a/y").await.as_deref(), Some("y\n"));
    assert_eq!(list(&input, "").await, ["a", "link"]);
}

async fn a_root_without_output_is_thrown_away(bench: Bench) {
    let mut op = script_op("touch /x 2>/dev/null || echo no; cat /etc/resolv.conf > /m/o", vec![]);
    (op.mounts[0].output, op.mounts[0].readonly) = (None, true);
    op.mounts.push(Mount { output: Some(0), ..mount(None, "/m", MountKind::Bind) });
    let outputs = bench.alone(op).await.unwrap();
    assert_eq!((bench.logged().as_str(), outputs.len()), ("no\n", 1));
    assert!(read(&outputs[0], "o").await.is_some());
}

async fn cache_mounts_keep_and_are_seeded(bench: Bench) {
    let seed = tree(bench.store(), |dir| fs::write(dir.join("seed"), "s").unwrap()).await;
    for sharing in [CacheSharing::Shared, CacheSharing::Locked, CacheSharing::Private] {
        let id = format!("{sharing:?}");
        let add = "ls /cache; echo 1 > /cache/$(ls /cache | busybox wc -l)";
        assert_eq!(bench.output(add, vec![cache(&id, sharing, None)], &[]).await, "");
        assert_eq!(bench.output(add, vec![cache(&id, sharing, None)], &[]).await, "0\n");
        // The same id over a seed is another one.
        assert_eq!(bench.output(add, vec![cache(&id, sharing, Some(1))], &[&seed]).await, "seed\n");
        assert_eq!(bench.output(add, vec![cache(&id, sharing, Some(1))], &[&seed]).await, "1\nseed\n");
    }
    assert_eq!(list(&seed, "").await, ["seed"]);
    // One id mounted twice in a step is one mount, even if it is locked.
    let twice = vec![
        cache("twice", CacheSharing::Locked, None),
        Mount { dest: "/again".into(), ..cache("twice", CacheSharing::Locked, None) },
    ];
    assert_eq!(bench.output("echo x > /cache/f; cat /again/f", twice, &[]).await, "x\n");
}

async fn private_cache_mounts_are_apart(bench: Bench) {
    let mount = || vec![cache("p", CacheSharing::Private, None)];
    let first = bench.alone(script_op("touch /cache/mine; echo up; while ! [ -e /go ]; do :; done", mount()));
    let second = async {
        bench.logs("up").await;
        bench.alone(script_op("ls /cache; echo end", mount())).await.unwrap();
    };
    tokio::select! {
        _ = first => panic!("it must wait for ever"),
        () = second => {}
    }
    assert_eq!(bench.logged(), "up\nend\n");
}

async fn locked_cache_mounts_wait(bench: Bench) {
    let step = |n: u32| {
        let script = format!("[ -e /cache/busy ] && exit 1; touch /cache/busy; echo {n}; busybox rm /cache/busy");
        script_op(&script, vec![cache("l", CacheSharing::Locked, None)])
    };
    let results = futures::future::join_all((0..6).map(|n| bench.alone(step(n)))).await;
    for result in results {
        result.unwrap();
    }
    assert_eq!(bench.logged().lines().count(), 6);
}

async fn two_steps_with_two_locks_end(bench: Bench) {
    let step = |order: [&str; 2]| {
        let mounts = order.map(|id| Mount { dest: format!("/{id}"), ..cache(id, CacheSharing::Locked, None) });
        script_op("true", mounts.to_vec())
    };
    for _ in 0..3 {
        let both = futures::join!(bench.alone(step(["a", "b"])), bench.alone(step(["b", "a"])));
        assert!(both.0.is_ok() && both.1.is_ok());
    }
}

async fn secrets_reach_the_process_alone(mut bench: Bench) {
    bench.environment.sessions = vec![Arc::new(Client::default()), Arc::new(Client::with_secret("token", "hush"))];
    let secret = |id: &str, optional| MountKind::Secret { id: id.into(), uid: 7, gid: 8, mode: 0o400, optional };
    let mounts =
        vec![mount(None, "/run/secrets/t", secret("token", false)), mount(None, "/none", secret("none", true))];
    let variable = |id: &str, name: &str, optional| SecretEnv { id: id.into(), name: name.into(), optional };
    let op = ExecOp {
        secret_env: vec![variable("token", "T", false), variable("none", "N", true)],
        ..script_op("cat /run/secrets/t; stat -c ' %u:%g %a' /run/secrets/t; echo $T-${N-unset}; ls /none", mounts)
    };
    let ended = bench.alone(op).await;
    assert!(ended.err().unwrap().to_string().ends_with("exit code: 1"), "there is no /none");
    assert!(bench.logged().starts_with("hush 7:8 400\nhush-\n"));

    let missing = script_op("", vec![mount(None, "/s", secret("absent", false))]);
    let error = format!("{:#}", bench.alone(missing).await.err().unwrap());
    assert!(error.contains("mount at /s") && error.contains("secret absent: not found"), "{error}");
    let op = ExecOp { secret_env: vec![variable("absent", "A", false)], ..script_op("", vec![]) };
    let error = format!("{:#}", bench.alone(op).await.err().unwrap());
    assert!(error.contains("variable A") && error.contains("secret absent"), "{error}");
}

async fn agents_are_forwarded(mut bench: Bench) {
    let ssh = |id: &str, optional| MountKind::Ssh { id: id.into(), uid: 1, gid: 2, mode: 0o600, optional };
    let at = |id: &str, optional| vec![mount(None, "/run/agent", ssh(id, optional))];
    let agent = bench.dir.path().join("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&agent).unwrap();
    bench.environment.sessions = vec![Arc::new(Client { agent: Some(agent), ..Client::default() })];
    let text = bench.output("stat -c '%F %u:%g %a' /run/agent", at("default", false), &[]).await;
    assert_eq!(text, "socket 1:2 600\n");
    assert_eq!(bench.output("ls /run/agent 2>/dev/null || echo none", at("other", true), &[]).await, "none\n");
    let error = bench.alone(script_op("", at("other", false))).await.err().unwrap();
    assert!(format!("{error:#}").contains("no SSH key \"other\" forwarded"), "{error:#}");
}

async fn proxies_under_both_names(bench: Bench) {
    let proxy = ProxyEnv { http_proxy: "http://p".into(), no_proxy: "local".into(), ..ProxyEnv::default() };
    let op = ExecOp {
        proxy_env: Some(proxy),
        env: vec![],
        ..script_op("/bin/env | /bin/busybox grep -i -e proxy -e ^PATH | /bin/busybox sort", vec![])
    };
    bench.alone(op).await.unwrap();
    let expect = "HTTP_PROXY=http://p\nNO_PROXY=local\nPATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin\nhttp_proxy=http://p\nno_proxy=local\n";
    assert_eq!(bench.logged(), expect);
}

async fn a_dropped_step_lets_everything_go(bench: Bench) {
    let locked = || vec![cache("d", CacheSharing::Locked, None)];
    tokio::select! {
        _ = bench.alone(script_op("echo up; sleep 1000", locked())) => panic!("it must wait for ever"),
        () = bench.logs("up") => {}
    }
    // The lock is free again once the container is gone.
    assert_eq!(bench.output("echo next", locked(), &[]).await, "up\nnext\n");
}

async fn malformed_mounts_are_errors(bench: Bench) {
    let no_root = ExecOp { mounts: vec![], ..script_op("", vec![]) };
    let tmpfs_root = ExecOp { mounts: vec![mount(None, "/", MountKind::Tmpfs { size: 0 })], ..script_op("", vec![]) };
    let mut part = script_op("", vec![]);
    part.mounts[0].selector = "bin".into();
    let gone = Mount { selector: "nope".into(), readonly: true, ..mount(Some(0), "/m", MountKind::Bind) };
    for op in [no_root, tmpfs_root, part, script_op("", vec![gone])] {
        let shown = format!("{:?}", op.mounts);
        assert!(bench.alone(op).await.is_err(), "{shown}");
    }
}

/// A client with at most one secret and one agent, "default".
#[derive(Default)]
struct Client {
    secrets: BTreeMap<String, String>,
    agent: Option<PathBuf>,
}

impl Client {
    fn with_secret(id: &str, value: &str) -> Client {
        Client { secrets: BTreeMap::from([(id.into(), value.into())]), agent: None }
    }
}

#[async_trait]
impl Session for Client {
    fn id(&self) -> &str {
        "client"
    }
    fn shared_key(&self) -> &str {
        ""
    }
    fn local_dir(&self, _: &str) -> Option<Arc<cap_std::fs::Dir>> {
        None
    }
    async fn sync_dir(&self, name: &str, _: &Filter, _: PathBuf, _: &(dyn Fn(u64, u64) + Sync)) -> anyhow::Result<()> {
        anyhow::bail!("no directory {name}")
    }
    async fn credentials(&self, _: &str) -> anyhow::Result<(String, String)> {
        Ok(Default::default())
    }
    async fn fetch_token(&self, _: TokenRequest) -> anyhow::Result<Option<Token>> {
        Ok(None)
    }
    async fn secret(&self, id: &str) -> anyhow::Result<Option<Vec<u8>>> {
        Ok(self.secrets.get(id).map(|value| value.clone().into_bytes()))
    }
    async fn check_ssh(&self, id: &str) -> anyhow::Result<()> {
        anyhow::ensure!(id == "default" && self.agent.is_some(), "no agent {id}");
        Ok(())
    }
    async fn forward_ssh(&self, id: &str) -> anyhow::Result<SshSocket> {
        self.check_ssh(id).await?;
        Ok(SshSocket { path: self.agent.clone().unwrap(), guard: Box::new(()) })
    }
    async fn send_dir(
        &self,
        _: &str,
        _: Vec<session::ExportTree>,
        _: &BTreeMap<String, String>,
        _: &(dyn Fn(u64, u64) + Sync),
    ) -> anyhow::Result<()> {
        anyhow::bail!("exports nothing")
    }
    async fn send_file(&self, _: &str, _: &BTreeMap<String, String>) -> anyhow::Result<Box<dyn FileWriter>> {
        anyhow::bail!("exports nothing")
    }
    async fn pull_upload(&self, path: &str) -> anyhow::Result<Box<dyn tokio::io::AsyncRead + Send + Unpin>> {
        anyhow::bail!("no upload {path}")
    }
}
