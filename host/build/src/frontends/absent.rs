//! Components that are not where a path says: what to tell who wrote the path.

use std::sync::Arc;

use frontend::Error;

use crate::bridge::{FRONTEND_DIR, State, failed, shown_name};

/// Files by which the project of a frontend is known.
const PROJECTS: [&str; 4] = ["frontend.toml", "Cargo.toml", "go.mod", "package.json"];
/// The most components that are named.
const NAMED_MAX: usize = 5;

/// What may have been meant, by the names in the directory `dir`; empty where nothing can be said.
pub fn hint(dir: &str, names: &[String]) -> String {
    let mut components: Vec<&str> = names.iter().filter(|name| name.ends_with(".wasm")).map(String::as_str).collect();
    components.sort_unstable();
    let mut hint = String::new();
    if !components.is_empty() {
        let more = if components.len() > NAMED_MAX { " ..." } else { "" };
        components.truncate(NAMED_MAX);
        hint = format!("; {} has {}{more}", shown_dir(dir), components.join(", "));
    }
    if let Some(project) = PROJECTS.iter().find(|project| names.iter().any(|name| name == *project)) {
        let command =
            if dir.is_empty() { "pintle frontend build".into() } else { format!("pintle frontend build {dir}") };
        hint += &format!("; if the {project} there is the frontend's, `{command}` makes its component");
    }
    hint
}

fn shown_dir(dir: &str) -> &str {
    if dir.is_empty() { "the directory" } else { dir }
}

impl State {
    /// A file of the client's: beside its Dockerfile, or, after [`FRONTEND_DIR`], in the directory that holds the frontend.
    pub async fn client_file(self: &Arc<Self>, path: &str) -> Result<Vec<u8>, Error> {
        let (local, shown, file) = match path.strip_prefix(FRONTEND_DIR) {
            Some(file) => ("frontend", "the directory of the frontend", file),
            None => ("dockerfile", "the Dockerfile's directory", path.trim_start_matches("./")),
        };
        let name = shown_name(path);
        let error = match self.local_file(local, file, &format!("load frontend {name}")).await {
            Ok(component) => return Ok(component),
            Err(error) => error,
        };
        let (what, dir) = match error.code.as_str() {
            "not-found" => ("no such file in", file.rsplit_once('/').map_or("", |(dir, _)| dir)),
            "invalid-argument" => ("a directory, or no file at all, in", file),
            _ => return Err(error),
        };
        let names = self.neighbours(local, dir).await;
        Err(failed(&error.code, format!("frontend {name}: {what} {shown}{}", hint(dir, &names))))
    }

    /// The names in a directory of the client's that tell of frontends; none where they cannot be had.
    async fn neighbours(self: &Arc<Self>, local: &str, dir: &str) -> Vec<String> {
        let patterns = PROJECTS.into_iter().chain(["*.wasm"]);
        let patterns: Vec<_> =
            patterns.map(|name| if dir.is_empty() { name.into() } else { format!("{dir}/{name}") }).collect();
        let read = match self.local_files(local, &patterns, "look for frontends") {
            Ok(files) => frontend::Ref::read_dir(&*files, &format!("/{dir}"), None).await,
            Err(error) => Err(error),
        };
        read.map(|entries| entries.into_iter().map(|entry| entry.path).collect()).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hints() {
        let hint =
            |dir: &str, names: &[&str]| hint(dir, &names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>());
        assert_eq!(hint("", &["Dockerfile"]), "");
        assert_eq!(hint("", &["b.wasm", "a.wasm"]), "; the directory has a.wasm, b.wasm");
        assert_eq!(
            hint("langs/x", &["go.mod", "x.wasm"]),
            "; langs/x has x.wasm; if the go.mod there is the frontend's, `pintle frontend build langs/x` makes its component"
        );
        let many: Vec<_> = (0..9).map(|number| format!("{number}.wasm")).collect();
        assert!(super::hint("d", &many).ends_with("3.wasm, 4.wasm ..."), "only so many are named");
    }
}
