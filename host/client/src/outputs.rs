//! Values of flags, in the syntax of `docker buildx build`: comma-separated `key=value` fields, a field with a comma in double quotes.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use crate::{
    server::{ExportTarget, SecretSource, SshAgent},
    solve::{CacheOption, Export},
};

/// A flag's value that cannot be used.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum FlagError {
    #[error("{what} {given:?} is not known: {hint}")]
    Unknown { what: String, given: String, hint: String },
    #[error("{flag} {value:?}: {reason}")]
    Bad { flag: &'static str, value: String, reason: String },
}

impl FlagError {
    /// `given` is none of `known`; the nearest of them is suggested, or all.
    pub fn unknown<'a>(what: &str, given: &str, known: impl IntoIterator<Item = &'a str>) -> FlagError {
        let known: Vec<&str> = known.into_iter().collect();
        let hint = match nearest(given, known.iter().copied()) {
            Some(word) => format!("did you mean {word:?}?"),
            None => format!("there are {}", known.join(", ")),
        };
        FlagError::Unknown { what: what.to_owned(), given: given.to_owned(), hint }
    }

    fn bad(flag: &'static str, value: &str, reason: impl Into<String>) -> FlagError {
        FlagError::Bad { flag, value: value.to_owned(), reason: reason.into() }
    }
}

/// The kinds of `--output`.
const OUTPUT_KINDS: [&str; 7] = ["image", "registry", "docker", "oci", "tar", "local", "cacheonly"];
/// The kinds of `--cache-from` and `--cache-to`.
const CACHE_KINDS: [&str; 6] = ["registry", "inline", "local", "gha", "s3", "azblob"];

/// One `--output`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Output {
    /// For the engine; `None` when the result is only to be in its cache.
    pub export: Option<Export>,
    /// Where it goes on this machine; `None` when it stays with the engine or goes to a registry.
    pub target: Option<ExportTarget>,
}

/// Reads `--output`: `type=KIND,key=value...`; `-` for a tar on standard output; any other single word for a local directory.
pub fn parse_output(value: &str) -> Result<Output, FlagError> {
    const FLAG: &str = "--output";
    let bad = |reason: &str| FlagError::bad(FLAG, value, reason);
    let mut attrs = match single(value) {
        Some("-") => pairs_of([("type", "tar"), ("dest", "-")]),
        Some(dir) => pairs_of([("type", "local"), ("dest", dir)]),
        None => pairs(FLAG, value)?,
    };
    let mut kind =
        attrs.remove("type").ok_or_else(|| bad("it has no type: write type=image, type=local or another"))?;
    if !OUTPUT_KINDS.contains(&kind.as_str()) {
        return Err(FlagError::unknown("output type", &kind, OUTPUT_KINDS));
    }
    if kind == "cacheonly" {
        return Ok(Output { export: None, target: None });
    }
    if kind == "registry" {
        kind = "image".to_owned();
        attrs.entry("push".to_owned()).or_insert_with(|| "true".to_owned());
    }
    let target = target(&kind, &mut attrs).map_err(|reason| bad(&reason))?;
    Ok(Output { export: Some(Export { kind, attrs }), target })
}

/// Takes the destination out of the options, which is no business of the engine.
fn target(kind: &str, attrs: &mut BTreeMap<String, String>) -> Result<Option<ExportTarget>, String> {
    let dest = attrs.remove("dest").filter(|dest| !dest.is_empty());
    let is_tree = kind == "local" || (kind == "oci" && attrs.get("tar").is_some_and(|v| is_false(v)));
    let delete = match attrs.get("mode").map(String::as_str) {
        Some("delete") if kind == "local" => true,
        Some("copy") | None => false,
        Some(_) if kind != "local" => false,
        Some(other) => return Err(format!("mode {other:?} is neither copy nor delete")),
    };
    match (kind, dest.as_deref()) {
        ("image", None) => Ok(None),
        ("image", Some(_)) => Err("an image goes to the engine's store or a registry and has no dest".to_owned()),
        (_, Some("-")) if is_tree => Err("a directory cannot go to standard output".to_owned()),
        (_, Some(dest)) if is_tree => {
            if delete && Path::new(dest).parent().is_none() {
                return Err("mode=delete would empty the file system".to_owned());
            }
            Ok(Some(ExportTarget::Dir { path: PathBuf::from(dest), delete }))
        }
        (_, None) if is_tree => Err("it has no destination: write dest=DIR".to_owned()),
        (_, None | Some("-")) => Ok(Some(ExportTarget::Stdout)),
        (_, Some(dest)) => Ok(Some(ExportTarget::File(PathBuf::from(dest)))),
    }
}

