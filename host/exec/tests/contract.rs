//! What every executor must do: one suite, run for each kind that works here, over a root made of a static busybox.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::{Path, PathBuf},
    sync::{Arc, Mutex},
};

use exec::{Builtin, Config, Executor, Exit, Io, Mount, MountKind, Network, Oci, Process};
use libtest_mimic::{Arguments, Failed, Trial};

const BUSYBOX: &str = "/bin/busybox";

fn main() {
    exec::helper_main();
    let args = Arguments::from_args();
    let mut trials = Vec::new();
    for kind in ["builtin", "runc", "crun"] {
        if let Some(why) = unavailable(kind) {
            eprintln!("skipped: every test of {kind}: {why}");
            continue;
        }
        for (name, test) in SUITE {
            trials.push(Trial::test(format!("{kind}::{name}"), move || run(kind, *test)));
        }
    }
    trials.push(Trial::test("select::names_what_is_missing", || block_on(names_what_is_missing())));
    libtest_mimic::run(&args, trials).exit();
}

type Test = fn(Bench) -> futures::future::BoxFuture<'static, ()>;

/// An executor and a fresh root.
struct Bench {
    executor: Arc<dyn Executor>,
    dir: tempfile::TempDir,
}

fn unavailable(kind: &str) -> Option<String> {
    if !rustix::process::geteuid().is_root() {
        return Some("needs root".into());
    }
    if !Path::new(BUSYBOX).exists() {
        return Some(format!("needs a static {BUSYBOX}"));
    }
    let dir = tempfile::tempdir().unwrap();
    let probe = async {
        let config = Config {
            name: Some(kind.into()),
            state: dir.path().into(),
            dns: Arc::default(),
            cgroup_parent: String::new(),
            networks: exec::Networks::default(),
            keep: exec::Keep::default(),
        };
        let process =
            Process { args: vec!["/busybox".into(), "true".into()], rootfs: root(dir.path()), ..Process::default() };
        exec::select(config)?.run(process, Io::default()).await
    };
    match block_on(probe) {
        Ok(_) => None,
        Err(e) => Some(format!("{e:#}")),
    }
}

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap().block_on(future)
}

fn run(kind: &str, test: Test) -> Result<(), Failed> {
    let dir = tempfile::tempdir().unwrap();
    let state = dir.path().join("state");
    let executor: Arc<dyn Executor> = match kind {
        "builtin" => Arc::new(Builtin::new(&state).unwrap()),
        _ => Arc::new(Oci::new(kind.as_ref(), &state).unwrap()),
    };
    block_on(test(Bench { executor, dir }));
    Ok(())
}

/// A root with busybox under its names.
fn root(dir: &Path) -> PathBuf {
    let root = dir.join("root");
    for sub in ["bin", "etc", "tmp", "proc", "sys", "dev", "root"] {
        fs::create_dir_all(root.join(sub)).unwrap();
    }
    fs::copy(BUSYBOX, root.join("busybox")).unwrap();
    for name in [
        "sh", "true", "cat", "echo", "id", "sleep", "ls", "mkdir", "touch", "ip", "hostname", "kill", "stat", "tty",
        "dd",
    ] {
        symlink("/busybox", root.join("bin").join(name)).unwrap();
    }
    fs::set_permissions(root.join("tmp"), fs::Permissions::from_mode(0o1777)).unwrap();
    root
}

#[derive(Clone, Default)]
struct Output(Arc<Mutex<String>>);

impl Output {
    fn sink(&self) -> Option<exec::Sink> {
        let text = self.0.clone();
        Some(Box::new(move |bytes| text.lock().unwrap().push_str(&String::from_utf8_lossy(bytes))))
    }
    fn take(&self) -> String {
        std::mem::take(&mut *self.0.lock().unwrap())
    }
    /// Waits until `what` was written.
    async fn wait_for(&self, what: &str) {
        while !self.0.lock().unwrap().contains(what) {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
    }
}

impl Bench {
    fn root(&self) -> PathBuf {
        self.root_in("")
    }

    /// The root below a directory of this name.
    fn root_in(&self, name: &str) -> PathBuf {
        let root = self.dir.path().join(name).join("root");
        if root.exists() { root } else { crate::root(root.parent().unwrap()) }
    }

