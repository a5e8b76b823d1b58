//! Source policies: which sources a build may have, and what takes the place of others (`sourcepolicy` in BuildKit).
//!
//! Policies are asked one after the other, the rules of each in order. Of the rules that allow or deny a source the last that
//! matches wins; a rule that converts it begins everything anew with what it was converted to.

use std::collections::{BTreeMap, HashMap};

use llb::{Edge, Graph, Op, VertexId, op::SourceOp};
use regex::Regex;

use crate::Failure;

/// So often a source is converted before that is taken to have no end.
pub const CONVERSIONS_MAX: usize = 20;

/// Rules, in order.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Policy {
    /// The rules.
    pub rules: Vec<Rule>,
}

/// What becomes of sources that are alike.
#[derive(Clone, Debug, PartialEq)]
pub struct Rule {
    /// Which sources.
    pub selector: Selector,
    /// What becomes of them.
    pub action: Action,
}

/// See [`Rule`].
#[derive(Clone, Debug, PartialEq)]
pub enum Action {
    /// It may be used.
    Allow,
    /// It may not be used.
    Deny,
    /// Another takes its place.
    Convert {
        /// What it is called then: `$1`, `${1}` are what the selector's wildcards or groups stand for. Empty: what the selector says.
        identifier: String,
        /// Options that are set.
        attrs: BTreeMap<String, String>,
    },
}

/// Which sources a rule is about.
#[derive(Clone, Debug, PartialEq)]
pub struct Selector {
    /// A URL, or a pattern of URLs.
    pub identifier: String,
    /// How it is compared.
    pub match_type: MatchType,
    /// What their options must be.
    pub constraints: Vec<Constraint>,
}

/// How a selector is compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum MatchType {
    /// `*` stands for any text.
    #[default]
    Wildcard,
    /// As it is.
    Exact,
    /// As a regular expression, which may be found anywhere.
    Regex,
}

/// What an option of a source must be. An option that is not there is empty.
#[derive(Clone, Debug, PartialEq)]
#[allow(missing_docs)]
pub enum Constraint {
    Equal {
        key: String,
        value: String,
    },
    NotEqual {
        key: String,
        value: String,
    },
    /// A regular expression, which may be found anywhere.
    Matches {
        key: String,
        pattern: String,
    },
}

/// Changes `source` as the policies say, and tells whether they did.
///
/// # Errors
/// A source that is denied; a rule that cannot be understood.
pub fn apply(policies: &[Policy], source: &mut SourceOp) -> Result<bool, Failure> {
    if policies.is_empty() {
        return Ok(false);
    }
    let mut changed = false;
    for _ in 0..=CONVERSIONS_MAX {
        normalize(source);
        let mut converted = false;
        for policy in policies {
            converted = ask(policy, source)?;
            if converted {
                break;
            }
        }
        if !converted {
            return Ok(changed);
        }
        changed = true;
    }
    let source = &source.identifier;
    Err(Failure::new("denied", format!("source policy: {source:?} was converted more than {CONVERSIONS_MAX} times")))
}

/// `graph` with other sources in the place of some, and where `edge` is in it then.
pub(crate) fn replace(
    graph: &Graph,
    edge: Edge,
    mut changed: HashMap<VertexId, SourceOp>,
) -> Result<(Graph, Edge), Failure> {
    let internal = |error: llb::GraphError| Failure::new("internal", error.to_string());
    let (mut governed, mut places) = (Graph::new(), HashMap::new());
    for id in graph.reachable(edge) {
        let vertex = graph.vertex(id);
        let op = changed.remove(&id).map_or_else(|| vertex.op.clone(), Op::Source);
        let inputs = vertex.inputs.iter().map(|input| Edge { vertex: places[&input.vertex], output: input.output });
        let mut meta = vertex.meta.clone();
        for location in &mut meta.locations {
            location.file = governed.add_source((*graph.sources()[location.file as usize]).clone());
        }
        let (platform, constraints) = (vertex.platform.clone(), vertex.constraints.clone());
        places.insert(id, governed.add(op, inputs.collect(), platform, constraints, meta).map_err(internal)?);
    }
    let edge = Edge { vertex: places[&edge.vertex], output: edge.output };
    Ok((governed, edge))
}

