//! Words that instructions begin with.

/// All keywords, in upper case and in order.
pub const KEYWORDS: [&str; 18] = [
    "ADD",
    "ARG",
    "CMD",
    "COPY",
    "ENTRYPOINT",
    "ENV",
    "EXPOSE",
    "FROM",
    "HEALTHCHECK",
    "LABEL",
    "MAINTAINER",
    "ONBUILD",
    "RUN",
    "SHELL",
    "STOPSIGNAL",
    "USER",
    "VOLUME",
    "WORKDIR",
];

const LONGEST_KEYWORD: usize = "HEALTHCHECK".len();

/// A keyword in upper case, however it is written; `None` for what is none.
pub fn known_keyword(text: &str) -> Option<&'static str> {
    let mut upper = [0; LONGEST_KEYWORD];
    let upper = upper.get_mut(..text.len())?;
    upper.copy_from_slice(text.as_bytes());
    upper.make_ascii_uppercase();
    KEYWORDS.binary_search_by(|keyword| keyword.as_bytes().cmp(upper)).ok().map(|at| KEYWORDS[at])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keywords_are_found_whatever_their_case() {
        for keyword in KEYWORDS {
            assert_eq!(known_keyword(keyword), Some(keyword));
            assert_eq!(known_keyword(&keyword.to_lowercase()), Some(keyword));
        }
        assert_eq!([known_keyword(""), known_keyword("RUNS"), known_keyword("HEALTHCHECKS")], [None; 3]);
    }
}