    /// A process that runs `script` by busybox's shell.
    fn script(&self, script: &str) -> Process {
        Process {
            rootfs: self.root(),
            args: ["/bin/sh", "-c", script].map(String::from).to_vec(),
            env: vec!["PATH=/bin".into()],
            cwd: "/".into(),
            ..Process::default()
        }
    }

    /// Both outputs of a process, and how it ended.
    async fn output(&self, process: Process) -> (Exit, String) {
        let output = Output::default();
        let io = Io { stdout: output.sink(), stderr: output.sink(), ..Io::default() };
        let exit = self.executor.run(process, io).await.unwrap();
        (exit, output.take())
    }

    async fn check(&self, process: Process, expect: &str) {
        let (exit, text) = self.output(process).await;
        assert_eq!((exit, text.as_str()), (Exit::Code(0), expect));
    }

    async fn fails(&self, process: Process) -> String {
        match self.executor.run(process, Io::default()).await {
            Err(e) => format!("{e:#}"),
            Ok(exit) => panic!("it ran and ended with {exit:?}"),
        }
    }
}

macro_rules! suite {
    ($($name:ident),* $(,)?) => {
        const SUITE: &[(&str, Test)] = &[$((stringify!($name), |bench| Box::pin($name(bench)))),*];
    };
}

suite![
    exit_codes,
    signals_from_inside_and_outside,
    environment_and_arguments,
    output_in_order,
    input_is_fed,
    missing_command,
    working_directory_is_made,
    users,
    hostile_passwd,
    read_only_root,
    binds,
    selectors_stay_inside,
    tmpfs,
    secrets,
    no_network,
    host_names,
    ulimits,
    capabilities,
    insecure,
    seccomp,
    masked_paths,
    devices,
    device_nodes_outside_of_dev,
    drop_kills_everything,
    the_end_of_the_first_process_ends_the_others,
    links_at_mount_targets_stay_inside,
    mount_points_are_removed,
    terminal,
    sockets,
    many_at_once,
    the_fork_server_can_be_killed,
];

async fn exit_codes(bench: Bench) {
    for code in [0, 1, 42, 255] {
        assert_eq!(bench.output(bench.script(&format!("exit {code}"))).await.0, Exit::Code(code));
    }
}

async fn signals_from_inside_and_outside(bench: Bench) {
    // The first process of a namespace gets no signal that it has no handler for from inside; from outside only SIGKILL is sure.
    let output = Output::default();
    let (send, signals) = tokio::sync::mpsc::channel(4);
    let io = Io { stdout: output.sink(), signals: Some(signals), ..Io::default() };
    let process = bench.script("trap 'echo got; exit 7' TERM; echo ready; while :; do sleep 1; done");
    let end = async {
        output.wait_for("ready").await;
        send.send(15).await.unwrap();
    };
    let (exit, ()) = futures::join!(bench.executor.run(process, io), end);
    assert_eq!((exit.unwrap(), output.take().as_str()), (Exit::Code(7), "ready\ngot\n"));

    let (send, signals) = tokio::sync::mpsc::channel(4);
    let io = Io { stdout: output.sink(), signals: Some(signals), ..Io::default() };
    let end = async {
        output.wait_for("ready").await;
        send.send(9).await.unwrap();
    };
    let (exit, ()) = futures::join!(bench.executor.run(bench.script("echo ready; sleep 1000"), io), end);
    assert_eq!(exit.unwrap(), Exit::Signal(9));
}

async fn environment_and_arguments(bench: Bench) {
    let mut process = bench.script("echo \"$A|$B|$1|$0|$HOME|$OTHER\"");
    process.env.extend(["A=1 2".to_string(), "B=x=y".into(), "A=last".into()]);
    process.args.extend(["zero".to_string(), "o n e".into()]);
    bench.check(process, "last|x=y|o n e|zero|/|\n").await;
}

async fn output_in_order(bench: Bench) {
    let mut expect = String::new();
    for n in 0..5000 {
        expect.push_str(&format!("{n}\n"));
    }
    bench.check(bench.script("i=0; while [ $i -lt 5000 ]; do echo $i; i=$((i+1)); done"), &expect).await;
    // A reader that leaves early stops its writer silently: SIGPIPE is not ignored.
    bench.check(bench.script("/busybox yes | /busybox head -n 1; echo end"), "y\nend\n").await;
}

async fn input_is_fed(bench: Bench) {
    let output = Output::default();
    let stdin: &'static [u8] = b"line one\nline two";
    let io = Io { stdin: Some(Box::new(stdin)), stdout: output.sink(), ..Io::default() };
    assert_eq!(bench.executor.run(bench.script("cat; echo; echo end"), io).await.unwrap(), Exit::Code(0));
    assert_eq!(output.take(), "line one\nline two\nend\n");
    bench.check(bench.script("cat"), "").await;
}

async fn missing_command(bench: Bench) {
    let process = Process { args: vec!["nope".into()], ..bench.script("") };
    let why = bench.fails(process).await;
    assert!(why.contains("nope") && why.contains("not found"), "{why}");
    let why = bench.fails(Process { args: vec!["/etc".into()], ..bench.script("") }).await;
    // Each runtime has words of its own for a directory.
    assert!(["ermission denied", "not permitted", "directory"].iter().any(|words| why.contains(words)), "{why}");
}

async fn working_directory_is_made(bench: Bench) {
    let mut process = bench.script("pwd; stat -c '%u:%g %a' .; touch x");
    process.cwd = "/work/a/b".into();
    process.user = "12:34".into();
    bench.check(process, "/work/a/b\n12:34 755\n").await;
    assert!(bench.root().join("work/a/b/x").exists());

    let source = bench.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let mut process = bench.script("pwd");
    process.cwd = "/m/sub".into();
    process.mounts = vec![bind(&source, "", "/m", false)];
    bench.check(process, "/m/sub\n").await;
    assert!(source.join("sub").is_dir());
}

async fn users(bench: Bench) {
    let etc = bench.root().join("etc");
    fs::write(etc.join("passwd"), "root:x:0:0::/root:/bin/sh\nann:x:1000:100::/home/ann:/bin/sh\n").unwrap();
    fs::write(etc.join("group"), "users:x:100:\nwheel:x:10:ann\n").unwrap();
    for (user, expect) in [
        ("", "0:0 0 /root"),
        ("ann", "1000:100 100 10 /home/ann"),
        ("ann:wheel", "1000:10 10 /home/ann"),
        ("77:88", "77:88 88 /"),
    ] {
        let process = Process { user: user.into(), ..bench.script("echo $(id -u):$(id -g) $(id -G) $HOME") };
        bench.check(process, &format!("{expect}\n")).await;
    }
    let why = bench.fails(Process { user: "nobody".into(), ..bench.script("") }).await;
    assert!(why.contains("no user \"nobody\""), "{why}");
}

async fn hostile_passwd(bench: Bench) {
    let passwd = bench.root().join("etc/passwd");
    symlink("/proc/self/environ", &passwd).unwrap();
    let why = bench.fails(Process { user: "ann".into(), ..bench.script("") }).await;
    assert!(why.contains("ann"), "{why}");
    fs::remove_file(&passwd).unwrap();
    rustix::fs::mknodat(rustix::fs::CWD, &passwd, rustix::fs::FileType::Fifo, rustix::fs::Mode::RWXU, 0).unwrap();
    let why = bench.fails(Process { user: "ann".into(), ..bench.script("") }).await;
    assert!(why.contains("not a regular file"), "{why}");
}

async fn read_only_root(bench: Bench) {
    let process =
        Process { readonly_root: true, ..bench.script("touch /x 2>/dev/null || echo no; cat /etc/hosts >/dev/null") };
    bench.check(process, "no\n").await;
}

fn bind(source: &Path, selector: &str, target: &str, readonly: bool) -> Mount {
    let kind = MountKind::Bind { source: source.into(), selector: selector.into() };
    Mount { target: target.into(), kind, readonly }
}

async fn binds(bench: Bench) {
    let source = bench.dir.path().join("source");
    fs::create_dir_all(source.join("sub")).unwrap();
    fs::write(source.join("sub/file"), "text").unwrap();
    let mut process = bench.script("cat /ro/sub/file /file /sel/file; touch /ro/x 2>/dev/null || echo no; touch /rw/y");
    process.mounts = vec![
        bind(&source, "/", "/ro", true),
        bind(&source, "", "/rw", false),
        bind(&source, "sub/file", "/file", true),
        bind(&source, "/sub", "sel", true),
    ];
    bench.check(process, "texttexttextno\n").await;
    assert!(source.join("y").exists());
}

async fn selectors_stay_inside(bench: Bench) {
    let source = bench.dir.path().join("source");
    fs::create_dir_all(source.join("etc")).unwrap();
    fs::write(source.join("etc/name"), "inside").unwrap();
    symlink("/etc", source.join("absolute")).unwrap();
    symlink("../../../../../../etc", source.join("climbs")).unwrap();
    for selector in ["absolute", "climbs", "../../../etc"] {
        let mut process = bench.script("cat /m/name");
        process.mounts = vec![bind(&source, selector, "/m", true)];
        bench.check(process, "inside").await;
    }
    let mut process = bench.script("");
    process.mounts = vec![bind(&source, "nope", "/m", true)];
    let why = bench.fails(process).await;
    assert!(why.contains("nope") && why.contains("/m"), "{why}");
}

async fn tmpfs(bench: Bench) {
    let mut process = bench.script(
        "dd if=/dev/zero of=/t/x bs=1024 count=64 2>/dev/null && echo fits; dd if=/dev/zero of=/t/y bs=1024 count=2048 2>/dev/null || echo full; stat -c %a /t",
    );
    process.mounts = vec![Mount { target: "/t".into(), kind: MountKind::Tmpfs { size: 1 << 20 }, readonly: false }];
    bench.check(process, "fits\nfull\n1777\n").await;
    assert!(!bench.root().join("t").exists());
}

async fn secrets(bench: Bench) {
    let secret = |uid, gid, mode| MountKind::Secret { data: Arc::from(*b"hush"), uid, gid, mode };
    let mut process = bench.script("cat /run/secrets/s; stat -c ' %u:%g %a' /run/secrets/s; stat -c '%u:%g %a' /t; (echo x > /run/secrets/s) 2>/dev/null || echo no");
    process.mounts = vec![
        Mount { target: "/run/secrets/s".into(), kind: secret(0, 0, 0o400), readonly: true },
        Mount { target: "/t".into(), kind: secret(5, 6, 0o640), readonly: true },
    ];
    bench.check(process, "hush 0:0 400\n5:6 640\nno\n").await;
    let state: Vec<_> = fs::read_dir(bench.dir.path().join("state/stage")).unwrap().collect();
    assert!(state.is_empty(), "the secret was outside of the helper's tmpfs: {state:?}");
}

async fn no_network(bench: Bench) {
    let script = "ls /sys/class/net; ip addr show lo | /busybox grep -c 'inet 127.0.0.1'; cat /etc/resolv.conf";
    let process = Process { network: Network::None, ..bench.script(script) };
    bench.check(process, "lo\n1\n").await;
    let host = fs::read_dir("/sys/class/net").unwrap().count();
    let process = Process { network: Network::Default, ..bench.script("ls /sys/class/net | /busybox wc -l") };
    bench.check(process, &format!("{host}\n")).await;
}

async fn host_names(bench: Bench) {
    bench.check(bench.script("hostname"), "buildkitsandbox\n").await;
    let process = Process {
        hostname: "here".into(),
        extra_hosts: vec![("db".into(), "10.1.2.3".into())],
        ..bench.script("hostname; cat /etc/hosts")
    };
    let expect = "here\n127.0.0.1\tlocalhost here\n::1\tlocalhost ip6-localhost ip6-loopback\n10.1.2.3\tdb\n";
    bench.check(process, expect).await;
}

async fn ulimits(bench: Bench) {
    let mut process = bench.script("ulimit -Sn; ulimit -Hn; ulimit -c");
    process.ulimits = vec![("nofile".into(), 100, 200), ("core".into(), -1, -1)];
    bench.check(process, "100\n200\nunlimited\n").await;
}

async fn capabilities(bench: Bench) {
    let script = "/busybox grep -E '^(Cap|NoNewPrivs|Seccomp:)' /proc/self/status";
    let sets = |prm: &str| {
        format!(
            "CapInh:\t0000000000000000\nCapPrm:\t{prm}\nCapEff:\t{prm}\nCapBnd:\t00000000a80425fb\nCapAmb:\t0000000000000000\nNoNewPrivs:\t0\nSeccomp:\t2\n"
        )
    };
    bench.check(bench.script(script), &sets("00000000a80425fb")).await;
    let process = Process { user: "5:5".into(), ..bench.script(script) };
    bench.check(process, &sets("0000000000000000")).await;
}

async fn insecure(bench: Bench) {
    let process = Process {
        insecure: true,
        ..bench.script(
            "/busybox grep -E '^(CapBnd|Seccomp:)' /proc/self/status; /busybox mount -t tmpfs x /tmp && echo mounted",
        )
    };
    let own = fs::read_to_string("/proc/self/status").unwrap();
    let bounding = own.lines().find(|l| l.starts_with("CapBnd")).unwrap();
    bench.check(process, &format!("{bounding}\nSeccomp:\t0\nmounted\n")).await;
}

async fn seccomp(bench: Bench) {
    for call in ["unshare -m true", "mount -t tmpfs x /tmp", "unshare -U true"] {
        let (exit, text) = bench.output(bench.script(&format!("/busybox {call}"))).await;
        assert!(
            exit != Exit::Code(0) && (text.contains("not permitted") || text.contains("denied")),
            "{call}: {exit:?} {text}"
        );
    }
}

async fn masked_paths(bench: Bench) {
    let script = "cat /proc/keys /proc/timer_list 2>/dev/null; ls /sys/firmware; for f in /proc/sys/vm/swappiness /sys/kernel/mm/ksm/run; do (echo 1 > $f) 2>/dev/null && echo wrote $f; done; mkdir /sys/fs/cgroup/x 2>/dev/null && echo made; ls /sys/fs/cgroup | /busybox head -n 1; exit 0";
    let (exit, text) = bench.output(bench.script(script)).await;
    assert_eq!(exit, Exit::Code(0));
    // Of cgroups a process sees at most what it is in.
    assert!(!text.contains("wrote") && !text.contains("made") && text.lines().count() <= 1, "{text}");
}

async fn devices(bench: Bench) {
    // A node can be made, but not opened: for the filter of devices, or the mount's option where there is none. 1:1 is /dev/mem, 7:0 a
    // loop device.
    let script = "echo x > /dev/null; dd if=/dev/zero of=/tmp/z bs=1 count=1 2>/dev/null && echo ok; ls /dev | /busybox tr '\\n' ' '; /busybox mknod /tmp/m c 1 1 && (cat /tmp/m >/dev/null) 2>&1; /busybox mknod /dev/l b 7 0 && (cat /dev/l) 2>&1";
    let (_, text) = bench.output(bench.script(script)).await;
    assert!(text.starts_with("ok\n"), "{text}");
    for name in ["null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "mqueue", "fd", "stdin"] {
        assert!(text.split_whitespace().any(|n| n == name), "{name} in {text}");
    }
    let refusals = ["Operation not permitted", "Permission denied"].map(|why| text.matches(why).count());
    assert_eq!(refusals.iter().sum::<usize>(), 2, "{text}");
}

async fn device_nodes_outside_of_dev(bench: Bench) {
    let root = bench.root();
    let other = bench.dir.path().join("other");
    fs::create_dir(&other).unwrap();
    // Of /dev/zero, which every filter of devices lets pass.
    let zero = rustix::fs::makedev(1, 5);
    for dir in [&root, &other] {
        let mode = rustix::fs::Mode::from_raw_mode(0o666);
        rustix::fs::mknodat(rustix::fs::CWD, dir.join("zero"), rustix::fs::FileType::CharacterDevice, mode, zero)
            .unwrap();
    }
    let read = |file: &str| format!("dd if={file} of=/dev/null bs=1 count=1 2>/dev/null && echo {file}; true");
    // Where what is opened is filtered, a node of a device that all may use is one wherever it is.
    let is_filtered = bench.executor.name() != "builtin" || Path::new("/sys/fs/cgroup/devices/devices.deny").exists();
    let sandboxed = if is_filtered { "/zero\n/other/zero\n/dev/zero\n" } else { "/dev/zero\n" };
    let script = ["/zero", "/other/zero", "/dev/zero"].map(read).join(";");
    let mount = Mount {
        target: "/other".into(),
        kind: MountKind::Bind { source: other, selector: String::new() },
        readonly: false,
    };
    for (insecure, readonly_root, expect) in
        [(false, false, sandboxed), (false, true, sandboxed), (true, false, "/zero\n/other/zero\n/dev/zero\n")]
    {
        let process = Process { insecure, readonly_root, mounts: vec![mount.clone()], ..bench.script(&script) };
        bench.check(process, expect).await;
    }
}

/// Whether a process with `word` in its command line runs on this machine.
fn runs(word: &str) -> bool {
    process_with(word).is_some()
}

/// The directory under /proc of a process with the argument `word`.
fn process_with(word: &str) -> Option<PathBuf> {
    let has_word = |process: &PathBuf| {
        let line = fs::read(process.join("cmdline")).unwrap_or_default();
        line.split(|b| *b == 0).any(|arg| arg == word.as_bytes())
    };
    fs::read_dir("/proc").unwrap().flatten().map(|entry| entry.path()).find(has_word)
}

/// A line of /proc/PID/status.
fn status(process: &Path, field: &str) -> String {
    let text = fs::read_to_string(process.join("status")).unwrap();
    let line = text.lines().find_map(|line| line.strip_prefix(field)?.strip_prefix(':'));
    line.unwrap().trim().to_string()
}

async fn the_fork_server_can_be_killed(bench: Bench) {
    let output = Output::default();
    let (mut input, stdin) = tokio::io::duplex(64);
    let io = Io { stdin: Some(Box::new(stdin)), stdout: output.sink(), ..Io::default() };
    let script = format!("echo ready; read line; exit 7 # {}", bench.dir.path().display());
    let running = bench.executor.run(bench.script(&script), io);
    let kill = async {
        output.wait_for("ready").await;
        let parent = |process: &Path| Path::new("/proc").join(status(process, "PPid"));
        let server = parent(&parent(&process_with(&script).unwrap()));
        let pid = server.file_name().unwrap().to_str().unwrap().parse().unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::KILL).unwrap();
        while !status(&server, "State").starts_with('Z') {
            tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        }
        tokio::io::AsyncWriteExt::write_all(&mut input, b"go on\n").await.unwrap();
    };
    let (exit, ()) = tokio::join!(running, kill);
    assert_eq!(exit.unwrap(), Exit::Code(7), "its container goes on");
    bench.check(bench.script("echo again"), "again\n").await;
}

