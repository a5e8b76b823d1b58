//! Running a command.

use std::collections::HashMap;

use crate::{
    Attr, Edge, Result, State, VertexBuilder, VertexOptions,
    attrs::{attr, setters},
    bindings::pintle::frontend::llb,
    mount::Mount,
};

/// Which network a command has.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Network {
    /// The worker's default, sandboxed.
    #[default]
    Sandbox,
    /// The host's; the user must allow it.
    Host,
    /// Loopback only.
    None,
}

/// Which restrictions a command is under.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub enum Security {
    /// The default ones.
    #[default]
    Sandbox,
    /// None; the user must allow it.
    Insecure,
}

/// A command over a root filesystem. Made by [`State::run`].
#[must_use = "nothing is added before `add`"]
pub struct Exec {
    root: State,
    args: Vec<String>,
    env: Vec<Attr>,
    mounts: Vec<Mount>,
    attrs: Vec<Attr>,
    options: VertexOptions,
    readonly_root: bool,
}

impl Exec {
    pub(crate) fn new(root: &State, args: Vec<String>) -> Self {
        Exec {
            root: root.clone(),
            args,
            env: Vec::new(),
            mounts: Vec::new(),
            attrs: Vec::new(),
            options: VertexOptions::new(),
            readonly_root: false,
        }
    }

    /// An environment variable; the last one of a name counts, at the place of the first.
    pub fn env(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.env.push((name.into(), value.into()));
        self
    }

    /// Several environment variables.
    pub fn envs(self, env: impl IntoIterator<Item = (impl Into<String>, impl Into<String>)>) -> Self {
        env.into_iter().fold(self, |exec, (name, value)| exec.env(name, value))
    }

    /// A mount: [`crate::mount::Bind`], `Cache`, `Tmpfs`, `Secret` or `Ssh`.
    pub fn mount(mut self, mount: impl Into<Mount>) -> Self {
        self.mounts.push(mount.into());
        self
    }

    /// Which network.
    pub fn network(mut self, network: Network) -> Self {
        match network {
            Network::Sandbox => {}
            Network::Host => self.attrs.push(attr("network", "host")),
            Network::None => self.attrs.push(attr("network", "none")),
        }
        self
    }

    /// Which restrictions.
    pub fn security(mut self, security: Security) -> Self {
        if security == Security::Insecure {
            self.attrs.push(attr("security", "insecure"));
        }
        self
    }

    /// The root filesystem is not writable.
    pub fn readonly_root(mut self, value: bool) -> Self {
        self.readonly_root = value;
        self
    }

    /// An exit code that counts as success; 0 does not, unless given too.
    pub fn valid_exit_code(mut self, code: i32) -> Self {
        self.attrs.push(attr("valid-exit-code", code.to_string()));
        self
    }

    /// A line of /etc/hosts.
    pub fn extra_host(mut self, name: &str, ip: &str) -> Self {
        self.attrs.push(attr("extra-host", format!("{name}={ip}")));
        self
    }

    /// A resource limit by its name without RLIMIT_, in lower case.
    pub fn ulimit(mut self, name: &str, soft: i64, hard: i64) -> Self {
        self.attrs.push(attr("ulimit", format!("{name}={soft}:{hard}")));
        self
    }

    /// Adds the command to the graph.
    ///
    /// Mounts are ordered as BuildKit's client orders them: trees, caches and tmpfs by target, then secrets, then agents. So
    /// the order in which an author gives them does not change the digest.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn add(mut self) -> Result<Ran> {
        self.mounts.sort_by(|a, b| order(a).cmp(&order(b)));
        let mut attrs = std::mem::take(&mut self.attrs);
        if self.readonly_root {
            attrs.push(attr("readonly-root", "true"));
        }
        let attrs = self.options.attrs_with(attrs);
        let mounts: Vec<llb::Mount> = self.mounts.iter().map(|mount| mount.wit.clone()).collect();
        let host = self.root.host();
        let env = without_repeats(std::mem::take(&mut self.env));
        let added = host.calls().add_exec(self.root.edge(), &self.args, &env, &mounts, &attrs);
        let edge = self.options.located(host, added)?;
        Ok(Ran { vertex: edge.vertex, root: self.root, mounts: self.mounts, readonly_root: self.readonly_root })
    }

    /// Adds the command and answers the root filesystem afterwards.
    ///
    /// # Errors
    /// What the host refuses.
    #[track_caller]
    pub fn root(self) -> Result<State> {
        Ok(self.add()?.root())
    }
}

