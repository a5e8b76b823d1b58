//! Where a guest was when it ended, for its author. Names of functions come from the component, so nothing of them is shown as it is.

use std::fmt::Write;

use rustc_demangle::try_demangle;
use wasmtime::{FrameInfo, WasmBacktrace};

/// Characters of a name that are shown.
const NAME_MAX: usize = 200;
/// Characters that are shown of a line that wasmtime or the guest says.
pub(crate) const MESSAGE_MAX: usize = 2000;
/// Functions that run a program of another language, by a part of their names, with that language.
const INTERPRETERS: [(&str, &str); 2] = [("_PyEval_EvalFrameDefault", "Python"), ("JS_CallInternal", "JavaScript")];
/// What an author can do instead.
const INSTEAD: &str = "what it prints or logs shows how far it came";

/// A backtrace as it is shown: a line a call, the innermost first. That of an interpreter would say nothing of the program that it ran,
/// and it is said instead that the line is not known.
pub(crate) fn shown(backtrace: &WasmBacktrace) -> String {
    let frames = backtrace.frames();
    let is_called = |part: &str| frames.iter().filter_map(FrameInfo::func_name).any(|name| name.contains(part));
    if let Some((_, language)) = INTERPRETERS.iter().find(|(part, _)| is_called(part)) {
        return format!("an interpreter ran it, so which line of its {language} it was at is not known; {INSTEAD}");
    }
    // The outermost of several is what the toolchain puts around the export.
    let own = match frames {
        [own @ .., _] if !own.is_empty() => own,
        all => all,
    };
    if !own.is_empty() && own.iter().all(|frame| frame.func_name().is_none()) {
        return format!(
            "its functions have no names, as those of an interpreter of JavaScript have none, so which line it was at is \
             not known; {INSTEAD}"
        );
    }
    let mut text = "the innermost call first".to_owned();
    for (number, frame) in frames.iter().enumerate() {
        // Writing to a text does not fail.
        let _ = write_frame(&mut text, number, frame);
    }
    text
}

fn write_frame(text: &mut String, number: usize, frame: &FrameInfo) -> std::fmt::Result {
    let index = || format!("<wasm function {}>", frame.func_index());
    let own = || frame.func_name().map_or_else(index, name);
    write!(text, "\n  {number:>3}: ")?;
    if let Some(offset) = frame.module_offset() {
        write!(text, "{offset:#8x} - ")?;
    }
    if frame.symbols().is_empty() {
        let module = frame.module().name().map_or_else(String::new, |module| format!("{}!", plain(module, NAME_MAX)));
        return write!(text, "{module}{}", own());
    }
    for (inlined, symbol) in frame.symbols().iter().enumerate() {
        let begin = if inlined > 0 { "\n                - " } else { "" };
        write!(text, "{begin}{}", symbol.name().map_or_else(own, name))?;
        if let Some(file) = symbol.file() {
            write!(text, "\n                    at {}", plain(file, NAME_MAX))?;
            for number in [symbol.line(), symbol.column()].into_iter().map_while(|number| number) {
                write!(text, ":{number}")?;
            }
        }
    }
    Ok(())
}

/// The name of a function, as its author wrote it.
fn name(symbol: &str) -> String {
    match try_demangle(symbol) {
        Ok(demangled) => plain(&demangled.to_string(), NAME_MAX),
        Err(_) => plain(symbol, NAME_MAX),
    }
}

/// Text of a component as a part of a line: what would steer a terminal, end the line or turn its direction is shown by its number, and
/// what is over `most` characters is cut off.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut shown = String::new();
    for (number, c) in text.chars().enumerate() {
        match c {
            _ if number == most => {
                shown.push_str(" ...");
                break;
            }
            '\'' | '"' | '\\' | '\t' => shown.push(c),
            c => shown.extend(c.escape_debug()),
        }
    }
    shown
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_a_name_steers_a_terminal_or_ends_a_line() {
        for (text, want) in [
            ("<a::B as C<'_>>::d\t\"e\\f\" é", "<a::B as C<'_>>::d\t\"e\\f\" é"),
            ("\x1b[2J\x1b]0;mine\x07", "\\u{1b}[2J\\u{1b}]0;mine\\u{7}"),
            ("a\n    7: b\r", "a\\n    7: b\\r"),
            ("\u{9b}1m\u{202e}turned\0", "\\u{9b}1m\\u{202e}turned\\0"),
        ] {
            assert_eq!(plain(text, 100), want);
        }
        assert_eq!(plain("abcdef", 3), "abc ...");
        assert_eq!(plain("abc", 3), "abc");
    }

    #[test]
    fn names_are_as_they_were_written() {
        assert_eq!(name("_ZN5hello4main17h0123456789abcdefE"), "hello::main::h0123456789abcdef");
        assert_eq!(name("main.step"), "main.step");
    }
}
