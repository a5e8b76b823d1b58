//! The default seccomp profile: which system calls a process may make.
//!
//! `seccomp.toml` holds the table: the calls and conditions that Docker's default profile (moby/profiles) allows. Everything else is
//! answered with EPERM. Conditions on architecture and capabilities are decided here, when a profile is made for a process;
//! conditions on arguments by the kernel.

use std::sync::OnceLock;

use anyhow::Context;
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use serde::Deserialize;

/// EPERM, for every call that is not allowed.
const EPERM: u32 = 1;

#[derive(Deserialize)]
struct Table {
    rule: Vec<Rule>,
}

/// Some calls and when they are allowed. Every condition that is given must hold.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    calls: Vec<String>,
    /// Architectures as GOARCH words.
    #[serde(default)]
    arches: Vec<String>,
    #[serde(default)]
    not_arches: Vec<String>,
    /// A capability that the process has in its bounding set, as linux/capability.h spells it.
    capability: Option<Capability>,
    without_capability: Option<Capability>,
    /// A condition on one argument.
    arg: Option<Argument>,
    /// Instead of allowing the call, answer it with this error number.
    errno: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Argument {
    index: usize,
    op: Operator,
    value: u64,
}

#[derive(Deserialize, Clone, Copy)]
#[serde(rename_all = "kebab-case")]
enum Operator {
    Equal,
    Less,
    Greater,
    /// The bits of the value are all clear in the argument.
    Clear,
}

/// The profile for a process with these capabilities in its bounding set, on this machine's architecture.
pub fn default_profile(capabilities: &[Capability]) -> anyhow::Result<LinuxSeccomp> {
    let arch = go_arch();
    let mut syscalls = Vec::new();
    for rule in table()?.rule.iter().filter(|rule| rule.holds(arch, capabilities)) {
        syscalls.push(rule.syscall()?);
    }
    Ok(LinuxSeccompBuilder::default()
        .default_action(LinuxSeccompAction::ScmpActErrno)
        .default_errno_ret(EPERM)
        .architectures(architectures(arch))
        .syscalls(syscalls)
        .build()?)
}

fn table() -> anyhow::Result<&'static Table> {
    static TABLE: OnceLock<Table> = OnceLock::new();
    if let Some(table) = TABLE.get() {
        return Ok(table);
    }
    let table = toml::from_str(include_str!("seccomp.toml")).context("parse the seccomp table")?;
    Ok(TABLE.get_or_init(|| table))
}

impl Rule {
    fn holds(&self, arch: &str, capabilities: &[Capability]) -> bool {
        let named = |list: &[String]| list.iter().any(|a| a == arch);
        (self.arches.is_empty() || named(&self.arches))
            && !named(&self.not_arches)
            && self.capability.is_none_or(|c| capabilities.contains(&c))
            && self.without_capability.is_none_or(|c| !capabilities.contains(&c))
    }

    fn syscall(&self) -> anyhow::Result<LinuxSyscall> {
        let mut builder = LinuxSyscallBuilder::default().names(self.calls.clone());
        builder = match self.errno {
            Some(errno) => builder.action(LinuxSeccompAction::ScmpActErrno).errno_ret(errno),
            None => builder.action(LinuxSeccompAction::ScmpActAllow),
        };
        if let Some(arg) = &self.arg {
            let (op, value_two) = match arg.op {
                Operator::Equal => (LinuxSeccompOperator::ScmpCmpEq, None),
                Operator::Less => (LinuxSeccompOperator::ScmpCmpLt, None),
                Operator::Greater => (LinuxSeccompOperator::ScmpCmpGt, None),
                Operator::Clear => (LinuxSeccompOperator::ScmpCmpMaskedEq, Some(0u64)),
            };
            let mut built = LinuxSeccompArgBuilder::default().index(arg.index).op(op).value(arg.value);
            if let Some(value_two) = value_two {
                built = built.value_two(value_two);
            }
            builder = builder.args(vec![built.build()?]);
        }
        Ok(builder.build()?)
    }
}

/// This machine's architecture as a GOARCH word.
fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "x86" => "386",
        "powerpc64" => "ppc64le",
        other => other,
    }
}

/// The architecture with those whose programs its kernel runs too.
fn architectures(arch: &str) -> Vec<Arch> {
    match arch {
        "amd64" => vec![Arch::ScmpArchX86_64, Arch::ScmpArchX86, Arch::ScmpArchX32],
        "arm64" => vec![Arch::ScmpArchAarch64, Arch::ScmpArchArm],
        "mips64" => vec![Arch::ScmpArchMips64, Arch::ScmpArchMips, Arch::ScmpArchMips64n32],
        "s390x" => vec![Arch::ScmpArchS390x, Arch::ScmpArchS390],
        "riscv64" => vec![Arch::ScmpArchRiscv64],
        "loongarch64" => vec![Arch::ScmpArchLoongarch64],
        _ => Vec::new(),
    }
}
