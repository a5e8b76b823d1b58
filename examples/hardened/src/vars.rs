use std::collections::BTreeMap;

use pintle_sdk::Request;

use crate::spec::Spec;

/// What stands for `${NAME}` in the file's texts. What is not known stays as it is: scripts have variables of their own.
pub(crate) struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The file's own, with build arguments in their place, what is built for which platform, and the directories of builds.
    pub(crate) fn new(spec: &Spec, request: &Request, platform: &str) -> Vars {
        let mut vars = spec.vars.clone();
        for (name, value) in request.opts_with("build-arg:") {
            if let Some(known) = vars.get_mut(name) {
                *known = value.to_owned();
            }
        }
        let target = [
            ("target.dir", "/target"),
            ("source.dir", "/source"),
            ("target.arch", platform.split('/').nth(1).unwrap_or_default()),
            ("target.flavor", spec.flavor.as_deref().unwrap_or_default()),
            ("target.dev", if spec.variant.as_deref() == Some("dev") { "true" } else { "false" }),
            ("target.fips", if spec.fips_compliant == Some(true) { "true" } else { "false" }),
        ];
        vars.extend(target.map(|(name, value)| (name.to_owned(), value.to_owned())));
        Vars(vars)
    }

    #[cfg(test)]
    pub(crate) fn of<const N: usize>(pairs: [(&str, &str); N]) -> Vars {
        Vars(pairs.map(|(name, value)| (name.to_owned(), value.to_owned())).into())
    }

    /// A text with its variables.
    pub(crate) fn expand(&self, text: &str) -> String {
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("${") {
            out.push_str(before);
            rest = after;
            match after.split_once('}').and_then(|(name, after)| Some((self.0.get(name)?, after))) {
                Some((value, after)) => {
                    out.push_str(value);
                    rest = after;
                }
                None => out.push_str("${"),
            }
        }
        out + rest
    }

    /// A text with its variables, all of which have to be known; else the name of one that is not.
    pub(crate) fn known(&self, text: &str) -> Result<String, String> {
        for after in text.split("${").skip(1) {
            let name = after.split_once('}').map_or(after, |(name, _)| name);
            if !self.0.contains_key(name) {
                return Err(name.to_owned());
            }
        }
        Ok(self.expand(text))
    }

    /// Texts with their variables.
    pub(crate) fn all(&self, texts: &[String]) -> Vec<String> {
        texts.iter().map(|text| self.expand(text)).collect()
    }

    /// Pairs with their variables.
    pub(crate) fn pairs(&self, pairs: &BTreeMap<String, String>) -> Vec<(String, String)> {
        pairs.iter().map(|(name, value)| (name.clone(), self.expand(value))).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_put_in() {
        let vars = [("A", "1"), ("B", "two")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let mut spec = Spec::default();
        (spec.vars, spec.flavor) = (vars, Some("fpm".into()));
        let opts = [("build-arg:A", "9"), ("build-arg:C", "3")].map(|(name, value)| (name.into(), value.into())).into();
        let vars = Vars::new(&spec, &Request { opts, ..Request::default() }, "linux/arm64/v8");
        for (text, expected) in [
            ("a", "a"),
            ("${A}${B}", "9two"),
            ("${C} $A ${B", "${C} $A ${B"),
            ("${x${A}", "${x9"),
            ("${target.dir}/bin", "/target/bin"),
            ("${target.arch} ${target.flavor} ${target.dev}", "arm64 fpm false"),
        ] {
            assert_eq!(vars.expand(text), expected);
        }
    }
}
