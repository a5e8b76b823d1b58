//! One line of comma-separated values.

/// The fields of `line`. A field in double quotes may hold commas, and quotes when doubled; a quote elsewhere is an error.
pub fn fields(line: &str) -> Result<Vec<String>, String> {
    let mut out = Vec::new();
    let mut rest = line;
    loop {
        let (field, after) = match rest.strip_prefix('"') {
            Some(quoted) => quoted_field(quoted)?,
            None => {
                let end = rest.find(',').unwrap_or(rest.len());
                let field = &rest[..end];
                if field.contains('"') {
                    return Err(format!("a quote stands inside of the value {field:?}, which is not quoted"));
                }
                (field.to_string(), &rest[end..])
            }
        };
        out.push(field);
        match after.strip_prefix(',') {
            Some(next) => rest = next,
            None => return Ok(out),
        }
    }
}

/// The rest of a field after its opening quote, and what follows the closing one: nothing or a comma.
fn quoted_field(mut rest: &str) -> Result<(String, &str), String> {
    let mut field = String::new();
    loop {
        let (before, after) = rest.split_once('"').ok_or("a quoted value does not end")?;
        field.push_str(before);
        match after.strip_prefix('"') {
            Some(next) => {
                field.push('"');
                rest = next;
            }
            None if after.is_empty() || after.starts_with(',') => return Ok((field, after)),
            None => return Err(format!("text follows the quoted value {field:?}")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fields;

    #[test]
    fn values() {
        assert_eq!(fields("a,b=c,").unwrap(), ["a", "b=c", ""]);
        assert_eq!(fields("\"a,\"\"b\",c").unwrap(), ["a,\"b", "c"]);
        assert_eq!(fields("").unwrap(), [""]);
        for bad in ["a\"b", "\"a", "\"a\"b"] {
            assert!(fields(bad).is_err(), "{bad}");
        }
    }
}
