//! Typed ops as BuildKit's messages.

use std::collections::BTreeMap;

use super::{KEEP, NONE, pb};
use crate::{Platform, VertexMeta, op::*};

fn number(number: Option<u32>) -> i64 {
    number.map_or(NONE, i64::from)
}

pub(super) fn platform(platform: &Platform) -> pb::Platform {
    pb::Platform {
        architecture: platform.architecture.clone(),
        os: platform.os.clone(),
        variant: platform.variant.clone(),
        os_version: platform.os_version.clone(),
        os_features: platform.os_features.clone(),
    }
}

pub(super) fn exec(op: &ExecOp) -> pb::ExecOp {
    pb::ExecOp {
        meta: Some(exec_meta(op)),
        mounts: op.mounts.iter().map(mount).collect(),
        network: match op.network {
            NetMode::Sandbox => pb::NetMode::Unset,
            NetMode::Host => pb::NetMode::Host,
            NetMode::None => pb::NetMode::None,
        }
        .into(),
        security: match op.security {
            SecurityMode::Sandbox => pb::SecurityMode::Sandbox,
            SecurityMode::Insecure => pb::SecurityMode::Insecure,
        }
        .into(),
        secretenv: op
            .secret_env
            .iter()
            .map(|env| pb::SecretEnv { id: env.id.clone(), name: env.name.clone(), optional: env.optional })
            .collect(),
        cdi_devices: op
            .cdi_devices
            .iter()
            .map(|device| pb::CdiDevice { name: device.name.clone(), optional: device.optional })
            .collect(),
    }
}

fn exec_meta(op: &ExecOp) -> pb::Meta {
    pb::Meta {
        args: op.args.clone(),
        env: op.env.clone(),
        cwd: op.cwd.clone(),
        user: op.user.clone(),
        proxy_env: op.proxy_env.as_ref().map(|proxy| pb::ProxyEnv {
            http_proxy: proxy.http_proxy.clone(),
            https_proxy: proxy.https_proxy.clone(),
            ftp_proxy: proxy.ftp_proxy.clone(),
            no_proxy: proxy.no_proxy.clone(),
            all_proxy: proxy.all_proxy.clone(),
        }),
        extra_hosts: op
            .extra_hosts
            .iter()
            .map(|line| pb::HostIp { host: line.host.clone(), ip: line.ip.clone() })
            .collect(),
        hostname: op.hostname.clone(),
        ulimit: op
            .ulimits
            .iter()
            .map(|limit| pb::Ulimit { name: limit.name.clone(), soft: limit.soft, hard: limit.hard })
            .collect(),
        cgroup_parent: op.cgroup_parent.clone(),
        remove_mount_stubs_recursive: op.remove_mount_stubs_recursive,
        valid_exit_codes: op.valid_exit_codes.clone(),
    }
}

fn mount(mount: &Mount) -> pb::Mount {
    let mut out = pb::Mount {
        input: number(mount.input),
        selector: mount.selector.clone(),
        dest: mount.dest.clone(),
        output: number(mount.output),
        readonly: mount.readonly,
        content_cache: match mount.content_cache {
            ContentCache::Default => pb::MountContentCache::Default,
            ContentCache::On => pb::MountContentCache::On,
            ContentCache::Off => pb::MountContentCache::Off,
        }
        .into(),
        ..pb::Mount::default()
    };
    set_mount_kind(&mut out, &mount.kind);
    out
}

fn set_mount_kind(out: &mut pb::Mount, kind: &MountKind) {
    match kind {
        MountKind::Bind => out.mount_type = pb::MountType::Bind.into(),
        MountKind::Secret { id, uid, gid, mode, optional } => {
            out.mount_type = pb::MountType::Secret.into();
            out.output = 0; // Go's client leaves it so; nobody reads it.
            let (uid, gid, mode, optional) = (*uid, *gid, *mode, *optional);
            out.secret_opt = Some(pb::SecretOpt { id: id.clone(), uid, gid, mode, optional });
        }
        MountKind::Ssh { id, uid, gid, mode, optional } => {
            out.mount_type = pb::MountType::Ssh.into();
            out.output = 0; // As for a secret.
            let (uid, gid, mode, optional) = (*uid, *gid, *mode, *optional);
            out.ssh_opt = Some(pb::SshOpt { id: id.clone(), uid, gid, mode, optional });
        }
        MountKind::Cache { id, sharing } => {
            out.mount_type = pb::MountType::Cache.into();
            let sharing = match sharing {
                CacheSharing::Shared => pb::CacheSharingOpt::Shared,
                CacheSharing::Private => pb::CacheSharingOpt::Private,
                CacheSharing::Locked => pb::CacheSharingOpt::Locked,
            };
            out.cache_opt = Some(pb::CacheOpt { id: id.clone(), sharing: sharing.into() });
        }
        MountKind::Tmpfs { size } => {
            out.mount_type = pb::MountType::Tmpfs.into();
            out.tmpfs_opt = Some(pb::TmpfsOpt { size: *size });
        }
    }
}

