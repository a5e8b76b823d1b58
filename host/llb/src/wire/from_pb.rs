//! BuildKit's messages as typed ops. Shapes are checked here, values in [`crate::validate`].

use prost::Message;

use super::{KEEP, NONE, pb};
use crate::{GraphError, Op, Platform, VertexMeta, op::*, validate};

type Result<T> = std::result::Result<T, GraphError>;

fn fail<T>(message: impl Into<String>) -> Result<T> {
    Err(GraphError::new(message))
}

/// An input or output number; -1 is none.
fn number(number: i64, what: &str) -> Result<Option<u32>> {
    if number == NONE {
        return Ok(None);
    }
    index(number, what).map(Some)
}

/// A number that must be there.
pub(super) fn index(number: i64, what: &str) -> Result<u32> {
    u32::try_from(number).or_else(|_| fail(format!("{what} {number} is out of range")))
}

/// An enum value that must be known: an unknown one could turn a protection off.
fn known<T: TryFrom<i32>>(value: i32, what: &str) -> Result<T> {
    T::try_from(value).or_else(|_| fail(format!("unknown {what} {value}")))
}

pub(super) fn platform(platform: pb::Platform) -> Platform {
    Platform {
        architecture: platform.architecture,
        os: platform.os,
        variant: platform.variant,
        os_version: platform.os_version,
        os_features: platform.os_features,
    }
}

pub(super) fn op(op: pb::op::Op) -> Result<Op> {
    use pb::op::Op as Pb;
    Ok(match op {
        Pb::Source(op) => Op::Source(SourceOp { identifier: op.identifier, attrs: op.attrs }),
        Pb::Exec(op) => Op::Exec(exec(op)?),
        Pb::File(op) => Op::File(file(op)?),
        Pb::Merge(op) => Op::Merge(merge(op)?),
        Pb::Diff(op) => Op::Diff(diff(op)?),
        Pb::Build(op) => Op::Build(build(op)?),
        Pb::Passthrough(op) => Op::Passthrough(passthrough(op)?),
    })
}

fn exec(op: pb::ExecOp) -> Result<ExecOp> {
    let Some(meta) = op.meta else { return fail("no meta") };
    let mounts = op.mounts.into_iter().map(|mount| self::mount(mount, &meta.cwd)).collect::<Result<_>>()?;
    Ok(ExecOp {
        mounts,
        network: match known(op.network, "network mode")? {
            pb::NetMode::Unset => NetMode::Sandbox,
            pb::NetMode::Host => NetMode::Host,
            pb::NetMode::None => NetMode::None,
        },
        security: match known(op.security, "security mode")? {
            pb::SecurityMode::Sandbox => SecurityMode::Sandbox,
            pb::SecurityMode::Insecure => SecurityMode::Insecure,
        },
        secret_env: op
            .secretenv
            .into_iter()
            .map(|env| SecretEnv { id: env.id, name: env.name, optional: env.optional })
            .collect(),
        cdi_devices: op
            .cdi_devices
            .into_iter()
            .map(|device| CdiDevice { name: device.name, optional: device.optional })
            .collect(),
        ..exec_meta(meta)
    })
}

/// The part of an exec op that `pb.Meta` has.
fn exec_meta(meta: pb::Meta) -> ExecOp {
    ExecOp {
        args: meta.args,
        env: meta.env,
        cwd: meta.cwd,
        user: meta.user,
        proxy_env: meta.proxy_env.map(|proxy| ProxyEnv {
            http_proxy: proxy.http_proxy,
            https_proxy: proxy.https_proxy,
            ftp_proxy: proxy.ftp_proxy,
            no_proxy: proxy.no_proxy,
            all_proxy: proxy.all_proxy,
        }),
        extra_hosts: meta.extra_hosts.into_iter().map(|line| HostIp { host: line.host, ip: line.ip }).collect(),
        hostname: meta.hostname,
        ulimits: meta
            .ulimit
            .into_iter()
            .map(|limit| Ulimit { name: limit.name, soft: limit.soft, hard: limit.hard })
            .collect(),
        cgroup_parent: meta.cgroup_parent,
        remove_mount_stubs_recursive: meta.remove_mount_stubs_recursive,
        valid_exit_codes: meta.valid_exit_codes,
        ..ExecOp::default()
    }
}

fn mount(mount: pb::Mount, cwd: &str) -> Result<Mount> {
    let place = mount.dest.clone();
    mount_at(mount, cwd).map_err(|error| error.at(format_args!("mount {place:?}")))
}

