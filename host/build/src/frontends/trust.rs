//! Which frontends may run, and what each may ask of the host.

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
};

use frontend::LimitChanges;
use serde::{Deserialize, Serialize};
use signatures::{Identity, Key, Signature};

use super::layout::is_in_shared_dir;
use crate::bridge::FRONTEND_DIR;

/// The most reasons that are told why signatures do not count.
const REASONS_MAX: usize = 4;

/// Rules on frontends: the first that fits decides. The frontends of this program are none of theirs.
#[derive(Clone, Debug, Default)]
pub struct Trust {
    /// Where they stand, for messages: `frontends.trust in the engine's configuration`.
    pub origin: String,
    /// In order.
    pub rules: Vec<TrustRule>,
    /// What becomes of frontends that no rule fits.
    pub unlisted: Consequence,
}

/// What becomes of some frontends.
#[derive(Clone, Debug)]
pub struct TrustRule {
    /// Repositories, complete (`docker.io/acme/lang`), and files as [`file_name`] has them; `*` at the end stands for any rest. None: all.
    pub names: Vec<String>,
    /// Digests of manifests, or of components that are files. None: all.
    pub digests: BTreeSet<String>,
    /// Who may sign, by their keys. Neither these nor identities: nobody has to.
    pub keys: Vec<Key>,
    /// Who may sign, by what certificates say of them.
    pub identities: Vec<Identity>,
    /// What follows when none of these has signed.
    pub unsigned: Consequence,
    /// What the frontends may ask.
    pub grants: Grants,
    /// What the frontends may use that are components, where that is other than usual.
    pub limits: LimitChanges,
}

/// What follows of a doubt.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Consequence {
    /// It runs.
    #[default]
    Allow,
    /// It runs, and the user is told.
    Warn,
    /// It does not run.
    Refuse,
}

/// A group of things that a frontend may ask of the host.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Debug, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Grant {
    /// What images and refs of repositories are.
    Images,
    /// Files of the build's context, read while the graph is made.
    Context,
    /// Downloads and repositories in graphs.
    Sources,
    /// Processes that run while the graph is made.
    Processes,
    /// Other frontends by name, and caches.
    Registry,
}

impl Grant {
    const ALL: [Grant; 5] = [Grant::Images, Grant::Context, Grant::Sources, Grant::Processes, Grant::Registry];

    fn word(self) -> &'static str {
        match self {
            Grant::Images => "images",
            Grant::Context => "context",
            Grant::Sources => "sources",
            Grant::Processes => "processes",
            Grant::Registry => "registry",
        }
    }
}

/// What a frontend may ask.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Grants(BTreeSet<Grant>);

impl Grants {
    /// Everything.
    pub fn all() -> Grants {
        Grants(Grant::ALL.into())
    }

    /// What both may ask: a frontend that another one calls may do no more than that.
    pub(crate) fn within(&self, outer: &Grants) -> Grants {
        Grants(self.0.intersection(&outer.0).copied().collect())
    }

    /// Fails where `grant` is not among them; `what` is what it is wanted for, after "may not".
    pub(crate) fn check(&self, grant: Grant, what: impl FnOnce() -> String) -> Result<(), Missing> {
        if self.0.contains(&grant) {
            return Ok(());
        }
        Err(Missing { grant, granted: self.clone(), what: what() })
    }

    /// Fails where a question about a source is not granted.
    pub(crate) fn check_query(&self, query: &frontend::SourceQuery) -> Result<(), Missing> {
        let source = llb::op::SourceOp { identifier: query.identifier.clone(), attrs: query.attrs.clone() };
        let is_download = query.identifier.starts_with("http://") || query.identifier.starts_with("https://");
        let what = || format!("look up {}", query.identifier);
        self.check(if is_download { Grant::Sources } else { Grant::Images }, what)?;
        if is_in_shared_dir(&source) { self.check(Grant::Context, what) } else { Ok(()) }
    }

    /// Fails where the graph of a solve has what is not granted.
    pub(crate) fn check_solve(&self, definition: &frontend::Definition) -> Result<(), Missing> {
        let needed = needed(definition);
        needed.into_iter().try_for_each(|(grant, what)| self.check(grant, || format!("{what} while the graph is made")))
    }

    /// Fails where the graph that is the result has what is not granted. That the build reads its context and runs steps is what a
    /// result is for.
    pub(crate) fn check_result(&self, definition: &frontend::Definition) -> Result<(), Missing> {
        match needed(definition).remove(&Grant::Sources) {
            Some(what) => self.check(Grant::Sources, || what),
            None => Ok(()),
        }
    }
}

