//! What a remote calls a commit.

use std::{collections::HashMap, path::Path};

use super::{
    access::Access,
    command::{Git, REMOTE},
    error::GitError,
    mirror::Mirror,
    want::{Want, is_commit},
};

/// What a ref means now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Pinned {
    /// The whole name of the ref; the commit, when it has none.
    pub reference: String,
    /// The id of what the ref names: a commit, or a tag's own object.
    pub object: String,
    /// The commit that a tag's object names.
    pub tagged: Option<String>,
}

impl Pinned {
    /// A commit that is known by its id. Whether that is a commit shows when it is fetched.
    fn commit(id: &str, reference: &str) -> Pinned {
        let reference = if reference.is_empty() { id } else { reference };
        Pinned { reference: reference.to_string(), object: id.to_string(), tagged: None }
    }

    /// The commit to check out.
    pub(super) fn tree(&self) -> &str {
        self.tagged.as_deref().unwrap_or(&self.object)
    }

    pub(super) fn is_sha256(&self) -> bool {
        self.object.len() == 64
    }

    fn check(self, want: &Want) -> Result<Pinned, GitError> {
        let Some(checksum) = &want.checksum else { return Ok(self) };
        if self.object.starts_with(checksum) || self.tagged.as_ref().is_some_and(|id| id.starts_with(checksum)) {
            return Ok(self);
        }
        let got = [Some(self.object), self.tagged].into_iter().flatten().collect::<Vec<_>>().join(" or ");
        Err(GitError::Checksum { remote: want.shown(), reference: want.reference.clone(), got, want: checksum.clone() })
    }
}

/// What is known without asking the remote.
pub(super) fn known(want: &Want) -> Result<Option<Pinned>, GitError> {
    if is_commit(&want.reference) {
        return Pinned::commit(&want.reference, "").check(want).map(Some);
    }
    let is_known = want.fetch_by_commit || want.bundle.is_some() && want.reference.is_empty();
    let Some(checksum) = want.checksum.as_deref().filter(|sum| is_known && is_commit(sum)) else {
        return Ok(None);
    };
    let reference = match want.reference.as_str() {
        "" => String::new(),
        whole if whole.starts_with("refs/") => whole.to_string(),
        branch => format!("refs/heads/{branch}"),
    };
    Ok(Some(Pinned::commit(checksum, &reference)))
}

/// Asks the remote.
pub(super) async fn ask(want: &Want, access: &Access) -> Result<Pinned, GitError> {
    access.check_online()?;
    // Outside of any repository.
    let git = Git::new(access, Path::new("/dev/null"));
    let output = match want.reference.as_str() {
        "" | "HEAD" => git.run("list refs", &["ls-remote", "--symref", REMOTE, "HEAD"]).await?,
        reference => git.run("list refs", &["ls-remote", REMOTE, reference, &format!("{reference}^{{}}")]).await?,
    };
    pin(want, &output)
}

/// Asks what is below `refs` in the mirror, as if that were a remote.
pub(super) async fn ask_mirror(want: &Want, mirror: &Mirror<'_>, refs: &str) -> Result<Pinned, GitError> {
    // Names that have the pattern as their beginning, each as its object and as what that names.
    let format = "--format=%(objectname)\t%(refname)\n%(*objectname)\t%(refname)^{}";
    let output = mirror.git().line("list refs of the bundle", &["for-each-ref", format, refs]).await?;
    pin(want, output.replace(&format!("\t{refs}/"), "\trefs/").as_bytes())
}

fn pin(want: &Want, output: &[u8]) -> Result<Pinned, GitError> {
    let output = String::from_utf8_lossy(output);
    let no_ref = || GitError::NoRef {
        remote: want.shown(),
        reference: if want.reference.is_empty() { "HEAD".into() } else { want.reference.clone() },
    };
    let pinned = read(&output, &want.reference).ok_or_else(no_ref)?;
    pinned.check(want)
}

/// Reads lines `ID<tab>REF`. Of a branch and a tag of one name, the branch is meant.
fn read(output: &str, reference: &str) -> Option<Pinned> {
    let lines = output.lines().filter_map(|line| line.split_once('\t'));
    if matches!(reference, "" | "HEAD") {
        let mut symbolic =
            lines.clone().filter(|(_, name)| *name == "HEAD").filter_map(|(target, _)| target.strip_prefix("ref: "));
        let branch =
            symbolic.next().filter(|name| name.starts_with("refs/heads/") && !name.contains(char::is_whitespace));
        let (id, _) = lines.clone().find(|(id, name)| *name == "HEAD" && is_commit(id))?;
        return Some(Pinned::commit(id, branch.unwrap_or_default()));
    }
    let ids: HashMap<&str, &str> = lines.filter(|(id, _)| is_commit(id)).map(|(id, name)| (name, id)).collect();
    let whole = format!("refs/{}", reference.trim_start_matches("refs/"));
    let head = format!("refs/heads/{}", reference.trim_start_matches("refs/heads/"));
    let tag = format!("refs/tags/{}", reference.trim_start_matches("refs/tags/"));
    let name = [whole, head, tag].into_iter().find(|name| ids.contains_key(name.as_str()))?;
    let tagged = ids.get(format!("{name}^{{}}").as_str()).map(|id| id.to_string());
    Some(Pinned { object: ids[name.as_str()].to_string(), reference: name, tagged })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refs_as_git_finds_them() {
        let id = |digit: &str| digit.repeat(40);
        let list = |pairs: &[(&str, &str)]| -> String {
            pairs.iter().map(|(digit, name)| format!("{}\t{name}\n", id(digit))).collect()
        };
        let all = list(&[
            ("1", "refs/heads/x/main"),
            ("2", "refs/heads/main"),
            ("3", "refs/tags/main"),
            ("4", "refs/tags/v1"),
            ("5", "refs/tags/v1^{}"),
            ("6", "refs/pull/1/head"),
        ]);
        let table = [
            ("main", Some(("refs/heads/main", "2", "2"))),
            ("heads/main", Some(("refs/heads/main", "2", "2"))),
            ("refs/heads/main", Some(("refs/heads/main", "2", "2"))),
            ("refs/tags/main", Some(("refs/tags/main", "3", "3"))),
            ("v1", Some(("refs/tags/v1", "4", "5"))),
            ("pull/1/head", Some(("refs/pull/1/head", "6", "6"))),
            ("none", None),
        ];
        for (reference, want) in table {
            let found = read(&all, reference);
            let found = found
                .as_ref()
                .map(|pinned| (pinned.reference.as_str(), pinned.object.clone(), pinned.tree().to_string()));
            assert_eq!(found, want.map(|(name, object, tree)| (name, id(object), id(tree))), "{reference}");
        }
        let head = format!("ref: refs/heads/dev\tHEAD\n{}\tHEAD\n", id("7"));
        assert_eq!(read(&head, ""), Some(Pinned::commit(&id("7"), "refs/heads/dev")));
        assert_eq!(read(&list(&[("7", "HEAD")]), ""), Some(Pinned::commit(&id("7"), "")));
        let option = format!("ref: --upload-pack=x\tHEAD\n{}\tHEAD\n", id("7"));
        assert_eq!(read(&option, ""), Some(Pinned::commit(&id("7"), "")));
        assert_eq!(read("no list", ""), None);
    }
}
