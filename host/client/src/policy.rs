//! Source policies as files: JSON with the names of `sourcepolicy/pb/policy.proto`.

use std::collections::BTreeMap;

use proto::sourcepolicy as wire;
pub use proto::sourcepolicy::Policy as SourcePolicy;
use serde::Deserialize;

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Policy {
    #[serde(default)]
    version: i64,
    #[serde(default)]
    rules: Vec<Rule>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Rule {
    #[serde(default)]
    action: Word,
    selector: Selector,
    updates: Option<Update>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Selector {
    #[serde(default)]
    identifier: String,
    #[serde(default, alias = "matchType")]
    match_type: Word,
    #[serde(default)]
    constraints: Vec<Constraint>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Constraint {
    key: String,
    #[serde(default)]
    value: String,
    #[serde(default)]
    condition: Word,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Update {
    #[serde(default)]
    identifier: String,
    #[serde(default)]
    attrs: BTreeMap<String, String>,
}

/// A word of an enumeration, or its number.
#[derive(Deserialize)]
#[serde(untagged)]
enum Word {
    Name(String),
    Number(i32),
}

impl Default for Word {
    fn default() -> Self {
        Word::Number(0)
    }
}

impl Word {
    fn number(self, known: impl Fn(&str) -> Option<i32>) -> Result<i32, String> {
        match self {
            Word::Number(number) => Ok(number),
            Word::Name(name) => known(&name.to_uppercase()).ok_or_else(|| format!("{name:?} is not known here")),
        }
    }
}

/// Reads a policy.
///
/// # Errors
/// Text that is no policy: where, and what is wrong.
pub fn parse(json: &str) -> Result<wire::Policy, String> {
    let policy: Policy = serde_json::from_str(json).map_err(|error| error.to_string())?;
    let rules = policy.rules.into_iter().enumerate();
    let rules = rules.map(|(number, one)| rule(one).map_err(|error| format!("rule {}: {error}", number + 1)));
    Ok(wire::Policy { version: policy.version, rules: rules.collect::<Result<_, _>>()? })
}

fn rule(rule: Rule) -> Result<wire::Rule, String> {
    let action = rule.action.number(|name| Some(wire::PolicyAction::from_str_name(name)? as i32))?;
    let constraints = rule.selector.constraints.into_iter().map(|one| {
        let condition = one.condition.number(|name| Some(wire::AttrMatch::from_str_name(name)? as i32))?;
        Ok(wire::AttrConstraint { key: one.key, value: one.value, condition })
    });
    let selector = wire::Selector {
        identifier: rule.selector.identifier,
        match_type: rule.selector.match_type.number(|name| Some(wire::MatchType::from_str_name(name)? as i32))?,
        constraints: constraints.collect::<Result<_, String>>()?,
    };
    let updates = rule.updates.map(|update| wire::Update { identifier: update.identifier, attrs: update.attrs });
    Ok(wire::Rule { action, selector: Some(selector), updates })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_read() {
        let policy = parse(
            r#"{"rules": [
                {"action": "DENY", "selector": {"identifier": "docker-image://*"}},
                {"action": "CONVERT", "selector": {"identifier": "a", "match_type": "REGEX",
                    "constraints": [{"key": "k", "value": "v", "condition": "NOTEQUAL"}]},
                 "updates": {"identifier": "b", "attrs": {"x": "y"}}}]}"#,
        );
        let rules = policy.unwrap().rules;
        assert_eq!((rules[0].action, rules[1].action), (1, 2));
        let selector = rules[1].selector.as_ref().unwrap();
        assert_eq!((selector.match_type, selector.constraints[0].condition), (2, 1));
        for (text, want) in [
            ("{", "EOF"),
            (r#"{"rule": []}"#, "unknown field"),
            (r#"{"rules": [{"action": "MAYBE", "selector": {}}]}"#, "rule 1: \"MAYBE\" is not known"),
        ] {
            assert!(parse(text).unwrap_err().contains(want), "{text}");
        }
    }
}
