use std::collections::BTreeMap;

use pintle_sdk::Request;

/// What stands for `${NAME}` in the file's texts. What is not known stays as it is: scripts have variables of their own.
pub(crate) struct Vars(BTreeMap<String, String>);

impl Vars {
    /// The file's own, with build arguments in their place, and the directories of builds.
    pub(crate) fn new(own: &BTreeMap<String, String>, request: &Request) -> Vars {
        let mut vars = own.clone();
        for (name, value) in request.opts_with("build-arg:") {
            if let Some(known) = vars.get_mut(name) {
                *known = value.to_owned();
            }
        }
        let directories = [("target.dir", "/target"), ("source.dir", "/source")];
        vars.extend(directories.map(|(name, path)| (name.to_owned(), path.to_owned())));
        Vars(vars)
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
        let own = [("A", "1"), ("B", "two")].map(|(name, value)| (name.to_owned(), value.to_owned())).into();
        let opts = [("build-arg:A", "9"), ("build-arg:C", "3")].map(|(name, value)| (name.into(), value.into())).into();
        let vars = Vars::new(&own, &Request { opts, ..Request::default() });
        for (text, expected) in [
            ("a", "a"),
            ("${A}${B}", "9two"),
            ("${C} $A ${B", "${C} $A ${B"),
            ("${x${A}", "${x9"),
            ("${target.dir}/bin", "/target/bin"),
        ] {
            assert_eq!(vars.expand(text), expected);
        }
    }
}