async fn drop_kills_everything(bench: Bench) {
    let word = format!("9{}", std::process::id() as u64 * 1000 + u64::from(rand_suffix(&bench)));
    let output = Output::default();
    let io = Io { stdout: output.sink(), ..Io::default() };
    let script =
        format!("trap '' TERM INT HUP; (sleep {word} &) ; (/busybox setsid sleep {word} &); echo ready; sleep {word}");
    let mut process = bench.script(&script);
    process.mounts = vec![Mount { target: "/made".into(), kind: MountKind::Tmpfs { size: 0 }, readonly: false }];
    let kept = Arc::new(());
    process.keep.0.push(kept.clone());
    tokio::select! {
        exit = bench.executor.run(process, io) => panic!("it ended: {exit:?}"),
        () = output.wait_for("ready") => {}
    }
    // What was given to keep is let go when all is cleaned up.
    while Arc::strong_count(&kept) > 1 {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
    }
    assert!(!runs(&word));
    assert!(!bench.root().join("made").exists());
}

fn rand_suffix(bench: &Bench) -> u32 {
    bench.dir.path().to_str().unwrap().bytes().fold(0, |sum, b| (sum * 31 + u32::from(b)) % 1000)
}

async fn the_end_of_the_first_process_ends_the_others(bench: Bench) {
    let word = format!("8{}", std::process::id() as u64 * 1000 + u64::from(rand_suffix(&bench)));
    bench.check(bench.script(&format!("(/busybox setsid sleep {word} &); echo end")), "end\n").await;
    assert!(!runs(&word));
}

