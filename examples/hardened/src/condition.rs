//! Conditions: `if` of files, builds, steps and the like.
//!
//! Texts are compared (`==`, `!=`) and what comes of it is joined (`!`, `&&`, `||`, parentheses). A text stands in quotes, or is a word; its
//! variables are put in after the condition was read, so that no value is more than a text. A text alone is `true` or `false`.

use pintle_sdk::{Error, Result};

use crate::vars::Vars;

/// The deepest nesting of parentheses.
const DEPTH_MAX: usize = 32;

/// Whether a condition holds.
pub(crate) fn holds(text: &str, vars: &Vars) -> Result<bool> {
    let mut condition = Condition { rest: text, vars, depth: 0 };
    let answer = condition.any().and_then(|answer| match condition.rest.trim_start() {
        "" => Ok(answer),
        rest => Err(format!("{rest:?} is too much")),
    });
    answer.map_err(|why| Error::invalid(format!("condition {text:?}: {why}")))
}

struct Condition<'a> {
    rest: &'a str,
    vars: &'a Vars,
    depth: usize,
}

impl Condition<'_> {
    fn any(&mut self) -> Result<bool, String> {
        let mut answer = self.all()?;
        while self.takes("||") {
            answer |= self.all()?;
        }
        Ok(answer)
    }

    fn all(&mut self) -> Result<bool, String> {
        let mut answer = self.one()?;
        while self.takes("&&") {
            answer &= self.one()?;
        }
        Ok(answer)
    }

    fn one(&mut self) -> Result<bool, String> {
        let mut is_negated = false;
        while self.takes("!") {
            is_negated = !is_negated;
        }
        let answer = if self.takes("(") { self.nested()? } else { self.compared()? };
        Ok(answer != is_negated)
    }

    fn nested(&mut self) -> Result<bool, String> {
        self.depth += 1;
        if self.depth > DEPTH_MAX {
            return Err(format!("more than {DEPTH_MAX} parentheses are open"));
        }
        let answer = self.any()?;
        self.depth -= 1;
        if self.takes(")") { Ok(answer) } else { Err("a parenthesis stays open".to_owned()) }
    }

    fn compared(&mut self) -> Result<bool, String> {
        let left = self.text()?;
        if self.takes("==") {
            return Ok(left == self.text()?);
        }
        if self.takes("!=") {
            return Ok(left != self.text()?);
        }
        if self.takes("=") {
            return Err("texts are compared by == and !=".to_owned());
        }
        match left.as_str() {
            "true" => Ok(true),
            "false" => Ok(false),
            _ => Err(format!("{left:?} is neither true nor false")),
        }
    }

    fn text(&mut self) -> Result<String, String> {
        self.rest = self.rest.trim_start();
        let text = match self.rest.chars().next() {
            None => return Err("a text is missing at its end".to_owned()),
            Some(quote @ ('"' | '\'')) => {
                let (text, rest) = self.rest[1..].split_once(quote).ok_or("a quote stays open")?;
                self.rest = rest;
                text
            }
            Some(_) => {
                let is_end = |c: char| c.is_whitespace() || "()=!&|'\"".contains(c);
                let end = self.rest.find(is_end).unwrap_or(self.rest.len());
                let (word, rest) = self.rest.split_at(end);
                self.rest = rest;
                if word.is_empty() { Err(format!("a text is missing before {rest:?}"))? } else { word }
            }
        };
        self.vars.known(text).map_err(|name| format!("there is no variable {name:?}"))
    }

    fn takes(&mut self, sign: &str) -> bool {
        let rest = self.rest.trim_start().strip_prefix(sign);
        // What is not equal is not a negation.
        let rest = rest.filter(|rest| sign != "!" || !rest.starts_with('='));
        rest.map(|rest| self.rest = rest).is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_holds() {
        let vars = Vars::of([("arch", "arm64"), ("yes", "true"), ("odd", "a' || true")]);
        for (text, expected) in [
            ("true", Ok(true)),
            ("!true", Ok(false)),
            ("!!${yes}", Ok(true)),
            ("${arch} == arm64", Ok(true)),
            ("'${arch}'==\"arm64\"", Ok(true)),
            ("${arch}!=arm64", Ok(false)),
            ("${arch} == amd64 || ${arch} == arm64", Ok(true)),
            ("false && false || true", Ok(true)),
            ("false && (false || true)", Ok(false)),
            ("!(${arch} == amd64)", Ok(true)),
            ("!${arch} == arm64", Ok(false)),
            ("'' == ''", Ok(true)),
            ("${odd} == x", Ok(false)),
            ("'a)' == 'a)'", Ok(true)),
            ("", Err("a text is missing at its end")),
            ("a ==", Err("a text is missing at its end")),
            ("== a", Err("a text is missing before")),
            ("maybe", Err("neither true nor false")),
            ("a = b", Err("compared by ==")),
            ("true false", Err("is too much")),
            ("(true", Err("a parenthesis stays open")),
            ("'true", Err("a quote stays open")),
            ("${none} == a", Err("there is no variable \"none\"")),
            ("${none", Err("there is no variable")),
            ("é == é", Ok(true)),
        ] {
            match (holds(text, &vars), expected) {
                (Ok(answer), Ok(expected)) => assert_eq!(answer, expected, "{text}"),
                (Err(error), Err(why)) => assert!(error.message.contains(why), "{text}: {}", error.message),
                (answer, expected) => panic!("{text}: {answer:?}, not {expected:?}"),
            }
        }
        let deep = |depth| format!("{}true{}", "(".repeat(depth), ")".repeat(depth));
        assert!(holds(&deep(DEPTH_MAX), &vars).is_ok());
        assert!(holds(&deep(DEPTH_MAX + 1), &vars).unwrap_err().message.contains("parentheses are open"));
    }
}
