//! Filters as containerd writes them: `FIELD==VALUE`, `FIELD!=VALUE`, `FIELD~=REGEX`, `FIELD` (true), several joined by commas are all
//! to match; of several filters one has to. `FIELD=VALUE` is taken as `==`. A field of a map is `MAP.KEY`, or `MAP."KEY"`.

use regex::RegexBuilder;
use tonic::Status;

/// How large a compiled expression may be, in bytes.
const REGEX_BYTES_MAX: usize = 1 << 20;

/// Filters; none match all.
pub struct Filters(Vec<Vec<Term>>);

struct Term {
    field: String,
    test: Test,
}

enum Test {
    Equal(String),
    NotEqual(String),
    Matches(regex::Regex),
}

impl Filters {
    /// Reads filters of things that have these fields; what ends in a point is a map.
    ///
    /// # Errors
    /// Names what cannot be read.
    pub fn parse(filters: &[String], fields: &[&str]) -> Result<Self, Status> {
        // An empty filter has no term, and matches all: buildx sends one.
        let parse = |filter: &String| -> Result<Vec<_>, Status> {
            filter.split(',').filter(|term| !term.is_empty()).map(|text| term(text, fields)).collect()
        };
        Ok(Filters(filters.iter().map(parse).collect::<Result<_, _>>()?))
    }

    /// Whether one of them matches, or there is none. `get` answers the value of a field, where there is one.
    pub fn matches(&self, get: impl Fn(&str) -> Option<String>) -> bool {
        let matches = |term: &Term| term.test.matches(get(&term.field));
        self.0.is_empty() || self.0.iter().any(|terms| terms.iter().all(matches))
    }
}

fn term(text: &str, fields: &[&str]) -> Result<Term, Status> {
    let split = |sign: &str| text.split_once(sign).map(|(field, value)| (field, value.trim_matches('"').to_string()));
    let (field, test) = if let Some((field, value)) = split("!=") {
        (field, Test::NotEqual(value))
    } else if let Some((field, value)) = split("~=") {
        let regex = RegexBuilder::new(&value).size_limit(REGEX_BYTES_MAX).build();
        (field, Test::Matches(regex.map_err(|error| Status::invalid_argument(format!("filter {text:?}: {error}")))?))
    } else if let Some((field, value)) = split("==").or_else(|| split("=")) {
        (field, Test::Equal(value))
    } else {
        (text, Test::Equal("true".into()))
    };
    let field = field.replace('"', "");
    if !fields.iter().any(|known| *known == field || (known.ends_with('.') && field.starts_with(known))) {
        let known = fields.join(", ");
        return Err(Status::invalid_argument(format!("filter {text:?}: unknown field {field:?}; there are {known}")));
    }
    Ok(Term { field, test })
}

impl Test {
    fn matches(&self, value: Option<String>) -> bool {
        match self {
            Test::Equal(want) => value.as_ref() == Some(want),
            Test::NotEqual(want) => value.as_ref() != Some(want),
            Test::Matches(regex) => value.is_some_and(|value| regex.is_match(&value)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters() {
        let get = |field: &str| match field {
            "type" => Some("regular".to_owned()),
            "inuse" => Some("false".to_owned()),
            "id" => Some("abc".to_owned()),
            "description" => Some("step 1".to_owned()),
            "labels.a.b" => Some("c".to_owned()),
            _ => None,
        };
        let fields = ["type", "inuse", "id", "description", "labels."];
        let cases = [
            (vec!["type==regular"], true),
            (vec!["type=regular"], true),
            (vec!["type!=regular"], false),
            (vec!["inuse"], false),
            (vec!["description~=step"], true),
            (vec!["type==regular,inuse==true"], false),
            (vec!["inuse==true", "id==abc"], true),
            (vec!["labels.\"a.b\"==c"], true),
            (vec!["labels.a.b!=c"], false),
            (vec!["labels.x==c"], false),
            (vec!["labels.x!=c"], true),
            (vec![], true),
            (vec![""], true),
        ];
        for (filters, want) in cases {
            let texts: Vec<String> = filters.iter().map(|text| text.to_string()).collect();
            assert_eq!(Filters::parse(&texts, &fields).unwrap().matches(get), want, "{texts:?}");
        }
        assert!(Filters::parse(&["colour==red".into()], &fields).is_err());
        assert!(Filters::parse(&["type~=(".into()], &fields).is_err());
    }
}
