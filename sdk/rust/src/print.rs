//! `println!` and its like for frontends. A component for `wasm32-unknown-unknown` has no output, and what the standard library's macros
//! print there is lost; what these print is in the build's log, and in a native build where it always was.

use std::fmt;

use crate::Level;

/// Prints a line into the build's log. Takes what the standard library's macro of this name takes.
#[macro_export]
macro_rules! println {
    () => { $crate::println!("") };
    ($($text:tt)+) => { $crate::print::line($crate::Level::Info, ::core::format_args!($($text)+)) };
}

/// Prints a line into the build's log, as a warning. Takes what the standard library's macro of this name takes.
#[macro_export]
macro_rules! eprintln {
    () => { $crate::eprintln!("") };
    ($($text:tt)+) => { $crate::print::line($crate::Level::Warn, ::core::format_args!($($text)+)) };
}

/// Prints a value with its place into the build's log, and answers it, as the standard library's macro of this name does.
#[macro_export]
macro_rules! dbg {
    ($value:expr $(,)?) => {
        match $value {
            value => {
                let (file, line, column) = (::core::file!(), ::core::line!(), ::core::column!());
                $crate::eprintln!("[{file}:{line}:{column}] {} = {:#?}", ::core::stringify!($value), &value);
                value
            }
        }
    };
    ($($value:expr),+ $(,)?) => { ($($crate::dbg!($value)),+,) };
}

/// What the macros stand on.
#[doc(hidden)]
#[cfg(target_arch = "wasm32")]
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    crate::bindings::pintle::frontend::host::log(level.word(), &text.to_string());
}

/// What the macros stand on.
#[doc(hidden)]
#[cfg(not(target_arch = "wasm32"))]
pub fn line(level: Level, text: fmt::Arguments<'_>) {
    match level {
        Level::Info => std::println!("{text}"),
        _ => std::eprintln!("{text}"),
    }
}
