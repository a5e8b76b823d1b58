//! Rules on frontends as text: the table `frontends.trust` of an engine's configuration, and the file of a policy, which holds what
//! stands in that table.
//!
//! TOML: `unlisted`, what becomes of frontends that no rule fits, and tables `[[rule]]` with `names`, `digests`, `keys`, `identities`,
//! `unsigned`, `grants` and `limits`, which are the fields of [`TrustRule`], and `root`, the trust root that vouches for the identities.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use anyhow::Context;
use frontend::LimitChanges;
use serde::Deserialize;
use signatures::{Identity, Key, Root};
use toml::Spanned;

use super::{Consequence, Grant, Grants, Trust, TrustRule};
use crate::lock;

/// Rules on frontends, whose keys and trust roots are not read yet.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FrontendPolicy {
    /// What becomes of those that no rule fits.
    #[serde(default)]
    unlisted: Consequence,
    /// The first that fits decides.
    #[serde(default)]
    rule: Vec<Rule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    names: Vec<Name>,
    #[serde(default)]
    digests: Vec<Digest>,
    /// Files with public keys.
    #[serde(default)]
    keys: Vec<Spanned<PathBuf>>,
    /// A file with a trust root.
    root: Option<Spanned<PathBuf>>,
    /// Whom it vouches for.
    #[serde(default)]
    identities: Vec<Spanned<Who>>,
    unsigned: Option<Consequence>,
    grants: Option<Vec<Grant>>,
    #[serde(default)]
    limits: LimitChanges,
}

/// The parts of an [`Identity`].
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields, expecting = "{ subject = \"...\", issuer = \"...\" }")]
struct Who {
    subject: String,
    issuer: String,
}

/// A repository or the path of a component; `*` at the end stands for any rest.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Name(String);

impl TryFrom<String> for Name {
    type Error = String;