/// Something that a frontend asked for and was not granted.
#[derive(Debug)]
pub(crate) struct Missing {
    grant: Grant,
    granted: Grants,
    what: String,
}

impl Missing {
    /// The error of a frontend of this name.
    pub(crate) fn of(self, frontend: &str) -> frontend::Error {
        let Missing { grant, granted, what } = self;
        let message = format!(
            "frontend {frontend}: may not {what}: that needs the grant {:?}, and it has {granted}: a rule on frontends can give it, \
             in the engine's configuration and in the build's policy where it has one",
            grant.word()
        );
        frontend::Error::new("denied", message)
    }
}

impl FromIterator<Grant> for Grants {
    fn from_iter<I: IntoIterator<Item = Grant>>(grants: I) -> Self {
        Grants(grants.into_iter().collect())
    }
}

impl fmt::Display for Grants {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let words: Vec<_> = self.0.iter().map(|grant| grant.word()).collect();
        f.write_str(&if words.is_empty() { "none".into() } else { words.join(", ") })
    }
}

/// What a graph needs, each with something in it that needs it.
fn needed(definition: &frontend::Definition) -> BTreeMap<Grant, String> {
    let mut needed = BTreeMap::new();
    let Some(edge) = definition.edge else { return needed };
    for id in definition.graph.reachable(edge) {
        let (grant, what) = match &definition.graph.vertex(id).op {
            llb::Op::Source(source) => match of_source(source) {
                Some(Grant::Context) => (Grant::Context, "read the build's context".to_owned()),
                Some(grant) => (grant, format!("have {} in its graph", source.identifier)),
                None => continue,
            },
            llb::Op::Exec(exec) => (Grant::Processes, format!("run {:?}", exec.args.join(" "))),
            _ => continue,
        };
        needed.entry(grant).or_insert(what);
    }
    needed
}

/// What a graph needs that has this source.
fn of_source(source: &llb::op::SourceOp) -> Option<Grant> {
    match source.identifier.split_once("://")?.0 {
        _ if is_in_shared_dir(source) => Some(Grant::Context),
        "local" => Some(Grant::Context),
        "http" | "https" | "git" => Some(Grant::Sources),
        _ => None,
    }
}

/// What is found of a frontend.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Verdict {
    /// Of what was judged: a manifest, or a component that is a file.
    pub digest: String,
    /// Who has signed it: the name of a key, or what a certificate says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub signer: Option<String>,
    /// What it may ask.
    pub grants: Grants,
    /// What it may use that is other than usual.
    #[serde(skip_serializing_if = "LimitChanges::is_empty")]
    pub limits: LimitChanges,
    /// What the user is to be told.
    #[serde(skip)]
    pub warning: Option<String>,
}

impl Verdict {
    /// What is found by the rules of an engine, and by those of a build.
    pub(crate) fn and(self, other: Verdict) -> Verdict {
        let warnings = [self.warning, other.warning].into_iter().flatten().collect::<Vec<_>>();
        Verdict {
            digest: self.digest,
            signer: self.signer.or(other.signer),
            grants: other.grants.within(&self.grants),
            limits: self.limits.and(other.limits),
            warning: (!warnings.is_empty()).then(|| warnings.join("; ")),
        }
    }

    fn of(digest: &str, grants: Grants, limits: LimitChanges) -> Verdict {
        Verdict { digest: digest.to_owned(), signer: None, grants, limits, warning: None }
    }

    /// Lets a doubt have its consequence.
    fn doubted(self, consequence: Consequence, doubt: &str) -> Result<Verdict, String> {
        match consequence {
            Consequence::Allow => Ok(self),
            Consequence::Warn => Ok(Verdict { warning: Some(doubt.to_owned()), ..self }),
            Consequence::Refuse => Err(doubt.to_owned()),
        }
    }
}

impl fmt::Display for Verdict {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some(signer) = &self.signer {
            write!(f, "signed by {signer}; ")?;
        }
        write!(f, "may ask for: {}", self.grants)?;
        if self.limits.is_empty() { Ok(()) } else { write!(f, "; limits: {}", self.limits) }
    }
}

impl Trust {
    /// Whether it has nothing to say of anything.
    pub fn is_silent(&self) -> bool {
        self.rules.is_empty() && self.unlisted == Consequence::Allow
    }

    fn rule(&self, name: &str, digest: &str) -> Option<&TrustRule> {
        self.rules.iter().find(|rule| rule.fits(name, digest))
    }

