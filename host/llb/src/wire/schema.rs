//! Protobuf bytes as protobuf's JSON, by the schema itself: `ops.proto` is read when it is first needed.

use std::{collections::HashMap, sync::LazyLock};

use base64::{Engine, prelude::BASE64_STANDARD};
use serde_json::{Map, Value};

/// BuildKit's messages.
const SCHEMA: &str = include_str!("../../proto/ops.proto");

/// Messages may be this deep in each other.
const MAX_DEPTH: usize = 100;

#[derive(Default)]
struct Schema {
    messages: HashMap<&'static str, Vec<Field>>,
    enums: HashMap<&'static str, HashMap<u64, &'static str>>,
}

struct Field {
    /// As JSON has it.
    name: String,
    number: u64,
    kind: Kind,
}

enum Kind {
    One(&'static str),
    Many(&'static str),
    /// By a string.
    Map(&'static str),
}

static PARSED: LazyLock<Schema> = LazyLock::new(|| Schema::parse(SCHEMA));

/// The JSON of a message of type `name`. `None` when the bytes are none, or nest too deep.
pub fn json(name: &str, bytes: &[u8]) -> Option<Value> {
    PARSED.message(name, bytes, 0)
}

impl Schema {
    fn parse(text: &'static str) -> Self {
        let mut schema = Schema::default();
        let mut inside = None;
        for line in text.lines().map(|line| line.split("//").next().unwrap_or_default().trim()) {
            let words: Vec<&'static str> = line.trim_end_matches(';').split_whitespace().collect();
            match words[..] {
                ["message", name, ..] => {
                    schema.messages.insert(name, Vec::new());
                    inside = Some(name);
                }
                ["enum", name, ..] => {
                    schema.enums.insert(name, HashMap::new());
                    inside = Some(name);
                }
                [.., "=", number] => schema.field(inside.unwrap_or_default(), &words[..words.len() - 2], number),
                _ => {}
            }
        }
        schema
    }

    fn field(&mut self, owner: &str, words: &[&'static str], number: &str) {
        let Ok(number) = number.parse() else { return };
        match (self.messages.get_mut(owner), self.enums.get_mut(owner), words) {
            (Some(fields), _, [kind @ .., name]) => {
                let kind = match kind {
                    ["repeated", kind] => Kind::Many(kind),
                    [kind] => Kind::One(kind),
                    // map<string, V>
                    [_, value] => Kind::Map(value.trim_end_matches('>')),
                    _ => return,
                };
                fields.push(Field { name: camel_case(name), number, kind });
            }
            (None, Some(names), [name]) => drop(names.insert(number, name)),
            _ => {}
        }
    }

    fn message(&self, name: &str, bytes: &[u8], depth: usize) -> Option<Value> {
        let fields = self.messages.get(name).filter(|_| depth < MAX_DEPTH)?;
        let records = records(bytes)?;
        let mut object = Map::new();
        // In the order of the schema, not of the bytes.
        for field in fields {
            let of_field = records.iter().filter(|(number, _)| *number == field.number).map(|(_, record)| record);
            let values = of_field.collect::<Vec<_>>();
            let Some(last) = values.last() else { continue };
            let value = match field.kind {
                Kind::One(kind) => self.value(kind, last, depth)?,
                Kind::Many(kind) => {
                    let values = values.iter().map(|record| self.repeated(kind, record, depth));
                    values.collect::<Option<Vec<_>>>()?.concat().into()
                }
                Kind::Map(kind) => {
                    let mut entries: Vec<(String, Value)> =
                        values.iter().map(|record| self.entry(kind, record, depth)).collect::<Option<_>>()?;
                    entries.sort_by(|a, b| a.0.cmp(&b.0));
                    Value::Object(entries.into_iter().collect())
                }
            };
            object.insert(field.name.clone(), value);
        }
        Some(Value::Object(object))
    }

    /// Numbers may be packed into one record.
    fn repeated(&self, kind: &str, record: &Record, depth: usize) -> Option<Vec<Value>> {
        let packed = !matches!(kind, "string" | "bytes") && !self.messages.contains_key(kind);
        match record {
            Record::Bytes(bytes) if packed => {
                let mut bytes = *bytes;
                let mut values = Vec::new();
                while !bytes.is_empty() {
                    values.push(self.value(kind, &Record::Number(number(&mut bytes)?), depth)?);
                }
                Some(values)
            }
            record => Some(vec![self.value(kind, record, depth)?]),
        }
    }

    fn entry(&self, kind: &str, record: &Record, depth: usize) -> Option<(String, Value)> {
        let Record::Bytes(bytes) = record else { return None };
        let parts = records(bytes)?;
        let part = |wanted: u64| parts.iter().find(|(number, _)| *number == wanted).map(|(_, record)| record);
        let key =
            part(1).map_or(Some(String::new()), |key| self.value("string", key, depth)?.as_str().map(Into::into))?;
        let empty = if kind == "bool" { Record::Number(0) } else { Record::Bytes(&[]) };
        Some((key, self.value(kind, part(2).unwrap_or(&empty), depth)?))
    }

    fn value(&self, kind: &str, record: &Record, depth: usize) -> Option<Value> {
        Some(match (kind, record) {
            ("string", Record::Bytes(bytes)) => String::from_utf8_lossy(bytes).into(),
            ("bytes", Record::Bytes(bytes)) => BASE64_STANDARD.encode(bytes).into(),
            ("bool", Record::Number(number)) => (*number != 0).into(),
            ("int32", Record::Number(number)) => (*number as i32).into(),
            ("uint32", Record::Number(number)) => (*number as u32).into(),
            // JSON numbers are not precise enough for these.
            ("int64", Record::Number(number)) => number.cast_signed().to_string().into(),
            ("uint64", Record::Number(number)) => number.to_string().into(),
            (kind, Record::Number(number)) => {
                let name = self.enums.get(kind)?.get(number);
                name.map_or_else(|| (*number).into(), |name| Value::from(*name))
            }
            (kind, Record::Bytes(bytes)) => self.message(kind, bytes, depth + 1)?,
        })
    }
}

/// `http_proxy` is `httpProxy`.
fn camel_case(name: &str) -> String {
    let mut parts = name.split('_');
    let mut out = parts.next().unwrap_or_default().to_owned();
    for part in parts {
        let mut chars = part.chars();
        out.extend(chars.next().map(|first| first.to_ascii_uppercase()));
        out.push_str(chars.as_str());
    }
    out
}

enum Record<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

/// The records of a message, by field number. BuildKit's messages have numbers and what has a length, nothing else.
fn records(mut bytes: &[u8]) -> Option<Vec<(u64, Record<'_>)>> {
    let mut all = Vec::new();
    while !bytes.is_empty() {
        let tag = number(&mut bytes)?;
        let record = match tag & 7 {
            0 => Record::Number(number(&mut bytes)?),
            2 => {
                let length = usize::try_from(number(&mut bytes)?).ok()?;
                let (content, rest) = bytes.split_at_checked(length)?;
                bytes = rest;
                Record::Bytes(content)
            }
            _ => return None,
        };
        all.push((tag >> 3, record));
    }
    Some(all)
}

/// A base-128 number.
fn number(bytes: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use prost::Message;
    use serde_json::json;

    use crate::wire::pb;

    #[test]
    fn forms_of_values() {
        let mount = pb::Mount { input: -1, dest: "/m".into(), mount_type: 3, content_cache: 2, ..Default::default() };
        let meta = pb::Meta {
            args: vec!["a".into(), "b<".into()],
            proxy_env: Some(pb::ProxyEnv { http_proxy: "p".into(), ..Default::default() }),
            valid_exit_codes: vec![0, -1, 300],
            ..Default::default()
        };
        let exec = pb::ExecOp { meta: Some(meta), mounts: vec![mount], network: 2, ..Default::default() };
        let op = pb::Op { op: Some(pb::op::Op::Exec(exec)), ..Default::default() };
        let want = json!({ "exec": {
            "meta": { "args": ["a", "b<"], "proxyEnv": { "httpProxy": "p" }, "validExitCodes": [0, -1, 300] },
            "mounts": [{ "input": "-1", "dest": "/m", "mountType": "CACHE", "contentCache": "OFF" }],
            "network": "NONE",
        }});
        assert_eq!(super::json("Op", &op.encode_to_vec()), Some(want));
        let meta = pb::OpMetadata {
            caps: [("b".to_string(), true), ("a".to_string(), false)].into(),
            linux_resources: Some(pb::LinuxResources { cpu_shares: u64::MAX, ..Default::default() }),
            ..Default::default()
        };
        let want =
            json!({ "caps": { "a": false, "b": true }, "linuxResources": { "cpuShares": u64::MAX.to_string() } });
        assert_eq!(super::json("OpMetadata", &meta.encode_to_vec()), Some(want));
        let file = pb::SourceInfo { data: vec![1, 2].into(), ..Default::default() };
        assert_eq!(super::json("SourceInfo", &file.encode_to_vec()), Some(json!({ "data": "AQI=" })));
    }

    #[test]
    fn bytes_that_are_no_message() {
        for bytes in
            [&[0xff][..], &[0x0a, 5, 1], &[0x09, 1], &[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]]
        {
            assert_eq!(super::json("Op", bytes), None);
        }
        assert_eq!(super::json("Nothing", &[]), None);
    }
}
