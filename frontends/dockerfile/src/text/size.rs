//! Sizes in bytes with binary units: `64m`, `1.5GiB`.

/// Bytes of a size such as `64m`, `64MB` or `64 MiB`, all of which are the same; `None` where it is none.
pub fn parse(text: &str) -> Option<i64> {
    let last = text.rfind(|c: char| c.is_ascii_digit() || c == '.' || c == ' ')?;
    let (number, suffix) = (text[..=last].strip_suffix(' ').unwrap_or(&text[..=last]), &text[last + 1..]);
    if !number.bytes().all(|byte| byte.is_ascii_digit() || byte == b'.') {
        return None;
    }
    let number: f64 = number.parse().ok()?;
    let suffix = suffix.to_ascii_lowercase();
    let unit = match suffix.as_str() {
        "" | "b" => return Some(number as i64),
        unit if unit.len() > 1 => unit.strip_suffix("ib").or_else(|| unit.strip_suffix('b'))?,
        unit => unit,
    };
    let power = ["k", "m", "g", "t", "p"].iter().position(|known| *known == unit)?;
    Some((number * 1024_f64.powi(power as i32 + 1)) as i64)
}

#[cfg(test)]
mod tests {
    use super::parse;

    #[test]
    fn sizes() {
        for (text, bytes) in
            [("64", 64), ("1k", 1024), ("1.5M", 3 << 19), ("2GiB", 2 << 30), ("3 mb", 3 << 20), ("7b", 7)]
        {
            assert_eq!(parse(text), Some(bytes), "{text}");
        }
        for bad in ["", "m", "1x", "1bb", "-1m", "1.2.3"] {
            assert_eq!(parse(bad), None, "{bad}");
        }
    }
}