async fn links_at_mount_targets_stay_inside(bench: Bench) {
    let outside = bench.dir.path().join("outside");
    fs::create_dir(&outside).unwrap();
    let root = bench.root();
    symlink("../../../../../../../..", root.join("up")).unwrap();
    symlink(&outside, root.join("out")).unwrap();
    fs::create_dir_all(root.join(outside.strip_prefix("/").unwrap())).unwrap();
    let mut process = bench.script("touch /out/x; ls /out; ls /up/landing");
    process.mounts = vec![
        Mount { target: "/out".into(), kind: MountKind::Tmpfs { size: 0 }, readonly: false },
        Mount { target: "/up/landing".into(), kind: MountKind::Tmpfs { size: 0 }, readonly: false },
    ];
    bench.check(process, "x\n").await;
    assert_eq!(fs::read_dir(&outside).unwrap().count(), 0);
    assert!(!Path::new("/landing").exists() && !root.join("landing").exists());
}

async fn mount_points_are_removed(bench: Bench) {
    let source = bench.dir.path().join("source");
    fs::create_dir(&source).unwrap();
    let etc_before = fs::metadata(bench.root().join("etc")).unwrap().modified().unwrap();
    for recursive in [false, true] {
        let mut process = bench.script("ls /deep/er/still >/dev/null && echo x > /kept/file");
        process.remove_mount_stubs_recursive = recursive;
        process.mounts = vec![bind(&source, "", "/deep/er/still", false), bind(&source, "", "/kept", false)];
        bench.check(process, "").await;
        let root = bench.root();
        assert!(!root.join("deep/er/still").exists() && !root.join("kept").exists());
        assert_eq!(fs::read_dir(root.join("etc")).unwrap().count(), 0);
        assert_eq!(fs::metadata(root.join("etc")).unwrap().modified().unwrap(), etc_before);
        assert_eq!(root.join("deep/er").exists(), !recursive);
        let _ = fs::remove_dir_all(root.join("deep"));
    }
}