fn mount_at(mount: pb::Mount, cwd: &str) -> Result<Mount> {
    let input = number(mount.input, "input")?;
    let kind = mount_kind(&mount)?;
    // BuildKit reads the output of these kinds only, and its clients set it carelessly on the others.
    let output = match kind {
        MountKind::Bind => number(mount.output, "output")?,
        MountKind::Cache { .. } if input.is_some() => number(mount.output, "output")?,
        _ => None,
    };
    let relative = !mount.dest.starts_with('/') && !mount.dest.is_empty();
    Ok(Mount {
        input,
        selector: mount.selector,
        dest: if relative { absolute(cwd, &mount.dest)? } else { mount.dest },
        output,
        readonly: mount.readonly,
        kind,
        content_cache: match known(mount.content_cache, "content cache mode")? {
            pb::MountContentCache::Default => ContentCache::Default,
            pb::MountContentCache::On => ContentCache::On,
            pb::MountContentCache::Off => ContentCache::Off,
        },
    })
}

/// A destination relative to the working directory, as BuildKit reads it.
fn absolute(cwd: &str, dest: &str) -> Result<String> {
    match validate::clean(&format!("/{cwd}/{dest}")) {
        Some(path) => Ok(path),
        None => fail("the destination climbs above /"),
    }
}

fn mount_kind(mount: &pb::Mount) -> Result<MountKind> {
    Ok(match known(mount.mount_type, "mount type")? {
        pb::MountType::Bind => MountKind::Bind,
        pb::MountType::Secret => match mount.secret_opt.clone() {
            Some(opt) => {
                MountKind::Secret { id: opt.id, uid: opt.uid, gid: opt.gid, mode: opt.mode, optional: opt.optional }
            }
            None => return fail("a secret mount without its options"),
        },
        pb::MountType::Ssh => match mount.ssh_opt.clone() {
            Some(opt) => {
                MountKind::Ssh { id: opt.id, uid: opt.uid, gid: opt.gid, mode: opt.mode, optional: opt.optional }
            }
            None => return fail("an SSH mount without its options"),
        },
        pb::MountType::Cache => match &mount.cache_opt {
            Some(opt) => MountKind::Cache {
                id: opt.id.clone(),
                sharing: match known(opt.sharing, "cache sharing mode")? {
                    pb::CacheSharingOpt::Shared => CacheSharing::Shared,
                    pb::CacheSharingOpt::Private => CacheSharing::Private,
                    pb::CacheSharingOpt::Locked => CacheSharing::Locked,
                },
            },
            None => return fail("a cache mount without its options"),
        },
        pb::MountType::Tmpfs => MountKind::Tmpfs { size: mount.tmpfs_opt.as_ref().map_or(0, |opt| opt.size) },
    })
}

fn file(op: pb::FileOp) -> Result<FileOp> {
    let actions = op.actions.into_iter().enumerate();
    let actions = actions
        .map(|(number, action)| file_action(action).map_err(|error| error.at(format_args!("action {number}"))))
        .collect::<Result<_>>()?;
    Ok(FileOp { actions })
}

fn file_action(action: pb::FileAction) -> Result<FileAction> {
    let Some(kind) = action.action else { return fail("no action of a known kind") };
    Ok(FileAction {
        input: number(action.input, "input")?,
        secondary_input: number(action.secondary_input, "secondary input")?,
        output: number(action.output, "output")?,
        kind: file_action_kind(kind)?,
    })
}

fn file_action_kind(action: pb::file_action::Action) -> Result<FileActionKind> {
    use pb::file_action::Action;
    Ok(match action {
        Action::Copy(op) => FileActionKind::Copy(Box::new(copy(op)?)),
        Action::Mkfile(op) => FileActionKind::Mkfile {
            path: op.path,
            mode: op.mode,
            data: op.data,
            owner: owner(op.owner)?,
            timestamp: timestamp(op.timestamp),
        },
        Action::Mkdir(op) => FileActionKind::Mkdir {
            path: op.path,
            mode: op.mode,
            make_parents: op.make_parents,
            owner: owner(op.owner)?,
            timestamp: timestamp(op.timestamp),
        },
        Action::Rm(op) => {
            FileActionKind::Rm { path: op.path, allow_not_found: op.allow_not_found, allow_wildcard: op.allow_wildcard }
        }
        Action::Symlink(op) => FileActionKind::Symlink {
            oldpath: op.oldpath,
            newpath: op.newpath,
            owner: owner(op.owner)?,
            timestamp: timestamp(op.timestamp),
        },
    })
}

fn timestamp(timestamp: i64) -> Option<i64> {
    (timestamp != KEEP).then_some(timestamp)
}

