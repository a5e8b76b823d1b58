//! Which files of a case a local source lets through: those that it lets through in builds.

use frontend::Error;
use llb::op::SourceOp;
use store::patterns::{self, Filter};

/// A path from the top without the slashes and dots in it; the top itself is empty.
pub fn clean(path: &str) -> String {
    match patterns::clean(path).as_str() {
        "." => String::new(),
        path => path.to_owned(),
    }
}

/// The files that a source is asked for.
pub fn selection(source: &SourceOp) -> Result<Filter, Error> {
    let list = |name: &str| -> Result<Vec<String>, Error> {
        let json = source.attrs.get(name).map_or("[]", String::as_str);
        serde_json::from_str(json).map_err(|error| Error::invalid(format!("{}: {name}: {error}", source.identifier)))
    };
    // The files of a case are no links, so that what is followed is itself.
    let mut include = [list("local.includepattern")?, list("local.followpaths")?].concat();
    if include.iter().any(|pattern| clean(pattern).is_empty()) {
        include.clear();
    }
    let filter = Filter::new(&include, &list("local.excludepatterns")?);
    filter.map_err(|error| Error::invalid(format!("{}: {error}", source.identifier)))
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;

    #[test]
    fn patterns_are_those_of_builds() {
        for (include, follow, exclude, path, expected) in [
            ("[]", "[]", "[]", "anything", true),
            ("[\"Dockerfile\"]", "[]", "[]", "Dockerfile", true),
            ("[]", "[\"/Dockerfile\"]", "[]", "Dockerfile", true),
            ("[]", "[\".\"]", "[]", "a/b", true),
            ("[\"app\"]", "[]", "[]", "app/main.c", true),
            ("[\"app\"]", "[]", "[]", "application", false),
            ("[\"*.c\"]", "[]", "[]", "src/main.c", false),
            ("[\"**/*.c\"]", "[]", "[]", "src/main.c", true),
            ("[\"**/*.c\"]", "[]", "[]", "main.c", true),
            ("[\"a?c\", \"[x-z]\"]", "[]", "[]", "abc", true),
            ("[\"a?c\", \"[x-z]\"]", "[]", "[]", "y", true),
            ("[\"[^x-z]\"]", "[]", "[]", "y", false),
            ("[]", "[]", "[\"*\", \"!kept\"]", "kept/a", true),
            ("[]", "[]", "[\"*\", \"!kept\"]", "left-out", false),
            ("[\"src\"]", "[]", "[\"src/gen\"]", "src/gen/a", false),
        ] {
            let attrs =
                [("local.includepattern", include), ("local.followpaths", follow), ("local.excludepatterns", exclude)];
            let attrs = attrs.map(|(name, list)| (name.to_owned(), list.to_owned())).into();
            let source = SourceOp { identifier: "local://context".into(), attrs };
            let selects = selection(&source).unwrap().selects(Path::new(path));
            assert_eq!(selects, expected, "{include} {follow} {exclude} {path}");
        }
        let broken = |list: &str| SourceOp {
            identifier: "local://context".into(),
            attrs: [("local.includepattern".to_owned(), list.to_owned())].into(),
        };
        for list in ["[\"[a\"]", "no list"] {
            assert!(
                selection(&broken(list)).is_err_and(|error| error.message.starts_with("local://context: ")),
                "{list}"
            );
        }
    }

    #[test]
    fn paths_are_clean() {
        for (path, expected) in [("/", ""), (".", ""), ("./a//b/", "a/b"), ("/a/../b", "b"), ("../a", "a")] {
            assert_eq!(clean(path), expected);
        }
    }
}
