//! Rules on frontends as text: the table `frontends.trust` of an engine's configuration, and the file of a policy, which holds what
//! stands in that table.
//!
//! TOML: `unlisted`, what becomes of frontends that no rule fits, and tables `[[rule]]` with `names`, `digests`, `keys`, `unsigned` and
//! `grants`, which are the fields of [`TrustRule`].

use std::path::{Path, PathBuf};

use oci::cosign::Key;
use serde::Deserialize;
use toml::Spanned;

use super::{Consequence, Grant, Grants, Trust, TrustRule};
use crate::lock;

/// Rules on frontends, whose keys are not read yet.
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
    unsigned: Option<Consequence>,
    grants: Option<Vec<Grant>>,
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
        if oci::is_digest(&digest) { Ok(Digest(digest)) } else { Err(format!("digest {digest:?}: want sha256:...")) }
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

/// A key that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("{source:#}")]
pub struct KeyError {
    /// Where it is named, in bytes of the text.
    offset: usize,
    source: anyhow::Error,
}

impl FrontendPolicy {
    /// The largest text, in bytes.
    pub const BYTES_MAX: usize = 1 << 20;
    /// The most rules.
    pub const RULES_MAX: usize = 10_000;

    /// Reads the text of a policy, with its keys: `key` reads one by the name that the text has for it. `origin` is what the policy is
    /// called in messages.
    pub fn read(text: &str, origin: &str, key: impl Fn(&Path) -> anyhow::Result<Key>) -> Result<Trust, PolicyError> {
        if text.len() > Self::BYTES_MAX {
            let why = format!("the file has {} bytes; {} are allowed", text.len(), Self::BYTES_MAX);
            return Err(PolicyError { line: 1, why });
        }
        let at = |offset: usize| lock::line(text, offset);
        let policy: FrontendPolicy = toml::from_str(text).map_err(|error| PolicyError {
            line: error.span().map_or(1, |span| at(span.start)),
            why: error.message().to_owned(),
        })?;
        if policy.rule.len() > Self::RULES_MAX {
            let why = format!("{} rules; {} are allowed", policy.rule.len(), Self::RULES_MAX);
            return Err(PolicyError { line: 1, why });
        }
        policy.trust(origin, key).map_err(|error| PolicyError { line: at(error.offset), why: format!("{error:#}") })
    }

    /// Whether nothing is said.
    pub fn is_silent(&self) -> bool {
        self.rule.is_empty() && self.unlisted == Consequence::Allow
    }

    /// The rules, with their keys. `origin` is where they stand, for messages.
    pub fn trust(&self, origin: &str, key: impl Fn(&Path) -> anyhow::Result<Key>) -> Result<Trust, KeyError> {
        let rules = self.rule.iter().map(|rule| rule.trust(&key)).collect::<Result<_, _>>()?;
        Ok(Trust { origin: origin.to_owned(), rules, unlisted: self.unlisted })
    }
}

impl Rule {
    fn trust(&self, key: &impl Fn(&Path) -> anyhow::Result<Key>) -> Result<TrustRule, KeyError> {
        let key = |path: &Spanned<PathBuf>| {
            key(path.get_ref()).map_err(|source| KeyError { offset: path.span().start, source })
        };
        Ok(TrustRule {
            names: self.names.iter().map(|name| name.0.clone()).collect(),
            digests: self.digests.iter().map(|digest| digest.0.clone()).collect(),
            keys: self.keys.iter().map(key).collect::<Result<_, _>>()?,
            unsigned: self.unsigned.unwrap_or(Consequence::Refuse),
            grants: self.grants.as_ref().map_or(Grants::all(), |grants| grants.iter().copied().collect()),
        })
    }
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
            Some("a.pub") => Key::from_pem("a", KEY),
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
            [[rule]]
            digests = [\"sha256:aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa\"]
            unsigned = \"warn\"";
        let trust = read(text).unwrap();
        assert_eq!((trust.unlisted, trust.rules.len(), trust.origin.as_str()), (Consequence::Refuse, 2, "the policy"));
        assert_eq!((trust.rules[0].keys.len(), trust.rules[0].unsigned), (1, Consequence::Refuse));
        assert_eq!(trust.rules[0].grants.to_string(), "images");
        assert_eq!((trust.rules[1].unsigned, &trust.rules[1].grants), (Consequence::Warn, &Grants::all()));
        assert!(read("").unwrap().is_silent());
    }

    #[test]
    fn mistakes_have_their_line() {
        for (text, line, why) in [
            ("unlisted = \"ask\"", 1, "unknown variant `ask`"),
            ("\n[[rules]]", 2, "unknown field `rules`"),
            ("[[rule]]\n\ngrants = [\"all\"]", 3, "unknown variant `all`"),
            ("[[rule]]\ndigests = [\n\"sha256:1\"]", 2, "digest \"sha256:1\": want sha256:..."),
            ("[[rule]]\nnames = [\"a/*/b\"]", 2, "one * may stand at the end"),
            ("[[rule]]\nnames = [\"a**\"]", 2, "one * may stand at the end"),
            ("[[rule]]\nnames = [\"\"]", 2, "a name is empty"),
            ("[[rule]]\n[[rule]]\nkeys = [\"a.pub\",\n\"b.pub\"]", 4, "no such key: b.pub"),
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
