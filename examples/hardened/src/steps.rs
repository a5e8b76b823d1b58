//! Steps that a file names (`uses`) instead of writing them: what the catalog says that they do, as scripts of our own.

use std::collections::BTreeMap;

use pintle_sdk::{Error, Result};
use serde::{Deserialize, Deserializer, de};

use crate::vars::Vars;

/// A step: the parameters that it takes, and its script.
struct Known {
    name: &'static str,
    takes: &'static [&'static str],
    script: fn(&With<'_>) -> Result<String>,
}

const KNOWN: &[Known] = &[
    Known {
        name: "go/build@v1",
        takes: &[
            "output",
            "packages",
            "ldflags",
            "strip",
            "tags",
            "cgo_enabled",
            "extra-args",
            "trimpath",
            "tidy",
            "fips",
        ],
        script: go_build,
    },
    Known { name: "go/bump@v1", takes: BUMP, script: go_bump },
    Known { name: "go/bump@v2", takes: BUMP, script: go_bump },
    Known { name: "go/hermetic@v1", takes: &[], script: |_| Ok("go mod download".to_owned()) },
    Known { name: "git/patch@v1", takes: PATCH, script: |with| patched(with, "git apply", "") },
    Known { name: "patch@v1", takes: PATCH, script: |with| patched(with, "patch", "-i ") },
    Known { name: "gpg/verify@v1", takes: &["file", "signature", "keys"], script: gpg_verify },
    Known { name: "strip@v1", takes: &["dir"], script: strip },
];
const BUMP: &[&str] = &["deps", "replaces", "download", "tidy", "dir"];
const PATCH: &[&str] = &["patch", "patches", "options", "dir"];

/// Steps of the catalog that something else does here.
const ELSEWHERE: [(&str, &str); 2] = [("sbom@v1", BILL), ("spdx@v1", BILL)];
const BILL: &str = "; a bill of materials is made of the whole image: build with --sbom";

/// The script of the step that `uses` names.
pub(crate) fn script(uses: &str, with: &BTreeMap<String, Given>, vars: &Vars) -> Result<String> {
    let Some(known) = KNOWN.iter().find(|known| known.name == uses) else {
        let names: Vec<_> = KNOWN.iter().map(|known| known.name).collect();
        let instead = ELSEWHERE.iter().find(|(name, _)| *name == uses).map_or("", |(_, instead)| instead);
        return Err(Error::unsupported(format!("a step uses {uses:?}; known are {}{instead}", names.join(", "))));
    };
    if let Some(name) = with.keys().find(|name| !known.takes.contains(&name.as_str())) {
        let takes = if known.takes.is_empty() { "nothing".to_owned() } else { known.takes.join(", ") };
        return Err(Error::unsupported(format!("{uses} with {name:?}: it takes {takes}")));
    }
    let script = (known.script)(&With { uses, given: with, vars })?;
    Ok(format!("set -eu\n{script}\n"))
}

/// What a parameter is given: texts, of which a single one is a list of one. Numbers and truth values are texts too.
#[derive(Debug, Default)]
pub(crate) struct Given(Vec<String>);

impl<'de> Deserialize<'de> for Given {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Given, D::Error> {
        from.deserialize_any(Texts)
    }
}

struct Texts;

impl<'de> de::Visitor<'de> for Texts {
    type Value = Given;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a text or a list of texts")
    }

    fn visit_unit<E>(self) -> Result<Given, E> {
        Ok(Given::default())
    }

    fn visit_bool<E>(self, value: bool) -> Result<Given, E> {
        Ok(Given(vec![value.to_string()]))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Given, E> {
        Ok(Given(vec![value.to_string()]))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Given, E> {
        Ok(Given(vec![value.to_string()]))
    }

    fn visit_str<E>(self, value: &str) -> Result<Given, E> {
        Ok(Given(vec![value.to_owned()]))
    }

    fn visit_seq<A: de::SeqAccess<'de>>(self, mut list: A) -> Result<Given, A::Error> {
        let mut texts = Vec::new();
        while let Some(text) = list.next_element::<String>()? {
            texts.push(text);
        }
        Ok(Given(texts))
    }
}

