//! Processes.

use pintle_sdk::{Exec, Network, Result, Security, State, VertexBuilder, file, mount};

use super::{COMMAND, Emitter, source::with_platform};
use crate::{
    instruction,
    lower::ops::{MountOp, Owner, RunOp, Sharing, Tree},
};

/// A directory inside of a cache that was made to have an owner.
const OWNED_CACHE: &str = "/cache";

impl Emitter<'_, '_> {
    pub(super) fn run(&mut self, base: &State, op: &RunOp) -> Result<State> {
        let exec = base.run(&op.args).envs(op.env.iter().map(|variable| (&variable.0, &variable.1))).cwd(&op.cwd);
        let exec = if op.user.is_empty() { exec } else { exec.user(&op.user) };
        let exec = exec.network(self.network(op)).security(security(op));
        let mut exec = self.limits(exec, op);
        for mount in &op.mounts {
            exec = self.mount(exec, mount)?;
        }
        if self.plan.options.shm_size > 0 {
            exec = exec.mount(mount::Tmpfs::new("/dev/shm").size(self.plan.options.shm_size));
        }
        let exec = with_platform(self.located(exec, &op.shown).description(COMMAND, &*op.text), &op.platform);
        exec.root()
    }

    fn network(&self, op: &RunOp) -> Network {
        match op.network {
            None | Some(instruction::Network::Default) => self.plan.options.network,
            Some(instruction::Network::None) => Network::None,
            Some(instruction::Network::Host) => Network::Host,
        }
    }

    /// What the user's options say of all steps.
    fn limits(&self, mut exec: Exec, op: &RunOp) -> Exec {
        let options = self.plan.options;
        for (name, address) in &options.extra_hosts {
            exec = exec.extra_host(name, address);
        }
        for (name, soft, hard) in &options.ulimits {
            exec = exec.ulimit(name, *soft, *hard);
        }
        if !options.hostname.is_empty() {
            exec = exec.hostname(&options.hostname);
        }
        if !options.cgroup_parent.is_empty() {
            exec = exec.cgroup_parent(&options.cgroup_parent);
        }
        if options.has_resources() {
            exec = exec.resources(&options.resources);
        }
        for (name, required) in &op.devices {
            exec = if *required { exec.device([name]) } else { exec.optional_device([name]) };
        }
        self.proxies(exec)
    }

    /// Proxies are given as build arguments that need no `ARG`.
    fn proxies(&self, mut exec: Exec) -> Exec {
        for (name, value) in &self.plan.options.build_args {
            exec = match name.to_ascii_lowercase().as_str() {
                "http_proxy" => exec.proxy_http(value),
                "https_proxy" => exec.proxy_https(value),
                "ftp_proxy" => exec.proxy_ftp(value),
                "no_proxy" => exec.proxy_no(value),
                "all_proxy" => exec.proxy_all(value),
                _ => exec,
            };
        }
        exec
    }

    fn mount(&mut self, exec: Exec, op: &MountOp) -> Result<Exec> {
        Ok(match op {
            MountOp::Bind { from, target, selector, readonly } => {
                let mount = mount::Bind::new(target, &self.tree(*from)?);
                let mount = if selector.is_empty() { mount } else { mount.selector(selector) };
                exec.mount(if *readonly { mount.readonly(true) } else { mount.no_output() })
            }
            MountOp::Cache { .. } => exec.mount(self.cache(op)?),
            MountOp::Tmpfs { target, size } => {
                let mount = mount::Tmpfs::new(target);
                exec.mount(if *size > 0 { mount.size(*size) } else { mount })
            }
            MountOp::Secret { id, file, env, optional, owner } => {
                let exec = match env {
                    Some(env) => exec.mount(mount::Secret::env(env, id).optional(*optional)),
                    None => exec,
                };
                match file {
                    Some(file) => exec.mount(secret_file(mount::Secret::file(file, id).optional(*optional), *owner)),
                    None => exec,
                }
            }
            MountOp::Ssh { id, target, optional, owner } => {
                let mount = mount::Ssh::new(target).optional(*optional);
                let mount = if id.is_empty() { mount } else { mount.id(id) };
                exec.mount(match owner {
                    Some(owner) => mount.uid(owner.uid).gid(owner.gid).mode(owner.mode),
                    None => mount,
                })
            }
            MountOp::Script { directory, name, data } => {
                let script = file::Mkfile::new(format!("/{}", name.trim_start_matches('/')), data.clone()).mode(0o755);
                let state = self.cx.scratch().file().mkfile(script).name("[internal] preparing inline document");
                let state = state.add()?;
                exec.mount(mount::Bind::new(directory, &state).selector("/").readonly(true))
            }
        })
    }

    fn cache(&mut self, op: &MountOp) -> Result<mount::Cache> {
        let MountOp::Cache { from, target, selector, readonly, id, sharing, owner } = op else {
            return Err(pintle_sdk::Error::new("internal", "not a cache mount"));
        };
        let sharing = match sharing {
            Sharing::Shared => mount::Sharing::Shared,
            Sharing::Private => mount::Sharing::Private,
            Sharing::Locked => mount::Sharing::Locked,
        };
        let mut state = self.tree(*from)?;
        let mut selector = selector.as_str();
        if let Some(owner) = owner {
            let mkdir = file::Mkdir::new(OWNED_CACHE).mode(owner.mode).owner(format!("{}:{}", owner.uid, owner.gid));
            state = state.file().mkdir(mkdir).name("[internal] setting cache mount permissions").add()?;
            selector = OWNED_CACHE;
        }
        let mount = mount::Cache::new(target, id).sharing(sharing).readonly(*readonly);
        let mount = if *from == Tree::Empty && owner.is_none() { mount } else { mount.from(&state) };
        Ok(if selector.is_empty() { mount } else { mount.selector(selector) })
    }
}

fn security(op: &RunOp) -> Security {
    if op.insecure { Security::Insecure } else { Security::Sandbox }
}

fn secret_file(mount: mount::Secret, owner: Option<Owner>) -> mount::Secret {
    match owner {
        Some(owner) => mount.uid(owner.uid).gid(owner.gid).mode(owner.mode),
        None => mount,
    }
}
