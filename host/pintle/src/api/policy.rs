//! Source policies from the wire.

use build::{
    Failure,
    policy::{Action, Constraint, MatchType, Policy, Rule, Selector},
};
use proto::sourcepolicy as wire;

/// A policy, checked.
pub fn decode(policy: wire::Policy) -> Result<Policy, Failure> {
    if policy.version > 1 {
        return Err(invalid(format!("version {} is not known", policy.version)));
    }
    Ok(Policy { rules: policy.rules.into_iter().map(rule).collect::<Result<_, _>>()? })
}

fn rule(rule: wire::Rule) -> Result<Rule, Failure> {
    let selector = rule.selector.ok_or_else(|| invalid("a rule has no selector".into()))?;
    let action = match wire::PolicyAction::try_from(rule.action) {
        Ok(wire::PolicyAction::Allow) => Action::Allow,
        Ok(wire::PolicyAction::Deny) => Action::Deny,
        Ok(wire::PolicyAction::Convert) => {
            let updates = rule.updates.ok_or_else(|| invalid("a rule that converts has no updates".into()))?;
            Action::Convert { identifier: updates.identifier, attrs: updates.attrs }
        }
        Err(_) => return Err(invalid(format!("action {} is not known", rule.action))),
    };
    let match_type = match wire::MatchType::try_from(selector.match_type) {
        Ok(wire::MatchType::Wildcard) => MatchType::Wildcard,
        Ok(wire::MatchType::Exact) => MatchType::Exact,
        Ok(wire::MatchType::Regex) => MatchType::Regex,
        Err(_) => return Err(invalid(format!("match type {} is not known", selector.match_type))),
    };
    let constraints = selector.constraints.into_iter().map(constraint).collect::<Result<_, _>>()?;
    Ok(Rule { selector: Selector { identifier: selector.identifier, match_type, constraints }, action })
}

fn constraint(constraint: wire::AttrConstraint) -> Result<Constraint, Failure> {
    let wire::AttrConstraint { key, value, condition } = constraint;
    match wire::AttrMatch::try_from(condition) {
        Ok(wire::AttrMatch::Equal) => Ok(Constraint::Equal { key, value }),
        Ok(wire::AttrMatch::Notequal) => Ok(Constraint::NotEqual { key, value }),
        Ok(wire::AttrMatch::Matches) => Ok(Constraint::Matches { key, pattern: value }),
        Err(_) => Err(invalid(format!("condition {condition} is not known"))),
    }
}

fn invalid(message: String) -> Failure {
    Failure::new("invalid-argument", format!("source policy: {message}"))
}
