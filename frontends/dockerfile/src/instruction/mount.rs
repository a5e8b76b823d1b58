//! The values of `RUN --mount` and `RUN --device`.

use crate::{
    source::{Problem, Token},
    text::{csv, nearest, parse_bool, parse_u32, size},
};

/// A mount, with variables resolved.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Mount {
    /// What kind.
    pub kind: MountKind,
    /// A stage, an image or a named context.
    pub from: String,
    /// A path in what is mounted; of a secret, its id.
    pub source: String,
    /// Where it appears.
    pub target: String,
    /// Not writable.
    pub readonly: bool,
    /// Of a tmpfs, in bytes; 0: none.
    pub size: i64,
    /// Of a cache, a secret or an agent.
    pub id: String,
    /// Of a cache.
    pub sharing: Option<Sharing>,
    /// A secret or an agent must be there.
    pub required: bool,
    /// Give a secret as this variable.
    pub env: Option<String>,
    /// Permission bits.
    pub mode: Option<u32>,
    /// Owner.
    pub uid: Option<u32>,
    /// Group.
    pub gid: Option<u32>,
}

/// What is mounted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[allow(missing_docs)]
pub enum MountKind {
    #[default]
    Bind,
    Cache,
    Tmpfs,
    Secret,
    Ssh,
}

/// Who may use a cache at once.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Sharing {
    Shared,
    Private,
    Locked,
}

const KINDS: [(&str, MountKind); 5] = [
    ("bind", MountKind::Bind),
    ("cache", MountKind::Cache),
    ("tmpfs", MountKind::Tmpfs),
    ("secret", MountKind::Secret),
    ("ssh", MountKind::Ssh),
];

const SHARINGS: [(&str, Sharing); 3] =
    [("shared", Sharing::Shared), ("private", Sharing::Private), ("locked", Sharing::Locked)];

const KEYS: [&str; 19] = [
    "type",
    "from",
    "source",
    "target",
    "readonly",
    "id",
    "sharing",
    "required",
    "size",
    "mode",
    "uid",
    "gid",
    "src",
    "dst",
    "destination",
    "ro",
    "rw",
    "readwrite",
    "env",
];

impl MountKind {
    /// The word in the flag.
    pub fn name(self) -> &'static str {
        KINDS.iter().find(|(_, kind)| *kind == self).map_or("bind", |(name, _)| name)
    }
}

