//! buildkitd.toml as a list of keys and values, each checked against [`super::keys`], with its line.

use anyhow::{Context, bail};
use toml::{
    Spanned,
    de::{DeTable, DeValue},
};

use super::keys::{self, Kind, Meaning};

/// What a key holds.
#[derive(Clone, PartialEq, Debug)]
pub enum Value {
    Bool(bool),
    Int(i64),
    Text(String),
    Texts(Vec<String>),
    /// Bytes, or a part of the disk in percent.
    Size(Size),
    Duration(std::time::Duration),
    /// Of no interest.
    Any,
}

/// A size.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Size {
    Bytes(u64),
    Percent(u64),
}

/// A key that is set.
#[derive(Clone, PartialEq, Debug)]
pub struct Entry {
    /// Its parts; a table of a list has its number for one.
    pub parts: Vec<String>,
    pub value: Value,
    pub meaning: Meaning,
    /// File, line and key, for messages.
    pub place: String,
}

/// Reads a file.
pub fn read(text: &str, file: &str) -> anyhow::Result<Vec<Entry>> {
    let table = DeTable::parse(text).map_err(|error| {
        let line = error.span().map_or(1, |span| line(text, span.start));
        anyhow::anyhow!("{file}:{line}: {}", error.message())
    })?;
    let mut reader = Reader { text, file, entries: Vec::new() };
    reader.table(table.get_ref(), &mut Vec::new())?;
    Ok(reader.entries)
}

fn line(text: &str, at: usize) -> usize {
    text.bytes().take(at).filter(|byte| *byte == b'\n').count() + 1
}

struct Reader<'a> {
    text: &'a str,
    file: &'a str,
    entries: Vec<Entry>,
}

impl Reader<'_> {
    fn table(&mut self, table: &DeTable<'_>, parts: &mut Vec<String>) -> anyhow::Result<()> {
        for (key, value) in table {
            parts.push(key.get_ref().to_string());
            self.value(key.span().start, value, parts)?;
            parts.pop();
        }
        Ok(())
    }

    fn value(&mut self, at: usize, value: &Spanned<DeValue<'_>>, parts: &mut Vec<String>) -> anyhow::Result<()> {
        let place = format!("{}:{}: {}", self.file, line(self.text, at), shown(parts));
        if let Some((kind, meaning)) = keys::find(parts) {
            let value = typed(kind, value.get_ref()).with_context(|| place.clone())?;
            self.entries.push(Entry { parts: parts.clone(), value, meaning, place });
            return Ok(());
        }
        match value.get_ref() {
            DeValue::Table(table) if keys::has_below(parts) => self.table(table, parts),
            DeValue::Array(list) if keys::has_below(parts) => {
                for (number, item) in list.iter().enumerate() {
                    let DeValue::Table(table) = item.get_ref() else { bail!("{place}: want tables") };
                    parts.push(number.to_string());
                    self.table(table, parts)?;
                    parts.pop();
                }
                Ok(())
            }
            _ if keys::has_below(parts) => bail!("{place}: want a table"),
            _ => bail!("{place}: unknown key; there are {}", keys::beside(parts).join(", ")),
        }
    }
}

/// The key as the file has it.
fn shown(parts: &[String]) -> String {
    let plain = |part: &str| part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-_".contains(&byte));
    // The name of a registry is always quoted, so that it is seen where it ends.
    let part = |(at, part): (usize, &String)| {
        let is_name = at == 1 && parts[0] == "registry";
        if plain(part) && !is_name { part.clone() } else { format!("{part:?}") }
    };
    parts.iter().enumerate().map(part).collect::<Vec<_>>().join(".")
}

fn typed(kind: Kind, value: &DeValue<'_>) -> anyhow::Result<Value> {
    let text = value.as_str();
    let number = || -> Option<i64> {
        let number = value.as_integer()?;
        i64::from_str_radix(number.as_str(), number.radix()).ok()
    };
    Ok(match kind {
        Kind::Any => Value::Any,
        Kind::Bool => Value::Bool(value.as_bool().context("want true or false")?),
        Kind::Int => Value::Int(number().context("want a number")?),
        Kind::Text => Value::Text(text.context("want a text")?.to_string()),
        Kind::Texts => {
            let list = value.as_array().context("want a list of texts")?;
            let texts = list.iter().map(|item| item.get_ref().as_str().map(String::from));
            Value::Texts(texts.collect::<Option<_>>().context("want a list of texts")?)
        }
        Kind::Size => Value::Size(match (text, number()) {
            (Some(text), _) => size(text)?,
            (None, Some(bytes)) => Size::Bytes(u64::try_from(bytes).context("want no negative size")?),
            _ => bail!("want a size: 500MB, 10% or a number of bytes"),
        }),
        Kind::Duration => Value::Duration(match (text, number()) {
            (Some(text), _) => units::parse_duration(text)?,
            (None, Some(seconds)) => {
                std::time::Duration::from_secs(seconds.try_into().context("want no negative time")?)
            }
            _ => bail!("want a duration: 48h or a number of seconds"),
        }),
    })
}

fn size(text: &str) -> anyhow::Result<Size> {
    if let Some(percent) = text.strip_suffix('%') {
        let percent = percent.trim().parse().ok().filter(|percent| *percent <= 100);
        return Ok(Size::Percent(percent.context("want a part of the disk between 0% and 100%")?));
    }
    Ok(Size::Bytes(units::parse_size(text)?))
}
