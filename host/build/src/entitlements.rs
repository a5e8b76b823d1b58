//! What a step may do beyond the sandbox: the engine has to grant it, and the one who builds has to ask for it.

use std::{collections::BTreeSet, fmt, str::FromStr};

use exec::{Cdi, Device};
use llb::{
    Op,
    op::{ExecOp, NetMode, SecurityMode},
};

use crate::Failure;

/// One permission, by BuildKit's name.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Entitlement {
    /// `network.host`: the network of the machine.
    NetworkHost,
    /// `security.insecure`: all capabilities and devices that the engine has.
    SecurityInsecure,
    /// `device`: all devices; `device=NAME`: those that answer to the name.
    Device(Option<String>),
}

const NAMES: [(&str, Entitlement); 3] = [
    ("network.host", Entitlement::NetworkHost),
    ("security.insecure", Entitlement::SecurityInsecure),
    ("device", Entitlement::Device(None)),
];

/// Permissions that are granted, or asked for.
pub type Entitlements = BTreeSet<Entitlement>;

impl Entitlement {
    /// All that there are.
    pub fn all() -> Entitlements {
        NAMES.into_iter().map(|(_, entitlement)| entitlement).collect()
    }
}

impl fmt::Display for Entitlement {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Entitlement::Device(Some(name)) = self {
            return write!(f, "device={name}");
        }
        let name = NAMES.iter().find(|(_, own)| own == self).map_or("", |(name, _)| name);
        f.write_str(name)
    }
}

impl FromStr for Entitlement {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        if let Some(name) = text.strip_prefix("device=") {
            return match name.is_empty() || name.contains(',') {
                true => {
                    Err(format!("entitlement {text:?}: want device=NAME; other names for devices are not supported"))
                }
                false => Ok(Entitlement::Device(Some(name.into()))),
            };
        }
        let found = NAMES.into_iter().find(|(name, _)| *name == text).map(|(_, entitlement)| entitlement);
        found.ok_or_else(|| {
            let known: Vec<_> = NAMES.iter().map(|(name, _)| *name).collect();
            format!("unknown entitlement {text:?}: there are {}", known.join(", "))
        })
    }
}

/// What a build is given of what it asks for: all of it, or it fails.
pub fn grant(asked: &[String], granted: &Entitlements) -> Result<Entitlements, Failure> {
    let grant = |name: &String| {
        let entitlement: Entitlement = name.parse().map_err(|error| Failure::new("invalid-argument", error))?;
        let is_device = matches!(entitlement, Entitlement::Device(_));
        match granted.contains(&entitlement) || is_device && granted.contains(&Entitlement::Device(None)) {
            true => Ok(entitlement),
            false => Err(Failure::new("denied", format!("the engine's configuration does not grant {entitlement}"))),
        }
    };
    asked.iter().map(grant).collect()
}

/// Fails for an operation that needs what the build does not have. The files that name devices are read where it has some.
pub fn check(op: &Op, allowed: &Entitlements, cdi: &Cdi) -> Result<(), Failure> {
    let Op::Exec(exec) = op else { return Ok(()) };
    check_devices(exec, allowed, cdi)?;
    let needs = [
        (exec.network == NetMode::Host, Entitlement::NetworkHost),
        (exec.security == SecurityMode::Insecure, Entitlement::SecurityInsecure),
    ];
    match needs.into_iter().find(|(needed, entitlement)| *needed && !allowed.contains(entitlement)) {
        Some((_, entitlement)) => {
            let command = exec.args.join(" ");
            Err(Failure::new(
                "denied",
                format!("{entitlement} is not allowed: {command:?} needs it, and the build did not ask for it"),
            ))
        }
        None => Ok(()),
    }
}

/// A device must be one that any build may use, or one that the build has asked for.
fn check_devices(exec: &ExecOp, allowed: &Entitlements, cdi: &Cdi) -> Result<(), Failure> {
    if exec.cdi_devices.is_empty() || allowed.contains(&Entitlement::Device(None)) {
        return Ok(());
    }
    let failed = |error: anyhow::Error| Failure::new("build-failed", format!("{error:#}"));
    let asked = exec.cdi_devices.iter().map(|device| (device.name.as_str(), device.optional));
    let granted = allowed.iter().filter_map(|entitlement| match entitlement {
        Entitlement::Device(Some(name)) => Some((name.as_str(), true)),
        _ => None,
    });
    let (asked, granted) = (cdi.find(asked).map_err(failed)?, cdi.find(granted).map_err(failed)?);
    let is_granted = |device: &Device| device.auto_allowed || granted.iter().any(|own| own.name == device.name);
    match asked.iter().find(|device| !is_granted(device)) {
        Some(Device { name, .. }) => Err(Failure::new(
            "denied",
            format!("device {name} is not allowed: the build did not ask for it (--allow device={name})"),
        )),
        None => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn asked_and_granted() {
        let names = |names: &[&str]| names.iter().map(|name| name.to_string()).collect::<Vec<_>>();
        let host = BTreeSet::from([Entitlement::NetworkHost]);
        let devices = BTreeSet::from([Entitlement::Device(None)]);
        let cases: [(&[&str], &Entitlements, Result<usize, &str>); 8] = [
            (&["device", "device=v.com/a=b"], &devices, Ok(2)),
            (&["device=v.com/a=b"], &host, Err("denied")),
            (&["device=a,alias=b"], &devices, Err("invalid-argument")),
            (&[], &host, Ok(0)),
            (&["network.host"], &host, Ok(1)),
            (&["network.host", "security.insecure"], &Entitlement::all(), Ok(2)),
            (&["security.insecure"], &host, Err("denied")),
            (&["network"], &host, Err("invalid-argument")),
        ];
        for (asked, granted, want) in cases {
            let got = grant(&names(asked), granted);
            assert_eq!(got.as_ref().map(BTreeSet::len).map_err(|failure| failure.code.as_str()), want, "{asked:?}");
        }
    }

    #[test]
    fn a_step_needs_what_it_uses() {
        let op = |network, security| Op::Exec(llb::op::ExecOp { network, security, ..Default::default() });
        let cases = [
            (op(NetMode::Sandbox, SecurityMode::Sandbox), None),
            (op(NetMode::None, SecurityMode::Sandbox), None),
            (op(NetMode::Host, SecurityMode::Sandbox), Some(Entitlement::NetworkHost)),
            (op(NetMode::Sandbox, SecurityMode::Insecure), Some(Entitlement::SecurityInsecure)),
        ];
        for (op, needs) in cases {
            let cdi = Cdi::disabled();
            assert_eq!(check(&op, &Entitlements::new(), &cdi).is_err(), needs.is_some(), "{op:?}");
            assert!(check(&op, &needs.into_iter().collect(), &cdi).is_ok(), "{op:?}");
        }
    }
}