/// Images are compared by their full names.
fn normalize(source: &mut SourceOp) {
    if let Some(name) = source.identifier.strip_prefix("docker-image://")
        && let Ok(reference) = name.parse::<oci::Reference>()
    {
        source.identifier = format!("docker-image://{reference}");
    }
}

/// Whether the policy converts the source, which is then another.
fn ask(policy: &Policy, source: &mut SourceOp) -> Result<bool, Failure> {
    let mut is_denied = false;
    for rule in &policy.rules {
        if !matches(&rule.selector, source)? {
            continue;
        }
        match &rule.action {
            Action::Allow => is_denied = false,
            Action::Deny => is_denied = true,
            Action::Convert { identifier, attrs } => {
                if convert(&rule.selector, identifier, attrs, source)? {
                    return Ok(true);
                }
            }
        }
    }
    match is_denied {
        true => Err(denied(&source.identifier)),
        false => Ok(false),
    }
}

/// The failure of a build that has a source which it may not have; in BuildKit's words, by which it is known.
fn denied(source: &str) -> Failure {
    Failure::new("denied", format!("source {source:?} denied by policy: source denied by policy"))
}

fn matches(selector: &Selector, source: &SourceOp) -> Result<bool, Failure> {
    let attr = |key: &String| source.attrs.get(key).map_or("", String::as_str);
    for constraint in &selector.constraints {
        let holds = match constraint {
            Constraint::Equal { key, value } => attr(key) == value,
            Constraint::NotEqual { key, value } => attr(key) != value,
            Constraint::Matches { key, pattern } => regex(pattern)?.is_match(attr(key)),
        };
        if !holds {
            return Ok(false);
        }
    }
    if selector.identifier == source.identifier {
        return Ok(true);
    }
    Ok(match selector.match_type {
        MatchType::Exact => false,
        MatchType::Wildcard | MatchType::Regex => pattern(selector)?.is_match(&source.identifier),
    })
}

fn convert(
    selector: &Selector,
    identifier: &str,
    attrs: &BTreeMap<String, String>,
    source: &mut SourceOp,
) -> Result<bool, Failure> {
    let to = if identifier.is_empty() { &selector.identifier } else { identifier };
    let to = match selector.match_type {
        MatchType::Exact => to.to_owned(),
        MatchType::Regex => pattern(selector)?.replace_all(&source.identifier, to).into_owned(),
        MatchType::Wildcard => match pattern(selector)?.captures(&source.identifier) {
            Some(found) => {
                let mut text = String::new();
                found.expand(to, &mut text);
                text
            }
            // It is the selector to the letter, as a name with a `*` in it.
            None => source.identifier.clone(),
        },
    };
    let mut changed = false;
    if !to.is_empty() && to != source.identifier {
        source.identifier = to;
        changed = true;
    }
    for (key, value) in attrs {
        changed |= source.attrs.insert(key.clone(), value.clone()).as_ref() != Some(value);
    }
    Ok(changed)
}

fn pattern(selector: &Selector) -> Result<Regex, Failure> {
    let text = &selector.identifier;
    if selector.match_type == MatchType::Regex {
        return regex(text);
    }
    if text.contains("**") {
        return Err(Failure::new("invalid-argument", format!("source policy: invalid wildcard {text:?}: **")));
    }
    regex(&format!("^{}$", regex::escape(text).replace(r"\*", "(.*)")))
}

fn regex(text: &str) -> Result<Regex, Failure> {
    Regex::new(text)
        .map_err(|error| Failure::new("invalid-argument", format!("source policy: invalid pattern: {error}")))
}

#[cfg(test)]
mod tests {
    use super::*;

    const IMAGE: &str = "docker-image://docker.io/library/busybox:latest";

    fn rule(match_type: MatchType, identifier: &str, action: Action) -> Rule {
        Rule { selector: Selector { identifier: identifier.into(), match_type, constraints: vec![] }, action }
    }

    fn to(identifier: &str) -> Action {
        Action::Convert { identifier: identifier.into(), attrs: BTreeMap::new() }
    }

    /// What becomes of a source under the rules of each policy.
    fn outcome(policies: &[Vec<Rule>], identifier: &str) -> Result<String, String> {
        let policies: Vec<Policy> = policies.iter().map(|rules| Policy { rules: rules.clone() }).collect();
        let mut source = SourceOp { identifier: identifier.into(), ..SourceOp::default() };
        apply(&policies, &mut source).map_err(|failure| failure.message)?;
        Ok(source.identifier)
    }

