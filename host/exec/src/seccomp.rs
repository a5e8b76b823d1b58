//! The default seccomp profile: which system calls a process may make.
//!
//! `seccomp.toml` holds the table: the calls and conditions that Docker's default profile (moby/profiles) allows. Everything else is
//! answered with EPERM. Conditions on architecture and capabilities are decided here, when a profile is made for a process;
//! conditions on arguments by the kernel.
//!
//! An OCI runtime gets the profile and compiles it for every container, which takes it tens of milliseconds: three architectures of
//! 400 calls. The built-in executor gets the compiled filter, which this engine makes once.

use std::{
    fs::File,
    io::{Read, Seek},
    sync::{Arc, Mutex, OnceLock, PoisonError},
};

use anyhow::Context;
use libseccomp::{ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall};
use oci_spec::runtime::{
    Arch, Capability, LinuxSeccomp, LinuxSeccompAction, LinuxSeccompArgBuilder, LinuxSeccompBuilder,
    LinuxSeccompOperator, LinuxSyscall, LinuxSyscallBuilder,
};
use rustix::fs::MemfdFlags;
use serde::Deserialize;

use crate::security;

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

impl Argument {
    fn compare(&self) -> ScmpArgCompare {
        let (op, value) = match self.op {
            Operator::Equal => (ScmpCompareOp::Equal, self.value),
            Operator::Less => (ScmpCompareOp::Less, self.value),
            Operator::Greater => (ScmpCompareOp::Greater, self.value),
            Operator::Clear => (ScmpCompareOp::MaskedEqual(self.value), 0),
        };
        ScmpArgCompare::new(self.index as u32, op, value)
    }
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

/// The profile of a sandboxed process as a program for the kernel, compiled at the first call.
pub fn default_filter() -> anyhow::Result<Arc<[u8]>> {
    static FILTER: Mutex<Option<Arc<[u8]>>> = Mutex::new(None);
    let mut filter = FILTER.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(filter) = &*filter {
        return Ok(filter.clone());
    }
    let made: Arc<[u8]> = compile(&security::DEFAULT_CAPABILITIES).context("compile the seccomp filter")?.into();
    *filter = Some(made.clone());
    Ok(made)
}

fn compile(capabilities: &[Capability]) -> anyhow::Result<Vec<u8>> {
    let arch = go_arch();
    let mut filter = ScmpFilterContext::new(ScmpAction::Errno(EPERM as i32))?;
    for arch in architectures(arch) {
        filter.add_arch(scmp_arch(arch)?)?;
    }
    // A search tree instead of a list: a call is found in ten steps, not in hundreds.
    filter.set_ctl_optimize(2)?;
    for rule in table()?.rule.iter().filter(|rule| rule.holds(arch, capabilities)) {
        rule.add_to(&mut filter)?;
    }
    let mut file = File::from(rustix::fs::memfd_create("pintle-seccomp", MemfdFlags::CLOEXEC)?);
    filter.export_bpf(&file)?;
    let mut program = Vec::new();
    file.rewind()?;
    file.read_to_end(&mut program)?;
    Ok(program)
}

fn scmp_arch(arch: Arch) -> anyhow::Result<ScmpArch> {
    Ok(match arch {
        Arch::ScmpArchX86_64 => ScmpArch::X8664,
        Arch::ScmpArchX86 => ScmpArch::X86,
        Arch::ScmpArchX32 => ScmpArch::X32,
        Arch::ScmpArchAarch64 => ScmpArch::Aarch64,
        Arch::ScmpArchArm => ScmpArch::Arm,
        Arch::ScmpArchS390x => ScmpArch::S390X,
        Arch::ScmpArchS390 => ScmpArch::S390,
        Arch::ScmpArchRiscv64 => ScmpArch::Riscv64,
        Arch::ScmpArchLoongarch64 => ScmpArch::Loongarch64,
        Arch::ScmpArchMips64 => ScmpArch::Mips64,
        Arch::ScmpArchMips => ScmpArch::Mips,
        Arch::ScmpArchMips64n32 => ScmpArch::Mips64N32,
        other => anyhow::bail!("no seccomp filter for {other:?}"),
    })
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

    /// A call that this libseccomp does not know is left out: it is refused then.
    fn add_to(&self, filter: &mut ScmpFilterContext) -> anyhow::Result<()> {
        let action = self.errno.map_or(ScmpAction::Allow, |errno| ScmpAction::Errno(errno as i32));
        let condition: Vec<ScmpArgCompare> = self.arg.iter().map(Argument::compare).collect();
        for call in self.calls.iter().filter_map(|name| ScmpSyscall::from_name(name).ok()) {
            filter.add_rule_conditional(action, call, &condition)?;
        }
        Ok(())
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
