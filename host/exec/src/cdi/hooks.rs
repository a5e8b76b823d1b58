//! Programs of the host that a device needs at some moments of a container's life.

use std::path::{Path, PathBuf};

use anyhow::ensure;
use oci_spec::runtime::{HookBuilder, Hooks as OciHooks};
use serde::Deserialize;

/// One of them.
#[derive(Clone, PartialEq, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Hook {
    #[serde(rename = "hookName")]
    moment: Moment,
    path: PathBuf,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<String>,
    /// Seconds.
    timeout: Option<i64>,
}

/// When it runs, in the words of the OCI runtime specification.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
enum Moment {
    Prestart,
    CreateRuntime,
    CreateContainer,
    StartContainer,
    Poststart,
    Poststop,
}

impl Hook {
    pub(super) fn check(&self) -> anyhow::Result<()> {
        let path = self.path.display();
        ensure!(self.path.is_absolute(), "hook {path}: want an absolute path");
        super::edits::check_env(&self.env)?;
        ensure!(self.timeout.is_none_or(|seconds| seconds > 0), "hook {path}: its timeout is not above zero");
        Ok(())
    }

    /// Containers of steps are not deleted by a runtime: they are gone with the last process.
    pub(super) fn is_possible(&self) -> bool {
        self.moment != Moment::Poststop
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

/// The hooks as a runtime takes them.
pub fn of_runtime<'a>(hooks: impl Iterator<Item = &'a Hook>) -> anyhow::Result<OciHooks> {
    let mut all = OciHooks::default();
    for hook in hooks {
        let list = match hook.moment {
            // What replaced it runs at the same moment.
            Moment::Prestart | Moment::CreateRuntime => all.create_runtime_mut(),
            Moment::CreateContainer => all.create_container_mut(),
            Moment::StartContainer => all.start_container_mut(),
            Moment::Poststart => all.poststart_mut(),
            Moment::Poststop => all.poststop_mut(),
        };
        let mut built = HookBuilder::default().path(&hook.path);
        if !hook.env.is_empty() {
            built = built.env(hook.env.clone());
        }
        if !hook.args.is_empty() {
            built = built.args(hook.args.clone());
        }
        if let Some(seconds) = hook.timeout {
            built = built.timeout(seconds);
        }
        list.get_or_insert_default().push(built.build()?);
    }
    Ok(all)
}