    #[test]
    fn the_last_rule_that_matches_wins() {
        use {Action::*, MatchType::*};
        let (allow, deny) = (rule(Wildcard, IMAGE, Allow), rule(Wildcard, "docker-image://*", Deny));
        assert!(outcome(&[vec![allow.clone(), deny.clone()]], IMAGE).is_err());
        assert!(outcome(&[vec![deny.clone(), allow.clone()]], IMAGE).is_ok());
        assert!(outcome(&[vec![deny.clone()]], "local://context").is_ok());
        assert!(outcome(&[vec![allow], vec![deny]], IMAGE).is_err(), "each policy must agree");
        assert!(outcome(&[vec![rule(Exact, "docker-image://*", Deny)]], IMAGE).is_ok());
        assert!(outcome(&[vec![rule(Regex, "busybox", Deny)]], IMAGE).is_err());
        assert!(outcome(&[vec![rule(Exact, IMAGE, Deny)]], "docker-image://busybox").is_err(), "by the full name");
    }

    #[test]
    fn what_takes_the_place() {
        use MatchType::*;
        for (match_type, from, into, want) in [
            (Exact, IMAGE, "docker-image://a/b:1", "docker-image://docker.io/a/b:1"),
            (
                Wildcard,
                "docker-image://docker.io/*",
                "docker-image://mirror.local/$1",
                "docker-image://mirror.local/library/busybox:latest",
            ),
            (
                Wildcard,
                "docker-image://docker.io/*/busybox:*",
                "docker-image://x.io/${1}-${2}/y:1",
                "docker-image://x.io/library-latest/y:1",
            ),
            (Regex, "docker.io/library/(.*):latest", "x.io/${1}:2", "docker-image://x.io/busybox:2"),
        ] {
            assert_eq!(outcome(&[vec![rule(match_type, from, to(into))]], IMAGE).as_deref(), Ok(want), "{into}");
        }
        let after = vec![rule(Exact, IMAGE, to("docker-image://x.io/y:1")), rule(Wildcard, "*x.io*", Action::Deny)];
        assert!(outcome(&[after], IMAGE).is_err(), "what it is converted to is asked about too");
    }

    #[test]
    fn what_cannot_be() {
        use MatchType::*;
        let endless = vec![rule(Wildcard, "http://a/*", to("http://a/${1}x"))];
        assert!(outcome(&[endless], "http://a/").unwrap_err().contains("more than 20 times"));
        assert!(outcome(&[vec![rule(Regex, "(", Action::Deny)]], IMAGE).unwrap_err().contains("invalid pattern"));
        assert!(outcome(&[vec![rule(Wildcard, "**", Action::Deny)]], IMAGE).unwrap_err().contains("invalid wildcard"));
    }

    #[test]
    fn options_are_compared_and_set() {
        let key = || "http.checksum".to_string();
        let equal = |value: &str| Constraint::Equal { key: key(), value: value.into() };
        let cases = [
            (vec![equal("")], true),
            (vec![equal("x")], false),
            (vec![Constraint::NotEqual { key: key(), value: "x".into() }], false),
            (vec![Constraint::Matches { key: key(), pattern: "^$".into() }], true),
            (vec![Constraint::Matches { key: key(), pattern: ".".into() }, equal("")], false),
        ];
        for (constraints, want) in cases {
            let is_new = constraints.iter().all(|constraint| !matches!(constraint, Constraint::NotEqual { .. }));
            let selector = Selector { identifier: "https://a/b".into(), match_type: MatchType::Exact, constraints };
            let value = if is_new { "sha256:y" } else { "x" };
            let attrs = BTreeMap::from([(key(), value.to_string())]);
            let action = Action::Convert { identifier: String::new(), attrs };
            let mut source = SourceOp { identifier: "https://a/b".into(), ..SourceOp::default() };
            let changed = apply(&[Policy { rules: vec![Rule { selector, action }] }], &mut source);
            assert_eq!(changed.is_ok_and(|changed| changed), want || !is_new);
            assert_eq!(source.attrs.get(&key()).is_some_and(|set| set == value), want || !is_new);
        }
    }
}