    /// Whether these signatures leave no doubt about a frontend; where none are asked for, no signatures are enough.
    pub fn is_sure(&self, name: &str, digest: &str, signatures: &[Signature]) -> bool {
        let rule = self.rule(name, digest).filter(|rule| rule.wants_signatures());
        rule.is_none_or(|rule| rule.signer(digest, signatures).is_ok())
    }

    /// Whether a frontend may run; the error says why not.
    pub fn judge(&self, name: &str, digest: &str, signatures: &[Signature]) -> Result<Verdict, String> {
        let Some(rule) = self.rule(name, digest) else {
            let doubt = format!("no rule of {} fits it: its name is {name:?}", self.origin);
            return Verdict::of(digest, Grants::all(), LimitChanges::default()).doubted(self.unlisted, &doubt);
        };
        let verdict = Verdict::of(digest, rule.grants.clone(), rule.limits.clone());
        if !rule.wants_signatures() {
            return Ok(verdict);
        }
        match rule.signer(digest, signatures) {
            Ok(signer) => Ok(Verdict { signer: Some(signer), ..verdict }),
            Err(reasons) => {
                let why = if reasons.is_empty() { there_are(signatures) } else { reasons.join("; ") };
                let signers = rule.signers().join(" or ");
                verdict.doubted(
                    rule.unsigned,
                    &format!("{digest} is not signed by {signers}, as {} wants; {why}", self.origin),
                )
            }
        }
    }
}

/// What there is instead of the signature that is wanted.
fn there_are(signatures: &[Signature]) -> String {
    match signatures.len() {
        0 => "nobody has signed it".to_owned(),
        1 => "the signature that it has is another one".to_owned(),
        count => format!("the {count} signatures that it has are others"),
    }
}

impl TrustRule {
    fn wants_signatures(&self) -> bool {
        !self.keys.is_empty() || !self.identities.is_empty()
    }

    /// Those one of whom must have signed, for people.
    fn signers(&self) -> Vec<String> {
        let keys = self.keys.iter().map(|key| key.name().to_owned());
        keys.chain(self.identities.iter().map(Identity::to_string)).collect()
    }

    /// Who of those who may has signed; the error is what is wrong with the signatures that there are.
    fn signer(&self, digest: &str, signatures: &[Signature]) -> Result<String, Vec<String>> {
        let by_key = |key: &&Key| signatures.iter().any(|signature| key.has_signed(digest, signature));
        if let Some(key) = self.keys.iter().find(by_key) {
            return Ok(key.name().to_owned());
        }
        let mut reasons = BTreeSet::new();
        for identity in &self.identities {
            for signature in signatures {
                match identity.has_signed(digest, signature) {
                    Ok(signer) => return Ok(signer.to_string()),
                    Err(why) => drop(reasons.insert(format!("of a signature: {why:#}"))),
                }
            }
        }
        Err(reasons.into_iter().take(REASONS_MAX).collect())
    }

    fn fits(&self, name: &str, digest: &str) -> bool {
        let names = |pattern: &String| match pattern.strip_suffix('*') {
            Some(begin) => name.starts_with(begin),
            // Every repository's name has a slash: what has none can only be a file.
            None => name == pattern || (!pattern.contains('/') && name.strip_prefix("./") == Some(pattern)),
        };
        (self.names.is_empty() || self.names.iter().any(names))
            && (self.digests.is_empty() || self.digests.contains(digest))
    }
}