/// Finds a word in a table; an error names the nearest.
fn choose<T: Copy>(what: &str, value: &str, table: &[(&'static str, T)]) -> Result<T, String> {
    let lower = value.to_ascii_lowercase();
    match table.iter().find(|(name, _)| *name == lower) {
        Some((_, found)) => Ok(*found),
        None => {
            let message = format!("unsupported {what} {value:?}");
            Err(nearest::suggest(message, &lower, table.iter().map(|(name, _)| *name)))
        }
    }
}

impl Mount {
    /// Reads the value of a flag; `expand` resolves variables in each of its values. Errors are lower-case fragments.
    pub fn parse(value: &str, expand: &mut dyn FnMut(&str) -> Result<String, String>) -> Result<Self, String> {
        let mut mount = Mount::default();
        let mut readonly = None;
        for field in csv::fields(value).map_err(|error| format!("cannot read the mount: {error}"))? {
            match field.split_once('=') {
                Some((key, value)) => mount.set(&key.to_ascii_lowercase(), &expand(value)?, &field, &mut readonly)?,
                None => mount.set_word(&field, &mut readonly)?,
            }
        }
        mount.readonly = readonly.unwrap_or(!matches!(mount.kind, MountKind::Cache | MountKind::Tmpfs));
        mount.check()?;
        Ok(mount)
    }

    fn set_word(&mut self, field: &str, readonly: &mut Option<bool>) -> Result<(), String> {
        match field.to_ascii_lowercase().as_str() {
            "readonly" | "ro" => *readonly = Some(true),
            "readwrite" | "rw" => *readonly = Some(false),
            "required" => {
                self.only_for("required", &[MountKind::Secret, MountKind::Ssh])?;
                self.required = true;
            }
            _ => return Err(format!("invalid field '{field}' must be a key=value pair")),
        }
        Ok(())
    }

    fn set(&mut self, key: &str, value: &str, field: &str, readonly: &mut Option<bool>) -> Result<(), String> {
        let invalid = || format!("invalid value for {key}: {value}");
        let number = |radix| parse_u32(value, radix).ok_or_else(|| format!("invalid value {value} for {key}"));
        match key {
            "type" => self.kind = choose("mount type", value, &KINDS)?,
            "from" => self.from = value.to_string(),
            "source" | "src" => self.source = value.to_string(),
            "target" | "dst" | "destination" => self.target = value.to_string(),
            "readonly" | "ro" => *readonly = Some(parse_bool(value).ok_or_else(invalid)?),
            "readwrite" | "rw" => *readonly = Some(!parse_bool(value).ok_or_else(invalid)?),
            "required" => {
                self.only_for(key, &[MountKind::Secret, MountKind::Ssh])?;
                self.required = parse_bool(value).ok_or_else(invalid)?;
            }
            "size" => {
                self.only_for(key, &[MountKind::Tmpfs])?;
                self.size = size::parse(value).ok_or_else(invalid)?;
            }
            "id" => self.id = value.to_string(),
            "sharing" => self.sharing = Some(choose("sharing value", value, &SHARINGS)?),
            "mode" => self.mode = Some(number(8)?),
            "uid" => self.uid = Some(number(10)?),
            "gid" => self.gid = Some(number(10)?),
            "env" => self.env = Some(value.to_string()),
            _ => return Err(nearest::suggest(format!("unexpected key '{key}' in '{field}'"), key, KEYS)),
        }
        Ok(())
    }

    fn only_for(&self, key: &str, kinds: &[MountKind]) -> Result<(), String> {
        if kinds.contains(&self.kind) {
            return Ok(());
        }
        Err(format!("unexpected key '{key}' for mount type '{}'", self.kind.name()))
    }

    fn check(&self) -> Result<(), String> {
        let kind = self.kind.name();
        if matches!(self.kind, MountKind::Bind | MountKind::Tmpfs) {
            let given = [("mode", self.mode), ("uid", self.uid), ("gid", self.gid)];
            if let Some((key, _)) = given.iter().find(|(_, value)| value.is_some()) {
                return Err(format!("{key} not allowed for {kind:?} type mounts"));
            }
        }
        if self.kind == MountKind::Secret {
            self.check_secret()?;
        }
        if self.sharing.is_some() && self.kind != MountKind::Cache {
            return Err(format!("invalid cache sharing set for {kind} mount"));
        }
        if self.kind == MountKind::Ssh && !self.source.is_empty() {
            return Err("ssh does not support source".to_string());
        }
        Ok(())
    }

    fn check_secret(&self) -> Result<(), String> {
        if !self.from.is_empty() {
            return Err("secret mount should not have a from".to_string());
        }
        if self.sharing.is_some() {
            return Err("secret mount should not define sharing".to_string());
        }
        if self.source.is_empty() && self.target.is_empty() && self.id.is_empty() {
            return Err("invalid secret mount: one of id, source, target required".to_string());
        }
        if !self.source.is_empty() && !self.id.is_empty() {
            return Err("both source and id can't be set".to_string());
        }
        Ok(())
    }
}

/// A device that a process may use.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Device {
    /// By its CDI name.
    pub name: String,
    /// It must be there.
    pub required: bool,
}

impl Device {
    /// Reads the value of a `--device` flag.
    pub fn parse(value: &Token) -> Result<Self, Problem> {
        let problem = |message: String| Problem::new(message, value.span);
        let fields = csv::fields(&value.text).map_err(|error| problem(format!("cannot read the device: {error}")))?;
        let mut device = Device::default();
        for field in fields {
            device.set(&field).map_err(problem)?;
        }
        Ok(device)
    }

    fn set(&mut self, field: &str) -> Result<(), String> {
        let (key, value) = field.split_once('=').map_or((field, None), |(key, value)| (key, Some(value)));
        match (key.to_ascii_lowercase().as_str(), value) {
            ("required", None) => self.required = true,
            ("required", Some(value)) => {
                self.required = parse_bool(value).ok_or_else(|| format!("invalid value for {key}: {value}"))?;
            }
            ("name", Some(_)) if !self.name.is_empty() => {
                return Err(format!("device name already set to {}", self.name));
            }
            ("name", Some(value)) => self.name = value.to_string(),
            _ if self.name.is_empty() => self.name = field.to_string(),
            (_, None) => return Err(format!("invalid field '{field}' must be a key=value pair")),
            (key, Some(_)) => {
                let message = format!("unexpected key '{key}' in '{field}'");
                return Err(nearest::suggest(message, key, ["name", "required"]));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(value: &str) -> Result<Mount, String> {
        Mount::parse(value, &mut |value| Ok(value.replace("$X", "x")))
    }

    #[test]
    fn mounts() {
        let cache = parse("type=cache,target=/c,sharing=locked,uid=1,mode=0700").unwrap();
        assert_eq!((cache.kind, cache.sharing, cache.readonly), (MountKind::Cache, Some(Sharing::Locked), false));
        assert_eq!((cache.uid, cache.mode), (Some(1), Some(0o700)));
        assert!(parse("target=/b").unwrap().readonly);
        assert!(!parse("target=/b,rw").unwrap().readonly);
        assert!(parse("target=/b,rw=false").unwrap().readonly);
        assert_eq!(parse("type=tmpfs,dst=/t,size=1m").unwrap().size, 1 << 20);
        assert_eq!(parse("type=secret,id=$X").unwrap().id, "x");
    }

    #[test]
    fn mistakes() {
        for (value, message) in [
            ("type=cahce,target=/c", "unsupported mount type \"cahce\" (did you mean cache?)"),
            ("type=bind,targt=/c", "unexpected key 'targt' in 'targt=/c' (did you mean target?)"),
            ("type=bind,target=/c,uid=1", "uid not allowed for \"bind\" type mounts"),
            ("type=bind,sharing=locked", "invalid cache sharing set for bind mount"),
            ("type=bind,size=1", "unexpected key 'size' for mount type 'bind'"),
            ("type=secret", "invalid secret mount: one of id, source, target required"),
            ("type=cache,mode=9", "invalid value 9 for mode"),
            ("bad", "invalid field 'bad' must be a key=value pair"),
        ] {
            assert_eq!(parse(value).unwrap_err(), message);
        }
    }
}