pub(super) fn file(op: &FileOp) -> pb::FileOp {
    pb::FileOp { actions: op.actions.iter().map(file_action).collect() }
}

fn file_action(action: &FileAction) -> pb::FileAction {
    pb::FileAction {
        input: number(action.input),
        secondary_input: number(action.secondary_input),
        output: number(action.output),
        action: Some(file_action_kind(&action.kind)),
    }
}

fn file_action_kind(kind: &FileActionKind) -> pb::file_action::Action {
    use pb::file_action::Action;
    match kind {
        FileActionKind::Copy(op) => Action::Copy(copy(op)),
        FileActionKind::Mkfile { path, mode, data, owner, timestamp } => Action::Mkfile(pb::FileActionMkFile {
            path: path.clone(),
            mode: *mode,
            data: data.clone(),
            owner: owner.as_ref().map(chown),
            timestamp: timestamp.unwrap_or(KEEP),
        }),
        FileActionKind::Mkdir { path, mode, make_parents, owner, timestamp } => Action::Mkdir(pb::FileActionMkDir {
            path: path.clone(),
            mode: *mode,
            make_parents: *make_parents,
            owner: owner.as_ref().map(chown),
            timestamp: timestamp.unwrap_or(KEEP),
        }),
        FileActionKind::Rm { path, allow_not_found, allow_wildcard } => Action::Rm(pb::FileActionRm {
            path: path.clone(),
            allow_not_found: *allow_not_found,
            allow_wildcard: *allow_wildcard,
        }),
        FileActionKind::Symlink { oldpath, newpath, owner, timestamp } => Action::Symlink(pb::FileActionSymlink {
            oldpath: oldpath.clone(),
            newpath: newpath.clone(),
            owner: owner.as_ref().map(chown),
            timestamp: timestamp.unwrap_or(KEEP),
        }),
    }
}

fn copy(op: &CopyAction) -> pb::FileActionCopy {
    // With a symbolic mode, Go's client leaves the numeric one at 0 and not at "keep".
    let keep = if op.mode_str.is_empty() { KEEP as i32 } else { 0 };
    pb::FileActionCopy {
        src: op.src.clone(),
        dest: op.dest.clone(),
        owner: op.owner.as_ref().map(chown),
        mode: op.mode.map_or(keep, |mode| mode as i32),
        follow_symlink: op.follow_symlink,
        dir_copy_contents: op.dir_copy_contents,
        attempt_unpack_docker_compatibility: op.attempt_unpack,
        create_dest_path: op.create_dest_path,
        allow_wildcard: op.allow_wildcard,
        allow_empty_wildcard: op.allow_empty_wildcard,
        timestamp: op.timestamp.unwrap_or(KEEP),
        include_patterns: op.include_patterns.clone(),
        exclude_patterns: op.exclude_patterns.clone(),
        always_replace_existing_dest_paths: op.always_replace_existing_dest_paths,
        mode_str: op.mode_str.clone(),
        required_paths: op.required_paths.clone(),
    }
}

fn chown(owner: &Chown) -> pb::ChownOpt {
    pb::ChownOpt { user: owner.user.as_ref().map(user), group: owner.group.as_ref().map(user) }
}

fn user(user: &UserOpt) -> pb::UserOpt {
    use pb::user_opt::User;
    let user = match user {
        UserOpt::Id(id) => User::ById(*id),
        UserOpt::Name { name, input } => User::ByName(pb::NamedUserOpt { name: name.clone(), input: number(*input) }),
    };
    pb::UserOpt { user: Some(user) }
}