/// Reads `--secret`: `id=ID[,src=FILE|,env=VARIABLE]`. Without either, the variable of that name if it is set, else the file.
pub fn parse_secret(value: &str, is_set: impl Fn(&str) -> bool) -> Result<(String, SecretSource), FlagError> {
    const FLAG: &str = "--secret";
    const KEYS: [&str; 5] = ["id", "src", "source", "env", "type"];
    let fields = closed(FLAG, value, &KEYS, "id")?;
    let field = |key: &str| fields.get(key).filter(|value| !value.is_empty()).cloned();
    let file = field("src").or_else(|| field("source"));
    let env = field("env");
    let id = field("id")
        .or_else(|| env.clone())
        .ok_or_else(|| FlagError::bad(FLAG, value, "it has no id: write id=NAME"))?;
    let source = match (field("type").as_deref(), file, env) {
        (_, Some(_), Some(_)) => {
            return Err(FlagError::bad(FLAG, value, "it comes from a file or from a variable, not both"));
        }
        (None | Some("env"), None, Some(name)) | (Some("env"), Some(name), None) => SecretSource::Env(name),
        (None | Some("file"), Some(path), None) => SecretSource::File(path.into()),
        (Some("env"), None, None) => SecretSource::Env(id.clone()),
        (None, None, None) if is_set(&id) => SecretSource::Env(id.clone()),
        (None | Some("file"), None, None) => SecretSource::File(id.clone().into()),
        (Some("file"), None, Some(_)) => {
            return Err(FlagError::bad(FLAG, value, "type=file goes with src, not with env"));
        }
        (Some(kind), ..) => return Err(FlagError::unknown("secret type", kind, ["file", "env"])),
    };
    Ok((id, source))
}

/// Reads `--ssh`: `ID[=SOCKET][,raw=true]`. Without a socket, the agent that `agent` tells, from `SSH_AUTH_SOCK`.
pub fn parse_ssh(value: &str, agent: Option<&Path>) -> Result<(String, SshAgent), FlagError> {
    const FLAG: &str = "--ssh";
    let bad = |reason: &str| FlagError::bad(FLAG, value, reason);
    let fields = fields(FLAG, value)?;
    let (first, rest) = fields.split_first().ok_or_else(|| bad("it is empty: write --ssh default"))?;
    let (id, socket) = first.split_once('=').unwrap_or((first, ""));
    if id.is_empty() {
        return Err(bad("it has no id: write --ssh default"));
    }
    let mut raw = false;
    for field in rest {
        match field.split_once('=') {
            Some(("raw", value)) => raw = !is_false(value),
            Some((key, _)) => return Err(FlagError::unknown("option of --ssh", key, ["raw"])),
            None => return Err(bad("it names more than one socket; keys are added to an agent, which is one")),
        }
    }
    let socket = match socket {
        "" => agent.ok_or_else(|| bad("there is no agent: SSH_AUTH_SOCK is not set"))?.to_owned(),
        path => PathBuf::from(path),
    };
    Ok((id.to_owned(), SshAgent { socket, raw }))
}

/// What `--build-context` names.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ContextSource {
    /// A directory of this machine.
    Local(PathBuf),
    /// Anything that the engine gets by itself: an image, a repository, a URL, another target.
    Remote(String),
}

/// Reads `--build-context`: `NAME=SOURCE`.
pub fn parse_build_context(value: &str) -> Result<(String, ContextSource), FlagError> {
    const FLAG: &str = "--build-context";
    let (name, source) = value.split_once('=').unwrap_or((value, ""));
    if name.is_empty() || source.is_empty() {
        return Err(FlagError::bad(FLAG, value, "it is not NAME=SOURCE"));
    }
    if name.chars().any(|c| c.is_whitespace() || c.is_control()) {
        return Err(FlagError::bad(FLAG, value, "a name has no blanks"));
    }
    Ok((name.to_owned(), context_source(source)))
}

