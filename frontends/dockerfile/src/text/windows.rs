//! Paths of Windows. A build's trees have slashes, and one drive, which is not named.

use super::path;

/// The drive that the system is on.
const SYSTEM_DRIVE: &str = "c";

/// A path with slashes and without the drive; cleaned, but for a slash at its end.
///
/// # Errors
/// Another drive, a drive alone, or a share of the net.
pub fn without_drive(text: &str) -> Result<String, String> {
    let slashed = text.replace('\\', "/");
    if slashed.starts_with("//") {
        return Err(format!("path {text:?} is on the net: want one on drive C:"));
    }
    let path = match slashed.split_once(':') {
        Some((_, "")) if slashed.len() == 2 => {
            return Err(format!("path {text:?} is a drive: want for instance C:\\dir"));
        }
        Some((drive, _)) if !drive.eq_ignore_ascii_case(SYSTEM_DRIVE) => {
            return Err(format!("path {text:?} is not on the system's drive, C:"));
        }
        Some((_, path)) => path,
        None => &slashed,
    };
    let clean = path::clean(path);
    Ok(if path.ends_with('/') && clean.len() > 1 { clean + "/" } else { clean })
}

/// `wanted` under `current`, unless it is absolute; without the drive, and cleaned.
///
/// # Errors
/// See [`without_drive`].
pub fn resolve(current: &str, wanted: &str) -> Result<String, String> {
    Ok(path::resolve(&path::resolve("/", &without_drive(current)?), &without_drive(wanted)?))
}

/// A path with backslashes, as Windows has it.
pub fn with_backslashes(path: &str) -> String {
    path.replace('/', "\\")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn drives() {
        for (path, want) in [
            (r"C:\a\..\b\", "/b/"),
            (r"c:/a", "/a"),
            (r"C:a", "a"),
            (r"C:\", "/"),
            (r"a\b", "a/b"),
            (r"\a", "/a"),
            ("", "."),
        ] {
            assert_eq!(without_drive(path).as_deref(), Ok(want), "{path}");
        }
        for path in ["C:", r"D:\a", r"\\host\share", "//host/share", "ab:c"] {
            assert!(without_drive(path).is_err(), "{path}");
        }
        assert_eq!(resolve(r"C:\a", r"..\b\").as_deref(), Ok("/b"));
        assert_eq!(resolve("", r"c:\b").as_deref(), Ok("/b"));
        assert_eq!(with_backslashes("/a/b"), r"\a\b");
    }
}