/// What rules call a component that is a file: a path that begins with `./`, `../` or `/`, as no repository's name does, so that no file
/// passes for a repository and none for a file. What `..` leads to depends on symlinks, so it stays as it is written.
pub fn file_name(path: &str) -> String {
    if path.starts_with('/') || path.starts_with(FRONTEND_DIR) {
        return path.to_owned();
    }
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    match parts.first() {
        Some(&"..") => parts.join("/"),
        _ => format!("./{}", parts.join("/")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rule(names: &[&str], digests: &[&str], grants: &[Grant]) -> TrustRule {
        TrustRule {
            names: names.iter().map(|name| name.to_string()).collect(),
            digests: digests.iter().map(|digest| digest.to_string()).collect(),
            keys: Vec::new(),
            identities: Vec::new(),
            unsigned: Consequence::Refuse,
            grants: grants.iter().copied().collect(),
            limits: LimitChanges::default(),
        }
    }

    #[test]
    fn files_have_names_that_no_repository_has() {
        let names = [
            ("x.wasm", "./x.wasm"),
            (".//./x.wasm", "./x.wasm"),
            ("registry.example/a/x.wasm", "./registry.example/a/x.wasm"),
            ("../x.wasm", "../x.wasm"),
            ("./../x.wasm", "../x.wasm"),
            ("b/../x.wasm", "./b/../x.wasm"),
            ("/a//x.wasm", "/a//x.wasm"),
            ("frontend:x.wasm", "frontend:x.wasm"),
        ];
        for (path, name) in names {
            assert_eq!(file_name(path), name);
        }
    }

    #[test]
    fn the_first_rule_that_fits_decides() {
        let rules = vec![
            rule(&["a/b"], &["1"], &[Grant::Images]),
            rule(&["a/*", "./x.wasm", "y.wasm"], &[], &[Grant::Context]),
            rule(&[], &["9"], &[]),
        ];
        let table = [
            ("a/b", "1", Some("images")),
            ("a/b", "2", Some("context")),
            ("a/", "2", Some("context")),
            ("./x.wasm", "2", Some("context")),
            ("x.wasm", "2", None),
            ("./a/x.wasm", "2", None),
            ("./y.wasm", "2", Some("context")),
            ("./a/y.wasm", "2", None),
            ("b/y.wasm", "2", None),
            ("a", "9", Some("none")),
            ("a", "2", None),
            ("b/a/b", "1", None),
        ];
        for unlisted in [Consequence::Allow, Consequence::Warn, Consequence::Refuse] {
            let trust = Trust { rules: rules.clone(), unlisted, ..Trust::default() };
            for (name, digest, grants) in table {
                let verdict = trust.judge(name, digest, &[]);
                match grants {
                    Some(grants) => assert_eq!(verdict.unwrap().grants.to_string(), grants, "{name} {digest}"),
                    None if unlisted == Consequence::Refuse => assert!(verdict.is_err()),
                    None => {
                        let verdict = verdict.unwrap();
                        assert_eq!(verdict.warning.is_some(), unlisted == Consequence::Warn);
                        assert_eq!(verdict.grants, Grants::all());
                    }
                }
            }
        }
        assert!(Trust::default().is_silent());
    }

    #[test]
    fn a_layout_in_the_context_is_the_context() {
        let grants: Grants = [Grant::Images].into_iter().collect();
        for (store, granted) in [("langs", true), ("context/langs", false), ("dockerfile/.", false)] {
            for identifier in ["oci-layout://a@sha256:1", "oci-layout+blob://a@sha256:1"] {
                let attrs = [("oci.store".to_string(), store.to_string())].into();
                let query = frontend::SourceQuery { identifier: identifier.into(), attrs, ..Default::default() };
                assert_eq!(grants.check_query(&query).is_ok(), granted, "{store} {identifier}");
                let source = llb::op::SourceOp { identifier: query.identifier, attrs: query.attrs };
                assert_eq!(of_source(&source), (!granted).then_some(Grant::Context), "{store} {identifier}");
            }
        }
    }

    #[test]
    fn both_rules_hold() {
        let verdict = |signer: Option<&str>, grants: &[Grant], warning: Option<&str>| Verdict {
            digest: "1".into(),
            signer: signer.map(String::from),
            grants: grants.iter().copied().collect(),
            limits: LimitChanges::default(),
            warning: warning.map(String::from),
        };
        let both = verdict(Some("a"), &[Grant::Images, Grant::Context], Some("one")).and(verdict(
            Some("b"),
            &[Grant::Context, Grant::Sources],
            Some("two"),
        ));
        assert_eq!(both, verdict(Some("a"), &[Grant::Context], Some("one; two")));
        let one = verdict(None, &[], None).and(verdict(Some("b"), &[Grant::Context], None));
        assert_eq!(one, verdict(Some("b"), &[], None));
    }

    #[test]
    fn what_is_called_may_do_no_more_than_who_calls() {
        let grants = |list: &[Grant]| list.iter().copied().collect::<Grants>();
        let (outer, inner) = (grants(&[Grant::Images, Grant::Context]), grants(&[Grant::Context, Grant::Sources]));
        assert_eq!(inner.within(&outer), grants(&[Grant::Context]));
        assert_eq!(Grants::all().within(&outer), outer);
        let missing = outer.check(Grant::Sources, || "have git://x in its graph".into()).unwrap_err().of("a/b:1");
        assert_eq!(missing.code, "denied");
        let wanted = "frontend a/b:1: may not have git://x in its graph: that needs the grant \"sources\", and it has images, context: ";
        assert!(missing.message.starts_with(wanted), "{}", missing.message);
        assert!(outer.check(Grant::Context, || unreachable!("it is granted")).is_ok());
    }
}