    fn try_from(name: String) -> Result<Name, String> {
        match name.trim_end_matches('*') {
            begin if begin.contains('*') || name.len() > begin.len() + 1 => {
                Err(format!("name {name:?}: one * may stand at the end, and nowhere else"))
            }
            _ if name.is_empty() => Err("a name is empty: leave names out where the rule is for all".into()),
            _ => Ok(Name(name)),
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
struct Digest(String);

impl TryFrom<String> for Digest {
    type Error = String;

    fn try_from(digest: String) -> Result<Digest, String> {
        if oci::is_digest(&digest) {
            Ok(Digest(digest))
        } else {
            Err(format!("digest {digest:?}: want sha256: and 64 hexadecimal digits"))
        }
    }
}

/// What is wrong with the text of a policy.
#[derive(Debug, thiserror::Error)]
#[error("line {line}: {why}")]
pub struct PolicyError {
    /// From 1 on.
    pub line: usize,
    /// What, and what is wanted.
    pub why: String,
}

/// A key or a trust root that cannot be read, or is missing.
#[derive(Debug, thiserror::Error)]
#[error("{source:#}")]
pub struct PolicyFileError {
    /// Where it is named, in bytes of the text.
    offset: usize,
    source: anyhow::Error,
}

impl PolicyFileError {
    /// The line of `text`, the file that the rules stand in, from 1 on.
    pub fn line(&self, text: &str) -> usize {
        lock::line(text, self.offset)
    }
}

impl FrontendPolicy {
    /// The largest text, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;
    /// The most rules.
    pub const RULES_MAX: usize = 10_000;

    /// Reads the text of a policy, with its keys and trust roots: `file` gives the text of one by the name that the policy has for it.
    /// `origin` is what the policy is called in messages.
    pub fn read(
        text: &str,
        origin: &str,
        file: impl Fn(&Path) -> anyhow::Result<String>,
    ) -> Result<Trust, PolicyError> {
        if text.len() > Self::BYTES_MAX {
            let why = format!("the file has {} bytes; {} are allowed", text.len(), Self::BYTES_MAX);
            return Err(PolicyError { line: 1, why });
        }
        let at = |offset: usize| lock::line(text, offset);
        let policy: FrontendPolicy = toml::from_str(text).map_err(|error| PolicyError {
            line: error.span().map_or(1, |span| at(span.start)),
            why: hinted(error.message()),
        })?;
        if policy.rule.len() > Self::RULES_MAX {
            let why = format!("{} rules; {} are allowed", policy.rule.len(), Self::RULES_MAX);
            return Err(PolicyError { line: 1, why });
        }
        policy.trust(origin, file).map_err(|error| PolicyError { line: error.line(text), why: format!("{error:#}") })
    }

    /// Whether nothing is said.
    pub fn is_silent(&self) -> bool {
        self.rule.is_empty() && self.unlisted == Consequence::Allow
    }

    /// The rules, with their keys and trust roots, as [`FrontendPolicy::read`] has them. `origin` is where they stand, for messages.
    pub fn trust(
        &self,
        origin: &str,
        file: impl Fn(&Path) -> anyhow::Result<String>,
    ) -> Result<Trust, PolicyFileError> {
        let mut files = Files { read: file, roots: BTreeMap::new() };
        let rules = self.rule.iter().map(|rule| rule.trust(&mut files)).collect::<Result<_, _>>()?;
        Ok(Trust { origin: origin.to_owned(), rules, unlisted: self.unlisted })
    }
}

/// What TOML's reader says, with what is likely meant: it knows the shape that is wrong, and not whose it is.
fn hinted(message: &str) -> String {
    let hint = match message {
        _ if message.contains("field `frontends`") || message.contains("field `trust`") => {
            ": a policy's file has its rules without the prefix frontends.trust"
        }
        "invalid type: map, expected a sequence" => ": a rule begins with [[rule]], in two brackets",
        "wanted string or table" => ": a word in quotes",
        _ if message.ends_with("expected a sequence") => ": a list stands in brackets: [\"...\", \"...\"]",
        _ => "",
    };
    format!("{message}{hint}")
}

/// What a policy names.
struct Files<F> {
    read: F,
    /// Many rules may name the same one, and it is large.
    roots: BTreeMap<PathBuf, Root>,
}

impl<F: Fn(&Path) -> anyhow::Result<String>> Files<F> {
    fn key(&self, path: &Path) -> anyhow::Result<Key> {
        let shown = path.display().to_string();
        Key::from_pem(&shown, &(self.read)(path)?).with_context(|| format!("key {shown}"))
    }

    fn root(&mut self, path: &Path) -> anyhow::Result<Root> {
        if let Some(root) = self.roots.get(path) {
            return Ok(root.clone());
        }
        let shown = path.display().to_string();
        let root = Root::from_json(&shown, &(self.read)(path)?).with_context(|| format!("trust root {shown}"))?;
        self.roots.insert(path.to_owned(), root.clone());
        Ok(root)
    }
}

impl Rule {
    fn trust<F>(&self, files: &mut Files<F>) -> Result<TrustRule, PolicyFileError>
    where
        F: Fn(&Path) -> anyhow::Result<String>,
    {
        let key = |path: &Spanned<PathBuf>| files.key(path.get_ref()).map_err(at(path));
        Ok(TrustRule {
            names: self.names.iter().map(|name| name.0.clone()).collect(),
            digests: self.digests.iter().map(|digest| digest.0.clone()).collect(),
            keys: self.keys.iter().map(key).collect::<Result<_, _>>()?,
            identities: self.identities(files)?,
            unsigned: self.unsigned.unwrap_or(Consequence::Refuse),
            grants: self.grants.as_ref().map_or(Grants::all(), |grants| grants.iter().copied().collect()),
            limits: self.limits.clone(),
        })
    }

    fn identities<F>(&self, files: &mut Files<F>) -> Result<Vec<Identity>, PolicyFileError>
    where
        F: Fn(&Path) -> anyhow::Result<String>,
    {
        let root = match (&self.root, self.identities.first()) {
            (Some(path), Some(_)) => files.root(path.get_ref()).map_err(at(path))?,
            (None, None) => return Ok(Vec::new()),
            (None, Some(first)) => {
                let why = "identities need the root that vouches for them: root = \"trusted_root.json\"";
                return Err(at(first)(anyhow::anyhow!(why)));
            }
            (Some(path), None) => {
                let why = "the root vouches for whoever asks: say in identities whom of them the rule means";
                return Err(at(path)(anyhow::anyhow!(why)));
            }
        };
        let identity = |who: &Spanned<Who>| {
            let Who { subject, issuer } = who.get_ref();
            Identity::new(root.clone(), subject, issuer).map_err(at(who))
        };
        self.identities.iter().map(identity).collect()
    }
}

/// Says where it was that something is wrong.
fn at<T>(place: &Spanned<T>) -> impl Fn(anyhow::Error) -> PolicyFileError {
    let offset = place.span().start;
    move |source| PolicyFileError { offset, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "-----BEGIN PUBLIC KEY-----
MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEwWGfA57i9tpQcShxdyQuR6vdjzTq
Z9wGBF1CsswXQn7ZnRQHLilLBAyecqcw30FXUWxlDlYZ59Y5FJE5H8iLcA==
-----END PUBLIC KEY-----
";

    fn read(text: &str) -> Result<Trust, PolicyError> {
        FrontendPolicy::read(text, "the policy", |path| match path.to_str() {
            Some("a.pub") => Ok(KEY.to_owned()),
            Some("empty.json") => Ok("{}".to_owned()),
            _ => anyhow::bail!("no such key: {}", path.display()),
        })
    }

    #[test]
    fn a_whole_policy() {
        let text = "
            unlisted = \"refuse\"
            [[rule]]
            names = [\"r.example/langs/*\", \"./mine.wasm\"]
            keys = [\"a.pub\"]
            grants = [\"images\"]
            limits = { memory = \"1GB\", running = \"5s\" }
            [[rule]]
            digests = [\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]
            unsigned = \"warn\"";
        let trust = read(text).unwrap();
        assert_eq!((trust.unlisted, trust.rules.len(), trust.origin.as_str()), (Consequence::Refuse, 2, "the policy"));
        assert_eq!((trust.rules[0].keys.len(), trust.rules[0].unsigned), (1, Consequence::Refuse));
        assert_eq!(trust.rules[0].grants.to_string(), "images");
        assert_eq!(trust.rules[0].limits.to_string(), "memory 1000000000, running 5s");
        assert_eq!((trust.rules[1].unsigned, &trust.rules[1].grants), (Consequence::Warn, &Grants::all()));
        assert!(read("").unwrap().is_silent());
    }

    #[test]
    fn mistakes_have_their_line() {
        for (text, line, why) in [
            ("unlisted = \"ask\"", 1, "unknown variant `ask`"),
            ("unlisted = true", 1, "wanted string or table: a word in quotes"),
            (
                "\nfrontends.trust.unlisted = \"warn\"",
                2,
                "expected `unlisted` or `rule`: a policy's file has its rules without",
            ),
            ("[[trust.rule]]", 1, "without the prefix frontends.trust"),
            ("[rule]\nnames = [\"a\"]", 1, "a rule begins with [[rule]]"),
            ("[[rule]]\nnames = \"a\"", 2, "a list stands in brackets"),
            ("[[rule]]\ngrants = \"images\"", 2, "a list stands in brackets"),
            ("[[rule]]\nroot = \"a\"\nidentities = [\"a\"]", 3, "expected { subject = \"...\", issuer = \"...\" }"),
            ("\n[[rules]]", 2, "unknown field `rules`"),
            ("[[rule]]\n\ngrants = [\"all\"]", 3, "unknown variant `all`"),
            ("[[rule]]\ndigests = [\n\"sha256:1\"]", 2, "digest \"sha256:1\": want sha256: and 64 hexadecimal digits"),
            ("[[rule]]\nnames = [\"a/*/b\"]", 2, "one * may stand at the end"),
            ("[[rule]]\nnames = [\"a**\"]", 2, "one * may stand at the end"),
            ("[[rule]]\nnames = [\"\"]", 2, "a name is empty"),
            ("[[rule]]\n[[rule]]\nkeys = [\"a.pub\",\n\"b.pub\"]", 4, "no such key: b.pub"),
            ("[[rule]]\nkeys = [\"empty.json\"]", 2, "key empty.json: no PUBLIC KEY"),
            ("[[rule]]\nroot = \"empty.json\"", 2, "say in identities whom"),
            ("[[rule]]\n\nidentities = [{ subject = \"a@b\", issuer = \"c\" }]", 3, "identities need the root"),
            (
                "[[rule]]\nroot = \"empty.json\"\nidentities = [{ subject = \"a@b\", issuer = \"c\" }]",
                2,
                "trust root empty.json: no trust root (trusted_root.json)",
            ),
            ("[[rule]]\nroot = \"empty.json\"\nidentities = [{ subject = \"a@b\" }]", 3, "missing field `issuer`"),
            ("[[rule]]\nlimits.memory = \"much\"", 2, "\"much\" is no size: want for instance 500MB"),
            ("[[rule]]\nlimits = { refs = 1,\n patience = 2 }", 3, "there is no limit \"patience\""),
            ("[[rule]]\nlimits = 5", 2, "expected a table of limits: { memory = \"1GB\" }"),
            ("[[rule]]\nnames = [", 2, ""),
        ] {
            let error = read(text).unwrap_err();
            assert!(error.line == line && error.why.contains(why), "{text:?}: {error}");
        }
    }

    #[test]
    fn a_text_is_bounded() {
        let long = format!("#{}", "x".repeat(FrontendPolicy::BYTES_MAX));
        assert!(read(&long).unwrap_err().why.contains("bytes"));
        let many = "[[rule]]\n".repeat(FrontendPolicy::RULES_MAX + 1);
        assert!(read(&many).unwrap_err().why.contains("rules"));
    }
}