/// The parameters of a step.
struct With<'a> {
    uses: &'a str,
    given: &'a BTreeMap<String, Given>,
    vars: &'a Vars,
}

impl With<'_> {
    fn all(&self, name: &str) -> Vec<String> {
        self.given.get(name).map_or_else(Vec::new, |given| self.vars.all(&given.0))
    }

    fn one(&self, name: &str) -> Result<Option<String>> {
        let mut all = self.all(name);
        match all.len() {
            0 | 1 => Ok(all.pop()),
            _ => Err(Error::invalid(format!("{} takes one {name}", self.uses))),
        }
    }

    fn needed(&self, name: &str) -> Result<String> {
        self.one(name)?.ok_or_else(|| Error::invalid(format!("{} needs {name}", self.uses)))
    }

    fn is(&self, name: &str, usually: bool) -> Result<bool> {
        match self.one(name)?.as_deref() {
            None => Ok(usually),
            Some("true") => Ok(true),
            Some("false") => Ok(false),
            Some(other) => {
                Err(Error::invalid(format!("{} with {name}: {other:?} is neither true nor false", self.uses)))
            }
        }
    }

    /// The command that goes to `dir`, where one is given.
    fn go_to(&self) -> Result<String> {
        Ok(self.one("dir")?.map_or_else(String::new, |dir| format!("cd {}\n", quoted(&dir))))
    }
}

/// A text as one word of a shell's.
fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\'', r"'\''"))
}

/// The words of texts in which several may stand, each as one of a shell's, with a space before it.
fn words(texts: &[String]) -> String {
    texts.iter().flat_map(|text| text.split_whitespace()).map(|word| format!(" {}", quoted(word))).collect()
}

fn go_build(with: &With<'_>) -> Result<String> {
    if with.is("fips", false)? {
        return Err(Error::unsupported(format!("{} with fips: no toolchain for it is known", with.uses)));
    }
    let mut linker = with.all("ldflags");
    if with.is("strip", true)? {
        linker.push("-s -w".to_owned());
    }
    let mut line = String::from("go build");
    if with.is("trimpath", true)? {
        line += " -trimpath";
    }
    for (option, text) in [("-tags", with.all("tags").join(",")), ("-ldflags", linker.join(" "))] {
        if !text.is_empty() {
            line += &format!(" {option} {}", quoted(&text));
        }
    }
    line += &format!(" -o {}{}", quoted(&with.needed("output")?), words(&with.all("extra-args")));
    let packages = words(&with.all("packages"));
    line += if packages.is_empty() { " ." } else { &packages };
    let tidy = if with.is("tidy", false)? { "go mod tidy\n" } else { "" };
    let cgo = with.one("cgo_enabled")?.unwrap_or_else(|| "0".to_owned());
    Ok(format!("export CGO_ENABLED={}\n{tidy}{line}", quoted(&cgo)))
}

fn go_bump(with: &With<'_>) -> Result<String> {
    let mut lines = vec![with.go_to()?];
    lines.extend(with.all("replaces").iter().map(|pair| format!("go mod edit -replace={}\n", quoted(pair))));
    let deps = words(&with.all("deps"));
    if !deps.is_empty() {
        lines.push(format!("go get{deps}\n"));
    }
    for (name, line) in [("tidy", "go mod tidy\n"), ("download", "go mod download\n")] {
        if with.is(name, false)? {
            lines.push(line.to_owned());
        }
    }
    Ok(lines.concat().trim_end().to_owned())
}

fn patched(with: &With<'_>, command: &str, before: &str) -> Result<String> {
    let patches = [with.all("patch"), with.all("patches")].concat();
    if patches.is_empty() {
        return Err(Error::invalid(format!("{} needs patch or patches", with.uses)));
    }
    let options = words(&with.all("options"));
    let line = |patch: &String| format!("{command}{options} {before}{}", quoted(patch));
    Ok(with.go_to()? + &patches.iter().map(line).collect::<Vec<_>>().join("\n"))
}