async fn terminal(bench: Bench) {
    let output = Output::default();
    let (resize, sizes) = tokio::sync::mpsc::channel(4);
    let (mut typed, stdin) = tokio::io::duplex(64);
    let io = Io { stdin: Some(Box::new(stdin)), stdout: output.sink(), resize: Some(sizes), ..Io::default() };
    let process = Process {
        tty: true,
        ..bench.script(
            "tty; [ -t 1 ] && echo terminal; read line; echo \"got $line\"; until [ -n \"$(/busybox stty size 2>/dev/null)\" ]; do :; done; /busybox stty size; echo x >/dev/tty",
        )
    };
    let drive = async {
        output.wait_for("terminal").await;
        resize.send((33, 44)).await.unwrap();
        tokio::io::AsyncWriteExt::write_all(&mut typed, b"hello\n").await.unwrap();
        output.wait_for("got").await;
    };
    let (exit, ()) = futures::join!(bench.executor.run(process, io), drive);
    assert_eq!(exit.unwrap(), Exit::Code(0));
    let text = output.take().replace('\r', "");
    assert!(text.starts_with("/dev/"), "{text:?}");
    assert!(text.contains("terminal\n") && text.contains("got hello\n33 44\nx\n"), "{text:?}");
}

async fn sockets(bench: Bench) {
    let path = bench.dir.path().join("agent");
    let _listener = std::os::unix::net::UnixListener::bind(&path).unwrap();
    let mut process = bench.script("stat -c '%F %u:%g %a' /run/agent");
    let kind = MountKind::Socket { source: path, uid: 3, gid: 4, mode: 0o600 };
    process.mounts = vec![Mount { target: "/run/agent".into(), kind, readonly: false }];
    bench.check(process, "socket 3:4 600\n").await;
}

