//! Small text formats: comma-separated values, durations and quoting as Go has them, sizes, and the nearest word.

pub mod csv;
pub mod duration;
pub mod nearest;
pub mod path;
pub mod quote;
pub mod size;
pub mod windows;

/// Reads `1 t T TRUE true True 0 f F FALSE false False`, as Go does.
pub fn parse_bool(text: &str) -> Option<bool> {
    match text {
        "1" | "t" | "T" | "TRUE" | "true" | "True" => Some(true),
        "0" | "f" | "F" | "FALSE" | "false" | "False" => Some(false),
        _ => None,
    }
}

/// An unsigned number in digits of `radix`, without a sign.
pub fn parse_u32(text: &str, radix: u32) -> Option<u32> {
    if text.starts_with('+') { None } else { u32::from_str_radix(text, radix).ok() }
}
