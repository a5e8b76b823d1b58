//! Quoted strings as Go prints them (`%q`), which is how commands stand in an image's history.

use std::fmt::Write;

/// `"text"`, with escapes.
pub fn quote(text: &str) -> String {
    let mut out = String::from("\"");
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' ' => out.push(' '),
            c if c.is_ascii_control() => drop(write!(out, "\\x{:02x}", u32::from(c))),
            // `escape_debug` knows which characters can be printed.
            c if c.is_ascii() || c.escape_debug().count() == 1 => out.push(c),
            c if u32::from(c) > 0xffff => drop(write!(out, "\\U{:08x}", u32::from(c))),
            c => drop(write!(out, "\\u{:04x}", u32::from(c))),
        }
    }
    out.push('"');
    out
}

/// `["a" "b"]`.
pub fn quote_list(items: &[String]) -> String {
    let quoted: Vec<String> = items.iter().map(|item| quote(item)).collect();
    format!("[{}]", quoted.join(" "))
}

#[cfg(test)]
mod tests {
    #[test]
    fn quoting() {
        let items = ["a b".to_string(), "q\"\\\n\u{1}é'".to_string()];
        assert_eq!(super::quote_list(&items), r#"["a b" "q\"\\\n\x01é'"]"#);
        assert_eq!(super::quote("\u{200b}\u{e0001}"), r#""\u200b\U000e0001""#);
    }
}
