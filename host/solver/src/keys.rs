//! What is interchangeable with what: classes.
//!
//! A [`Class`] names all vertices that must give the same result: the hash of an op's key and of what is known of its inputs. An
//! input that is looked at by contents enters as the digest of those contents as soon as they are known, and as "what that
//! producer holds, seen through this view" until then. So a class has one canonical form, which is found by rewriting from the
//! definition towards contents, never back: two contents are never declared equal, even where one op gave both on different days.
//! Classes are the same in every process, so what is live, stored and imported needs no translation.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::Look;

/// The name of a class: see the module. Written as hex.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Class([u8; 32]);

/// What is known of one input of a vertex, as the vertex looks at it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct InputKey {
    /// The class of the output that is read.
    pub edge: Class,
    /// How it is looked at.
    pub look: Look,
    /// The digest of what it holds, for [`Look::Contents`], once that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub contents: Option<String>,
}

impl Class {
    /// The class of a vertex: its op over what is known of its inputs.
    pub fn of_op(op: &str, inputs: impl IntoIterator<Item = Class>) -> Class {
        inputs.into_iter().fold(Parts::new("op").text(op), Parts::class).finish()
    }

    /// What a vertex takes an output of this class for, when it looks at it as `look` and knows that it holds `contents`.
    pub fn input(self, look: &Look, contents: Option<&str>) -> Class {
        match (look, contents) {
            (Look::Whole, _) => self,
            (Look::Path(path), _) => Parts::new("path").class(self).text(path).finish(),
            (Look::Contents(view), None) => self.view(view),
            (Look::Contents(view), Some(digest)) => Parts::new("contents").text(view).text(digest).finish(),
        }
    }

    /// The class of output `output` of a vertex of this class. The first output shares its vertex's class.
    pub fn output(self, output: u32) -> Class {
        match output {
            0 => self,
            n => Parts::new("output").class(self).bytes(&n.to_le_bytes()).finish(),
        }
    }

    /// What an output of this class holds as seen through `view`, whatever that turns out to be.
    pub fn view(self, view: &str) -> Class {
        Parts::new("view").class(self).text(view).finish()
    }

    /// Names a list of classes.
    pub(crate) fn of_list(classes: impl IntoIterator<Item = Class>) -> Class {
        classes.into_iter().fold(Parts::new("list"), Parts::class).finish()
    }

    /// Names any text, apart from all classes.
    pub(crate) fn of_text(kind: &str, text: &str) -> Class {
        Parts::new("text").text(kind).text(text).finish()
    }

    pub(crate) fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl InputKey {
    /// What the vertex above takes this input for.
    pub fn class(&self) -> Class {
        self.edge.input(&self.look, self.contents.as_deref())
    }
}

/// Hashes parts so that no two lists of parts meet: each is preceded by its length.
struct Parts(Sha256);

impl Parts {
    fn new(tag: &str) -> Self {
        Parts(Sha256::new()).text(tag)
    }

    fn text(self, text: &str) -> Self {
        self.bytes(text.as_bytes())
    }

    fn class(self, class: Class) -> Self {
        self.bytes(&class.0)
    }

    fn bytes(mut self, bytes: &[u8]) -> Self {
        self.0.update((bytes.len() as u64).to_le_bytes());
        self.0.update(bytes);
        self
    }

    fn finish(self) -> Class {
        Class(self.0.finalize().into())
    }
}

impl std::fmt::Display for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(self.0))
    }
}

impl std::fmt::Debug for Class {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&hex::encode(&self.0[..6]))
    }
}

impl Serialize for Class {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Class {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let mut bytes = [0; 32];
        hex::decode_to_slice(text, &mut bytes).map_err(serde::de::Error::custom)?;
        Ok(Class(bytes))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn input(edge: Class, look: Look, contents: Option<&str>) -> InputKey {
        InputKey { edge, look, contents: contents.map(String::from) }
    }

    #[test]
    fn classes_differ_where_meaning_differs() {
        let a = Class::of_op("a", []);
        let contents = || Look::Contents("v".into());
        let keys = [
            input(a, Look::Whole, None),
            input(a.output(1), Look::Whole, None),
            input(a, Look::Path("v".into()), None),
            input(a, contents(), None),
            input(a, contents(), Some("d")),
            input(a, Look::Contents("w".into()), Some("d")),
        ];
        let mut classes: Vec<_> = keys.iter().map(|key| Class::of_op("p", [key.class()])).collect();
        classes.push(Class::of_op("p", keys.iter().map(InputKey::class)));
        classes.push(Class::of_op("p", []));
        classes.sort();
        classes.dedup();
        assert_eq!(classes.len(), 8);
    }

    #[test]
    fn known_contents_hide_who_made_them() {
        let look = Look::Contents("v".into());
        let key = |op| input(Class::of_op(op, []), look.clone(), Some("d")).class();
        assert_eq!(key("a"), key("b"));
    }

    #[test]
    fn a_class_survives_being_written() {
        let class = Class::of_op("a", []);
        let text = serde_json::to_string(&class).unwrap();
        assert_eq!(serde_json::from_str::<Class>(&text).unwrap(), class);
    }
}