/// Whether a context is a directory here or something that the engine gets.
pub fn context_source(source: &str) -> ContextSource {
    const SCHEMES: [&str; 8] =
        ["docker-image://", "oci-layout://", "http://", "https://", "git://", "ssh://", "target:", "input:"];
    let is_remote = SCHEMES.iter().any(|scheme| source.starts_with(scheme))
        || source.starts_with("git@")
        || source.starts_with("github.com/");
    if is_remote { ContextSource::Remote(source.to_owned()) } else { ContextSource::Local(PathBuf::from(source)) }
}

/// Reads `--cache-from` and `--cache-to`: `type=KIND,key=value...`, or an image's name for a registry.
pub fn parse_cache(flag: &'static str, value: &str) -> Result<CacheOption, FlagError> {
    let mut attrs = match single(value) {
        Some(reference) => pairs_of([("type", "registry"), ("ref", reference)]),
        None => pairs(flag, value)?,
    };
    let kind = attrs
        .remove("type")
        .ok_or_else(|| FlagError::bad(flag, value, "it has no type: write type=registry or another"))?;
    if !CACHE_KINDS.contains(&kind.as_str()) {
        return Err(FlagError::unknown("cache type", &kind, CACHE_KINDS));
    }
    let needed: &[&str] = match (kind.as_str(), flag) {
        ("registry", _) => &["ref"],
        ("local", "--cache-from") => &["src"],
        ("local", _) => &["dest"],
        _ => &[],
    };
    match needed.iter().find(|key| !attrs.contains_key(**key)) {
        Some(key) => Err(FlagError::bad(flag, value, format!("a cache of type {kind} needs {key}=..."))),
        None => Ok(CacheOption { kind, attrs }),
    }
}

/// Reads `KEY=VALUE`, or `KEY` alone for the value that `lookup` finds. `None` when there is none.
pub fn parse_assignment(
    flag: &'static str,
    text: &str,
    lookup: impl Fn(&str) -> Option<String>,
) -> Result<Option<(String, String)>, FlagError> {
    let (key, value) = match text.split_once('=') {
        Some((key, value)) => (key, Some(value.to_owned())),
        None => (text, lookup(text)),
    };
    if key.is_empty() {
        return Err(FlagError::bad(flag, text, "it is not KEY=VALUE"));
    }
    Ok(value.map(|value| (key.to_owned(), value)))
}

/// The value, when it is one field without a key.
fn single(value: &str) -> Option<&str> {
    (!value.is_empty() && !value.contains([',', '=', '"'])).then_some(value)
}

fn pairs_of<const N: usize>(pairs: [(&str, &str); N]) -> BTreeMap<String, String> {
    pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).into()
}

/// Fields as `key=value`; each key once, in lower case.
fn pairs(flag: &'static str, value: &str) -> Result<BTreeMap<String, String>, FlagError> {
    let mut out = BTreeMap::new();
    for field in fields(flag, value)? {
        let Some((key, text)) = field.split_once('=').filter(|(key, _)| !key.trim().is_empty()) else {
            return Err(FlagError::bad(flag, value, format!("{field:?} is not key=value")));
        };
        let key = key.trim().to_ascii_lowercase();
        if out.insert(key.clone(), text.to_owned()).is_some() {
            return Err(FlagError::bad(flag, value, format!("{key} is there twice")));
        }
    }
    Ok(out)
}

/// As [`pairs`], of these keys alone; a single word is the value of `alone`.
fn closed(flag: &'static str, value: &str, keys: &[&str], alone: &str) -> Result<BTreeMap<String, String>, FlagError> {
    if let Some(word) = single(value) {
        return Ok(pairs_of([(alone, word)]));
    }
    let pairs = pairs(flag, value)?;
    match pairs.keys().find(|key| !keys.contains(&key.as_str())) {
        Some(key) => Err(FlagError::unknown(&format!("option of {flag}"), key, keys.iter().copied())),
        None => Ok(pairs),
    }
}

/// Splits a line of RFC 4180's comma-separated values.
fn fields(flag: &'static str, value: &str) -> Result<Vec<String>, FlagError> {
    let bad = |reason: &str| FlagError::bad(flag, value, reason);
    let mut out = Vec::new();
    let mut rest = value;
    while !rest.is_empty() {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => unquote(quoted).ok_or_else(|| bad("a quotation mark is not closed"))?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                (rest[..end].to_owned(), &rest[end..])
            }
        };
        if !after.is_empty() && !after.starts_with(',') {
            return Err(bad("a comma is missing after a quotation mark"));
        }
        if field.is_empty() || after == "," {
            return Err(bad("a field is empty"));
        }
        out.push(field);
        rest = after.strip_prefix(',').unwrap_or("");
    }
    Ok(out)
}

