//! What a list of paths must look like before anything is done with it.

use super::{MAX_PATH_BYTES, split};

/// Why a path of the list is refused. None of these comes from an honest sender.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum OrderError {
    #[error("path {0:?} is not a clean relative path")]
    Unclean(String),
    #[error("a path is {0} bytes long; at most {MAX_PATH_BYTES} are accepted")]
    TooLong(usize),
    #[error("path {0:?} comes before its directory, after it was left, or beneath something that is no directory")]
    NoParent(String),
    #[error("path {path:?} does not come after {last:?}")]
    NotAfter { path: String, last: String },
}

/// Whether each path follows its directory and its smaller siblings. Holds the directories that are open.
#[derive(Debug, Default)]
pub struct Order {
    open: Vec<Open>,
}

#[derive(Debug, Default)]
struct Open {
    path: String,
    /// The last name seen in it.
    last: String,
}

impl Order {
    /// An order in which nothing has been seen.
    pub fn new() -> Self {
        Order { open: vec![Open::default()] }
    }

    /// Takes the next path. Says how many directories are left by it.
    pub fn next(&mut self, path: &str, is_dir: bool) -> Result<usize, OrderError> {
        check(path)?;
        let (parent, name) = split(path);
        let depth = self.open.iter().rposition(|open| open.path == parent);
        let depth = depth.ok_or_else(|| OrderError::NoParent(path.to_owned()))?;
        let last = &self.open[depth].last;
        if !last.is_empty() && last.as_bytes() >= name.as_bytes() {
            return Err(OrderError::NotAfter { path: path.to_owned(), last: last.clone() });
        }
        let left = self.open.len() - 1 - depth;
        self.open.truncate(depth + 1);
        self.open[depth].last = name.to_owned();
        if is_dir {
            self.open.push(Open { path: path.to_owned(), last: String::new() });
        }
        Ok(left)
    }
}

/// Refuses everything but `a`, `a/b` ...: no empty component, no `.` or `..`, no NUL.
pub(super) fn check(path: &str) -> Result<(), OrderError> {
    if path.len() > MAX_PATH_BYTES {
        return Err(OrderError::TooLong(path.len()));
    }
    let bad = |part: &str| matches!(part, "" | "." | "..") || part.contains('\0');
    if path.split('/').any(bad) {
        return Err(OrderError::Unclean(path.to_owned()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn run(paths: &[&str]) -> Result<(), OrderError> {
        let mut order = Order::new();
        // A trailing slash marks a directory.
        paths.iter().try_for_each(|path| order.next(path.trim_end_matches('/'), path.ends_with('/')).map(drop))
    }

    #[test]
    fn depth_first_in_byte_order_is_accepted() {
        run(&["a/", "a/b/", "a/b/c", "a/d", "a-b", "b/", "b/z", "c"]).unwrap();
        run(&["A", "a", "ä"]).unwrap();
    }

    #[test]
    fn every_other_list_is_refused() {
        let bad: &[&[&str]] = &[
            &[""],
            &["/a"],
            &["."],
            &[".."],
            &["../a"],
            &["a/", "a/.."],
            &["a/", "a//b"],
            &["a\0b"],
            &["b", "a"],
            &["a", "a"],
            &["a/b"],
            &["a", "a/b"],
            &["a/", "b", "a/c"],
            &["a/", "a/b/", "a/c", "a/b/d"],
        ];
        for paths in bad {
            assert!(run(paths).is_err(), "{paths:?}");
        }
        assert_eq!(run(&[&"a".repeat(MAX_PATH_BYTES + 1)]), Err(OrderError::TooLong(MAX_PATH_BYTES + 1)));
        run(&[&"a".repeat(MAX_PATH_BYTES)]).unwrap();
    }
}