pub(super) fn merge(op: &MergeOp) -> pb::MergeOp {
    pb::MergeOp { inputs: op.inputs.iter().map(|input| pb::MergeInput { input: number(*input) }).collect() }
}

pub(super) fn diff(op: &DiffOp) -> pb::DiffOp {
    pb::DiffOp {
        lower: Some(pb::LowerDiffInput { input: number(op.lower) }),
        upper: Some(pb::UpperDiffInput { input: number(op.upper) }),
    }
}

pub(super) fn passthrough(op: &PassthroughOp) -> pb::PassthroughOp {
    pb::PassthroughOp { id: op.id.clone(), outputs: op.outputs.iter().map(|input| (*input).into()).collect() }
}

pub(super) fn metadata(meta: &VertexMeta) -> pb::OpMetadata {
    pb::OpMetadata {
        ignore_cache: meta.ignore_cache,
        description: meta.description.clone(),
        export_cache: meta.export_cache.map(|value| pb::ExportCache { value }),
        caps: meta.caps.clone(),
        progress_group: meta.progress_group.as_ref().map(|group| pb::ProgressGroup {
            id: group.id.clone(),
            name: group.name.clone(),
            weak: group.weak,
        }),
        linux_resources: meta.linux_resources.as_ref().map(|limits| pb::LinuxResources {
            memory: limits.memory,
            memory_swap: limits.memory_swap,
            cpu_shares: limits.cpu_shares,
            cpu_period: limits.cpu_period,
            cpu_quota: limits.cpu_quota,
            cpuset_cpus: limits.cpuset_cpus.clone(),
            cpuset_mems: limits.cpuset_mems.clone(),
        }),
    }
}

/// `files` has the new number of each source text.
pub(super) fn locations(locations: &[Location], files: &BTreeMap<u32, i32>) -> pb::Locations {
    let locations = locations
        .iter()
        .map(|location| pb::Location {
            source_index: files[&location.file],
            ranges: location.ranges.iter().map(range).collect(),
        })
        .collect();
    pb::Locations { locations }
}

/// A range on the wire.
fn range(range: &Range) -> pb::Range {
    pb::Range {
        start: Some(pb::Position { line: range.start_line, character: range.start_character }),
        end: Some(pb::Position { line: range.end_line, character: range.end_character }),
    }
}

pub(super) fn source_info(file: &SourceFile) -> pb::SourceInfo {
    use prost::Message;
    pb::SourceInfo {
        filename: file.filename.clone(),
        data: file.data.clone(),
        // It came from a message or from a caller; one that does not parse is no use to the reader.
        definition: file.definition.clone().and_then(|bytes| pb::Definition::decode(bytes).ok()).map(without_placeless),
        language: file.language.clone(),
    }
}

/// A definition without vertices that stand nowhere. Go writes them with an empty list of places, which here becomes an entry without a
/// value, and its reader refuses that. Definitions lie within each other no deeper than messages may.
fn without_placeless(mut definition: pb::Definition) -> pb::Definition {
    if let Some(source) = &mut definition.source {
        source.locations.retain(|_, places| !places.locations.is_empty());
        for info in &mut source.infos {
            info.definition = info.definition.take().map(without_placeless);
        }
    }
    definition
}

#[cfg(test)]
mod tests {
    use prost::Message as _;

    use super::*;

    #[test]
    fn a_text_is_read_from_vertices_that_stand_somewhere() {
        let places = |count| pb::Locations { locations: vec![pb::Location::default(); count] };
        let within = |infos| pb::Definition {
            source: Some(pb::Source {
                locations: [("a".to_owned(), places(0)), ("b".to_owned(), places(1))].into(),
                infos,
            }),
            ..pb::Definition::default()
        };
        let inner = pb::SourceInfo { definition: Some(within(Vec::new())), ..pb::SourceInfo::default() };
        let definition = Some(within(vec![inner]).encode_to_vec().into());
        let mut definition = source_info(&SourceFile { definition, ..SourceFile::default() }).definition;
        for _ in 0..2 {
            let source = definition.unwrap().source.unwrap();
            assert_eq!(source.locations.keys().collect::<Vec<_>>(), ["b"]);
            definition = source.infos.into_iter().next().and_then(|info| info.definition);
        }
    }
}