/// The keys are the only ones that there are, so that whoever they are of has signed.
fn gpg_verify(with: &With<'_>) -> Result<String> {
    let [file, signature, keys] = [with.needed("file")?, with.needed("signature")?, with.needed("keys")?];
    Ok([
        "GNUPGHOME=$(mktemp -d)\nexport GNUPGHOME".to_owned(),
        format!("find {} -type f -exec gpg --batch --quiet --import {{}} +", quoted(&keys)),
        format!("gpg --batch --verify {} {}", quoted(&signature), quoted(&file)),
        r#"rm -rf "$GNUPGHOME""#.to_owned(),
    ]
    .join("\n"))
}

/// Programs and libraries are known by their first bytes.
fn strip(with: &With<'_>) -> Result<String> {
    let dir = quoted(&with.needed("dir")?);
    let body =
        r#"for file; do case $(head -c 4 "$file" | tail -c 3) in ELF) strip --strip-unneeded "$file" ;; esac; done"#;
    Ok(format!("find {dir} -type f -exec sh -euc {} sh {{}} +", quoted(body)))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The script of a step whose parameters are given as YAML.
    fn of(uses: &str, with: &str) -> Result<String> {
        let vars = Vars::of([("target.dir", "/target")]);
        script(uses, &serde_saphyr::from_str(with).unwrap(), &vars)
    }

    #[test]
    fn scripts() {
        for (uses, with, expected) in [
            (
                "go/build@v1",
                "{ output: '${target.dir}/a', packages: ./cmd/a ./cmd/b, ldflags: [-X a=1, -X b='2'], tags: [x, y], strip: false }",
                "export CGO_ENABLED='0'\ngo build -trimpath -tags 'x,y' -ldflags '-X a=1 -X b='\\''2'\\''' -o '/target/a' './cmd/a' './cmd/b'",
            ),
            (
                "go/build@v1",
                "{ output: a, cgo_enabled: 1, tidy: true, extra-args: -mod=vendor -v, fips: false }",
                "export CGO_ENABLED='1'\ngo mod tidy\ngo build -trimpath -ldflags '-s -w' -o 'a' '-mod=vendor' '-v' .",
            ),
            (
                "go/bump@v2",
                "{ deps: [a@v1, b@v2], replaces: [c=d@v3], tidy: true, download: true }",
                "go mod edit -replace='c=d@v3'\ngo get 'a@v1' 'b@v2'\ngo mod tidy\ngo mod download",
            ),
            ("go/bump@v1", "{ deps: [], dir: /s }", "cd '/s'"),
            ("go/hermetic@v1", "{}", "go mod download"),
            ("git/patch@v1", "{ patch: /a.patch }", "git apply '/a.patch'"),
            (
                "patch@v1",
                "{ dir: /s, options: -p1 -l, patches: [/a, /b c] }",
                "cd '/s'\npatch '-p1' '-l' -i '/a'\npatch '-p1' '-l' -i '/b c'",
            ),
        ] {
            let script = of(uses, with).map_err(|error| error.message).unwrap();
            assert_eq!(script, format!("set -eu\n{expected}\n"), "{uses} {with}");
        }
    }

    #[test]
    fn what_is_refused() {
        for (uses, with, why) in [
            ("go/build@v2", "{}", "a step uses \"go/build@v2\"; known are go/build@v1, go/bump@v1,"),
            ("go/build@v1", "{}", "go/build@v1 needs output"),
            (
                "go/build@v1",
                "{ output: a, experiments: [x] }",
                "go/build@v1 with \"experiments\": it takes output, packages",
            ),
            ("go/build@v1", "{ output: a, fips: true }", "no toolchain for it is known"),
            ("go/build@v1", "{ output: [a, b] }", "go/build@v1 takes one output"),
            ("go/build@v1", "{ output: a, strip: maybe }", "\"maybe\" is neither true nor false"),
            ("go/hermetic@v1", "{ dir: a }", "it takes nothing"),
            ("patch@v1", "{ options: -p1 }", "patch@v1 needs patch or patches"),
        ] {
            let error = of(uses, with).unwrap_err();
            assert!(error.message.contains(why), "{uses} {with}: {}", error.message);
        }
    }
}
