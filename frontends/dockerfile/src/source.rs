//! Places in a source text.

/// A half-open range of bytes.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Span {
    /// First byte.
    pub start: u32,
    /// One past the last byte.
    pub end: u32,
}

impl Span {
    /// From byte offsets.
    pub fn new(start: usize, end: usize) -> Self {
        Span { start: start as u32, end: end as u32 }
    }

    /// The text inside; empty where the span does not fit the text.
    pub fn of<'a>(&self, source: &'a str) -> &'a str {
        source.get(self.start as usize..self.end as usize).unwrap_or_default()
    }

    /// From the start of `self` to the end of `other`.
    pub fn to(self, other: Span) -> Span {
        Span { start: self.start, end: other.end.max(self.start) }
    }
}

/// First and last line, both included, counted from 1.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Lines {
    /// First line.
    pub first: u32,
    /// Last line.
    pub last: u32,
}

/// A line (from 1) and a column (from 0, in bytes).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Position {
    /// From 1.
    pub line: u32,
    /// From 0, in UTF-8 bytes.
    pub column: u32,
}

/// Where each line of a text begins.
#[derive(Clone, Debug)]
pub struct LineIndex {
    starts: Vec<u32>,
}

impl LineIndex {
    /// Scans `source` once.
    pub fn new(source: &str) -> Self {
        let newlines = source.bytes().enumerate().filter(|(_, byte)| *byte == b'\n');
        let starts = std::iter::once(0).chain(newlines.map(|(at, _)| at as u32 + 1)).collect();
        LineIndex { starts }
    }

    /// The line and column of a byte.
    pub fn position(&self, offset: u32) -> Position {
        let line = self.starts.partition_point(|start| *start <= offset).max(1);
        Position { line: line as u32, column: offset - self.starts[line - 1] }
    }
}

/// A piece of text and where it stands. The text may differ from what stands there: quotes, escapes and line continuations
/// are taken out.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Token {
    /// What it says.
    pub text: String,
    /// Where it says so.
    pub span: Span,
}

impl Token {
    /// A token of `text` at `span`.
    pub fn new(text: impl Into<String>, span: Span) -> Self {
        Token { text: text.into(), span }
    }
}

/// Something wrong with a source text.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Problem {
    /// A lower-case fragment that names what is wrong.
    pub message: String,
    /// Where; `Span::default()` is nowhere in particular.
    pub span: Span,
}

impl Problem {
    /// A problem at `span`.
    pub fn new(message: impl Into<String>, span: Span) -> Self {
        Problem { message: message.into(), span }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions() {
        let index = LineIndex::new("ab\n\ncd");
        let at = |offset| {
            let position = index.position(offset);
            (position.line, position.column)
        };
        assert_eq!([at(0), at(2), at(3), at(4), at(6)], [(1, 0), (1, 2), (2, 0), (3, 0), (3, 2)]);
    }
}