/// What stands before the closing quotation mark, two for one, and what after.
fn unquote(text: &str) -> Option<(String, &str)> {
    let mut out = String::new();
    let mut rest = text;
    loop {
        let (before, after) = rest.split_once('"')?;
        out.push_str(before);
        match after.strip_prefix('"') {
            Some(after) => {
                out.push('"');
                rest = after;
            }
            None => return Some((out, after)),
        }
    }
}

fn is_false(value: &str) -> bool {
    matches!(value, "0" | "f" | "F" | "false" | "FALSE" | "False")
}

/// The word of `known` that `given` was most likely meant to be, if one is near.
pub fn nearest<'a>(given: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let far = given.chars().count().div_ceil(3).max(1);
    let distances = known.into_iter().map(|word| (distance(given, word), word));
    distances.filter(|(distance, _)| *distance <= far).min().map(|(_, word)| word)
}

/// How many characters are to be put in, taken out or changed, or neighbours swapped, to make one word of the other.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut table = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            if i == 0 || j == 0 {
                table[i][j] = i + j;
                continue;
            }
            let change = table[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
            let swap = if swapped { table[i - 2][j - 2] + 1 } else { usize::MAX };
            table[i][j] = change.min(swap).min(table[i - 1][j] + 1).min(table[i][j - 1] + 1);
        }
    }
    table[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn show(output: &Output) -> String {
        let export = output.export.as_ref().map(|e| {
            let attrs: Vec<_> = e.attrs.iter().map(|(k, v)| format!("{k}={v}")).collect();
            format!("{} [{}]", e.kind, attrs.join(" "))
        });
        format!(
            "{} -> {}",
            export.unwrap_or_else(|| "nothing".into()),
            match &output.target {
                None => "engine".to_owned(),
                Some(ExportTarget::Stdout) => "stdout".to_owned(),
                Some(ExportTarget::File(path)) => format!("file {}", path.display()),
                Some(ExportTarget::Dir { path, delete }) =>
                    format!("dir {}{}", path.display(), if *delete { " emptied" } else { "" }),
            }
        )
    }

    #[test]
    fn outputs() {
        let cases = [
            ("out", "local [] -> dir out"),
            ("-", "tar [] -> stdout"),
            ("type=local,dest=a/b", "local [] -> dir a/b"),
            ("type=local,dest=a,mode=delete", "local [mode=delete] -> dir a emptied"),
            ("type=tar,dest=x.tar", "tar [] -> file x.tar"),
            ("type=tar", "tar [] -> stdout"),
            ("type=oci,dest=-", "oci [] -> stdout"),
            ("type=oci,tar=false,dest=d", "oci [tar=false] -> dir d"),
            ("type=docker,name=a:b", "docker [name=a:b] -> stdout"),
            ("type=image,\"name=a,b\",push=true", "image [name=a,b push=true] -> engine"),
            ("type=registry,name=a", "image [name=a push=true] -> engine"),
            ("TYPE=image,compression-level=3", "image [compression-level=3] -> engine"),
            ("type=image,\"annotation.x=say \"\"hi\"\"\"", "image [annotation.x=say \"hi\"] -> engine"),
            ("type=cacheonly", "nothing -> engine"),
        ];
        for (value, want) in cases {
            assert_eq!(show(&parse_output(value).unwrap_or_else(|e| panic!("{e}"))), want);
        }
        let errors = [
            ("", "no type"),
            ("dest=x", "no type"),
            ("type=locla,dest=x", "did you mean \"local\"?"),
            ("type=podman", "is not known"),
            ("type=local", "dest=DIR"),
            ("type=local,dest=-", "standard output"),
            ("type=local,dest=/,mode=delete", "empty the file system"),
            ("type=local,dest=a,mode=move", "neither copy nor delete"),
            ("type=image,dest=x", "has no dest"),
            ("type=tar,type=oci", "twice"),
            ("type=tar,x", "is not key=value"),
            ("type=tar,", "empty"),
            ("type=tar,,dest=x", "empty"),
            ("\"type=tar", "not closed"),
            ("\"type=tar\"x", "comma is missing"),
        ];
        for (value, want) in errors {
            let error = parse_output(value).unwrap_err().to_string();
            assert!(error.contains(want), "{value}: {error}");
        }
    }

    #[test]
    fn secrets() {
        let file = |id: &str, path: &str| Ok((id.to_owned(), SecretSource::File(path.into())));
        let env = |id: &str, name: &str| Ok((id.to_owned(), SecretSource::Env(name.into())));
        let parse = |value| parse_secret(value, |name| name == "SET");
        assert_eq!(parse("id=a,src=f"), file("a", "f"));
        assert_eq!(parse("id=a,source=f,type=file"), file("a", "f"));
        assert_eq!(parse("id=a,env=V"), env("a", "V"));
        assert_eq!(parse("type=env,id=a,src=V"), env("a", "V"));
        assert_eq!(parse("id=SET"), env("SET", "SET"));
        assert_eq!(parse("id=a"), file("a", "a"));
        assert_eq!(parse("a"), file("a", "a"));
        assert_eq!(parse("env=V"), env("V", "V"));
        for (value, want) in [
            ("", "no id"),
            ("src=f", "no id"),
            ("id=a,scr=f", "did you mean \"src\"?"),
            ("id=a,src=f,env=V", "not both"),
            ("id=a,type=fiel", "did you mean \"file\"?"),
            ("id=a,type=file,env=V", "goes with src"),
        ] {
            let error = parse(value).unwrap_err().to_string();
            assert!(error.contains(want), "{value}: {error}");
        }
    }

    #[test]
    fn ssh_agents() {
        let agent = |id: &str, socket: &str, raw| Ok((id.to_owned(), SshAgent { socket: socket.into(), raw }));
        let parse = |value| parse_ssh(value, Some(Path::new("/agent")));
        assert_eq!(parse("default"), agent("default", "/agent", false));
        assert_eq!(parse("x=/s"), agent("x", "/s", false));
        assert_eq!(parse("x=/s,raw=true"), agent("x", "/s", true));
        assert_eq!(parse("x=/s,raw=false"), agent("x", "/s", false));
        assert!(parse("=/s").unwrap_err().to_string().contains("no id"));
        assert!(parse("x=/a,/b").unwrap_err().to_string().contains("more than one"));
        assert!(parse("x=/a,rwa=1").unwrap_err().to_string().contains("did you mean"));
        assert!(parse_ssh("default", None).unwrap_err().to_string().contains("SSH_AUTH_SOCK"));
    }

    #[test]
    fn contexts_caches_and_assignments() {
        let remote = |text: &str| ContextSource::Remote(text.to_owned());
        assert_eq!(parse_build_context("src=../x"), Ok(("src".into(), ContextSource::Local("../x".into()))));
        assert_eq!(parse_build_context("a=docker-image://b=c"), Ok(("a".into(), remote("docker-image://b=c"))));
        assert_eq!(context_source("git@github.com:a/b"), remote("git@github.com:a/b"));
        for bad in ["", "a", "a=", "=b", "a b=c"] {
            assert!(parse_build_context(bad).is_err(), "{bad:?}");
        }
        let cache = parse_cache("--cache-from", "a/b:c").unwrap();
        assert_eq!((cache.kind.as_str(), cache.attrs["ref"].as_str()), ("registry", "a/b:c"));
        assert!(parse_cache("--cache-from", "type=local,src=d").is_ok());
        for (flag, value, want) in [
            ("--cache-to", "type=local,src=d", "needs dest="),
            ("--cache-to", "type=registry", "needs ref="),
            ("--cache-to", "type=inlne", "did you mean \"inline\"?"),
            ("--cache-to", "ref=x", "no type"),
        ] {
            let error = parse_cache(flag, value).unwrap_err().to_string();
            assert!(error.contains(want), "{value}: {error}");
        }
        let assign = |text| parse_assignment("--build-arg", text, |key| (key == "SET").then(|| "env".to_owned()));
        assert_eq!(assign("A=b=c").unwrap(), Some(("A".into(), "b=c".into())));
        assert_eq!(assign("SET").unwrap(), Some(("SET".into(), "env".into())));
        assert_eq!(assign("UNSET").unwrap(), None);
        assert!(assign("=x").is_err());
    }

    #[test]
    fn the_nearest_word() {
        let words = ["local", "docker", "oci", "tar"];
        assert_eq!(nearest("lcoal", words), Some("local"));
        assert_eq!(nearest("dokcer", words), Some("docker"));
        assert_eq!(nearest("oc", words), Some("oci"));
        assert_eq!(nearest("xyzzy", words), None);
        assert_eq!(nearest("", words), None);
    }
}