async fn many_at_once(bench: Bench) {
    let runs = (0..20).map(|n| {
        let rootfs = bench.root_in(&n.to_string());
        bench.output(Process { rootfs, ..bench.script(&format!("echo {n}; exit {n}")) })
    });
    for (n, (exit, text)) in futures::future::join_all(runs).await.into_iter().enumerate() {
        assert_eq!((exit, text), (Exit::Code(n as i32), format!("{n}\n")));
    }
}

async fn names_what_is_missing() -> Result<(), Failed> {
    let dir = tempfile::tempdir().unwrap();
    let config = |name: &str| Config {
        name: Some(name.into()),
        state: dir.path().into(),
        dns: Arc::default(),
        cgroup_parent: String::new(),
        networks: exec::Networks::default(),
        keep: exec::Keep::default(),
    };
    let missing = exec::select(config("no-such-runtime"));
    assert!(format!("{:#}", missing.err().unwrap()).contains("no-such-runtime: is not in PATH"));
    let broken = exec::select(config("/bin/false")).unwrap();
    let process = Process { args: vec!["x".into()], rootfs: dir.path().into(), ..Process::default() };
    let why = format!("{:#}", broken.run(process, Io::default()).await.err().unwrap());
    assert!(why.contains("no executor works here") && why.contains("/bin/false"), "{why}");
    Ok(())
}
