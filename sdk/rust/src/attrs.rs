use crate::Attr;

/// Adds setters that push an attribute, so that a word of the table is written in one place. Kinds: `text` (a string), `number`,
/// `octal` (a file mode), `list` (one attribute for each item), `flag` (pushed when true).
macro_rules! setters {
    ($type:ty { $($(#[$doc:meta])* $kind:ident $name:ident = $word:literal;)* }) => {
        impl $type {
            $($crate::attrs::setter!($(#[$doc])* $kind $name $word);)*
        }
    };
}

macro_rules! setter {
    ($(#[$doc:meta])* text $name:ident $word:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, value: impl Into<String>) -> Self {
            self.attrs.push(($word.to_owned(), value.into()));
            self
        }
    };
    ($(#[$doc:meta])* number $name:ident $word:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, value: impl Into<i64>) -> Self {
            let value: i64 = value.into();
            self.attrs.push(($word.to_owned(), value.to_string()));
            self
        }
    };
    ($(#[$doc:meta])* octal $name:ident $word:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, mode: u32) -> Self {
            self.attrs.push(($word.to_owned(), format!("{mode:o}")));
            self
        }
    };
    ($(#[$doc:meta])* list $name:ident $word:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, values: impl IntoIterator<Item = impl Into<String>>) -> Self {
            self.attrs.extend(values.into_iter().map(|value| ($word.to_owned(), value.into())));
            self
        }
    };
    ($(#[$doc:meta])* flag $name:ident $word:literal) => {
        $(#[$doc])*
        pub fn $name(mut self, value: bool) -> Self {
            if value {
                self.attrs.push(($word.to_owned(), "true".to_owned()));
            }
            self
        }
    };
}

pub(crate) use {setter, setters};

/// One attribute.
pub(crate) fn attr(word: &str, value: impl Into<String>) -> Attr {
    (word.to_owned(), value.into())
}