fn copy(op: pb::FileActionCopy) -> Result<CopyAction> {
    let keep = i64::from(op.mode) == KEEP || !op.mode_str.is_empty();
    Ok(CopyAction {
        src: op.src,
        dest: op.dest,
        owner: owner(op.owner)?,
        mode: if keep { None } else { Some(index(op.mode.into(), "mode")?) },
        mode_str: op.mode_str,
        follow_symlink: op.follow_symlink,
        dir_copy_contents: op.dir_copy_contents,
        attempt_unpack: op.attempt_unpack_docker_compatibility,
        create_dest_path: op.create_dest_path,
        allow_wildcard: op.allow_wildcard,
        allow_empty_wildcard: op.allow_empty_wildcard,
        timestamp: timestamp(op.timestamp),
        include_patterns: op.include_patterns,
        exclude_patterns: op.exclude_patterns,
        required_paths: op.required_paths,
        always_replace_existing_dest_paths: op.always_replace_existing_dest_paths,
    })
}

fn owner(owner: Option<pb::ChownOpt>) -> Result<Option<Chown>> {
    owner.map(|owner| Ok(Chown { user: user(owner.user)?, group: user(owner.group)? })).transpose()
}

fn user(user: Option<pb::UserOpt>) -> Result<Option<UserOpt>> {
    use pb::user_opt::User;
    Ok(match user.and_then(|user| user.user) {
        None => None,
        Some(User::ById(id)) => Some(UserOpt::Id(id)),
        Some(User::ByName(named)) => {
            Some(UserOpt::Name { name: named.name, input: number(named.input, "owner's input")? })
        }
    })
}

fn merge(op: pb::MergeOp) -> Result<MergeOp> {
    let inputs = op.inputs.into_iter().map(|input| number(input.input, "merge input")).collect::<Result<_>>()?;
    Ok(MergeOp { inputs })
}

fn diff(op: pb::DiffOp) -> Result<DiffOp> {
    let (Some(lower), Some(upper)) = (op.lower, op.upper) else {
        return fail("lower or upper input is not given; -1 is an empty one");
    };
    Ok(DiffOp { lower: number(lower.input, "lower input")?, upper: number(upper.input, "upper input")? })
}

fn build(op: pb::BuildOp) -> Result<BuildOp> {
    let inputs = op
        .inputs
        .into_iter()
        .map(|(name, input)| Ok((name, index(input.input, "build input")?)))
        .collect::<Result<_>>()?;
    let definition = op.def.map(|definition| definition.encode_to_vec().into());
    Ok(BuildOp { builder: op.builder, inputs, definition, attrs: op.attrs })
}

fn passthrough(op: pb::PassthroughOp) -> Result<PassthroughOp> {
    let outputs = op.outputs.into_iter().map(|input| index(input, "output's input")).collect::<Result<_>>()?;
    Ok(PassthroughOp { id: op.id, outputs })
}

pub(super) fn metadata(meta: pb::OpMetadata) -> VertexMeta {
    VertexMeta {
        ignore_cache: meta.ignore_cache,
        description: meta.description,
        export_cache: meta.export_cache.map(|export| export.value),
        caps: meta.caps,
        progress_group: meta.progress_group.map(|group| ProgressGroup {
            id: group.id,
            name: group.name,
            weak: group.weak,
        }),
        linux_resources: meta.linux_resources.map(|limits| LinuxResources {
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            cpu_shares: limits.cpu_shares,
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            cpuset_cpus: limits.cpuset_cpus,
            cpuset_mems: limits.cpuset_mems,
        }),
        locations: Vec::new(),
    }
}

/// `files` has the new number of each source text.
pub(super) fn locations(locations: pb::Locations, files: &[u32]) -> Result<Vec<Location>> {
    let locations = locations.locations.into_iter().map(|location| {
        let number = location.source_index;
        let file = usize::try_from(number).ok().and_then(|number| files.get(number)).copied();
        let Some(file) = file else {
            return fail(format!("a location names source text {number} of {}", files.len()));
        };
        Ok(Location { file, ranges: location.ranges.into_iter().map(range).collect() })
    });
    locations.collect()
}

fn range(range: pb::Range) -> Range {
    let (start, end) = (range.start.unwrap_or_default(), range.end.unwrap_or_default());
    Range { start_line: start.line, start_character: start.character, end_line: end.line, end_character: end.character }
}

pub(super) fn source_file(info: pb::SourceInfo) -> SourceFile {
    SourceFile {
        filename: info.filename,
        language: info.language,
        data: info.data,
        definition: info.definition.map(|definition| definition.encode_to_vec().into()),
    }
}