/// Each variable once: its last value, at the place of the first.
fn without_repeats(env: Vec<Attr>) -> Vec<Attr> {
    let mut names: Vec<&str> = env.iter().map(|(name, _)| name.as_str()).collect();
    names.sort_unstable();
    if names.windows(2).all(|pair| pair[0] != pair[1]) {
        return env;
    }
    let mut places: HashMap<&str, usize> = HashMap::with_capacity(env.len());
    let mut out: Vec<Attr> = Vec::with_capacity(env.len());
    for (name, value) in &env {
        match places.get(name.as_str()) {
            Some(place) => out[*place].1.clone_from(value),
            None => {
                places.insert(name, out.len());
                out.push((name.clone(), value.clone()));
            }
        }
    }
    out
}

/// Trees by target, then secrets, then agents; those two as they were given.
fn order(mount: &Mount) -> (u8, &str) {
    match mount.wit.kind.as_str() {
        "secret" => (1, ""),
        "ssh" => (2, ""),
        _ => (0, &mount.wit.target),
    }
}

setters!(Exec {
    /// Working directory, absolute; not given: `/`.
    text cwd = "cwd";
    /// user[:group], names or numbers; not given: root.
    text user = "user";
    /// Host name inside.
    text hostname = "hostname";
    /// Parent of the step's cgroup.
    text cgroup_parent = "cgroup-parent";
    /// CDI names of devices.
    list device = "device";
    /// CDI names of devices that may be missing.
    list optional_device = "optional-device";
    /// http_proxy of the process; not part of the cache key.
    text proxy_http = "proxy-http";
    /// https_proxy, likewise.
    text proxy_https = "proxy-https";
    /// ftp_proxy, likewise.
    text proxy_ftp = "proxy-ftp";
    /// no_proxy, likewise.
    text proxy_no = "proxy-no";
    /// all_proxy, likewise.
    text proxy_all = "proxy-all";
    /// What the command wrote to the root filesystem is dropped.
    flag no_root_output = "no-root-output";
    /// Leave parents of mount points that had to be made.
    flag keep_mount_stubs = "keep-mount-stubs";
});

impl VertexBuilder for Exec {
    fn vertex_options(&mut self) -> &mut VertexOptions {
        &mut self.options
    }
}

/// A command that is in the graph.
#[derive(Clone, Debug)]
pub struct Ran {
    vertex: u32,
    root: State,
    mounts: Vec<Mount>,
    readonly_root: bool,
}

impl Ran {
    /// The root filesystem as the command left it.
    pub fn root(&self) -> State {
        if self.readonly_root {
            return self.root.clone();
        }
        self.root.host().state(Some(Edge { vertex: self.vertex, output: 0 }))
    }

    /// The mount at `target` as the command left it; `None` where there is none, or none whose contents are kept.
    pub fn mount(&self, target: &str) -> Option<State> {
        let index = self.mounts.iter().position(|mount| mount.wit.target == target && mount.wit.kind == "bind")?;
        let mount = &self.mounts[index];
        if mount.readonly_input {
            return Some(self.root.host().state(mount.wit.input));
        }
        if mount.wit.attrs.iter().any(|(word, value)| word == "output" && value == "false") {
            return None;
        }
        let output = u32::try_from(index).ok()? + 1;
        Some(self.root.host().state(Some(Edge { vertex: self.vertex, output })))
    }
}
