use std::{
    io::Write as _,
    os::unix::fs::MetadataExt as _,
    process::{Command, Stdio},
};

use oci::testing::Response;

use super::*;
use crate::GitError;

/// Repositories below one directory, served by `git http-backend`.
struct Forge {
    dir: tempfile::TempDir,
    server: Server,
}

/// A file or link of a commit.
type Change<'a> = (&'a str, &'a str);

impl Forge {
    async fn new() -> Forge {
        Forge::wanting(None).await
    }

    /// One that wants this Authorization header.
    async fn wanting(login: Option<&'static str>) -> Forge {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().to_path_buf();
        let server = Server::start(move |request| match login {
            Some(login) if request.header("authorization") != login => {
                Response::status(401).with("www-authenticate", "Basic realm=\"x\"")
            }
            _ => backend(&root, request),
        })
        .await;
        Forge { dir, server }
    }

    fn url(&self, name: &str) -> String {
        format!("http://{}/{name}", self.server.address)
    }

    fn git(&self, name: &str, args: &[&str]) -> String {
        let mut command = Command::new("git");
        command.current_dir(self.dir.path().join(name)).args(["-c", "protocol.file.allow=always"]).args(args);
        for who in ["AUTHOR", "COMMITTER"] {
            command.env(format!("GIT_{who}_NAME"), "a").env(format!("GIT_{who}_EMAIL"), "a@b");
            command.env(format!("GIT_{who}_DATE"), "784111777 +0000");
        }
        let output = command.env("GIT_CONFIG_GLOBAL", "/dev/null").env("GIT_CONFIG_NOSYSTEM", "1").output().unwrap();
        assert!(output.status.success(), "git {args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap().trim().to_string()
    }

    /// Makes a repository with one commit on the branch `main`; its id.
    fn repository(&self, name: &str, format: &str, changes: &[Change<'_>]) -> String {
        std::fs::create_dir(self.dir.path().join(name)).unwrap();
        self.git(name, &["init", "--quiet", "--initial-branch=main", &format!("--object-format={format}")]);
        self.commit(name, changes)
    }

    /// Commits files, and links where the content begins with an arrow.
    fn commit(&self, name: &str, changes: &[Change<'_>]) -> String {
        for (path, content) in changes {
            let path = self.dir.path().join(name).join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            match content.strip_prefix("-> ") {
                Some(target) => std::os::unix::fs::symlink(target, path).unwrap(),
                None => std::fs::write(path, content).unwrap(),
            }
        }
        self.git(name, &["add", "--all"]);
        self.git(name, &["commit", "--quiet", "--message=x"]);
        self.git(name, &["rev-parse", "HEAD"])
    }

    /// Asks for `fragment` of a repository.
    fn request(&self, name: &str, fragment: &str, attrs: &[(&str, &str)], sessions: &[Arc<Client>]) -> Request {
        let url = self.url(name);
        let attrs: Vec<_> = [("git.fullurl", url.as_str())].iter().chain(attrs).copied().collect();
        request(&format!("git://{}/{name}#{fragment}", self.server.address), &attrs, sessions)
    }
}

/// Answers by the program that comes with git.
fn backend(root: &Path, request: &oci::testing::Request) -> Response {
    let mut command = Command::new("git");
    command.arg("http-backend").env("GIT_PROJECT_ROOT", root).env("GIT_HTTP_EXPORT_ALL", "1");
    command.env("REQUEST_METHOD", &request.method).env("PATH_INFO", &request.path).env("QUERY_STRING", &request.query);
    command.env("CONTENT_TYPE", request.header("content-type")).env("GIT_PROTOCOL", request.header("git-protocol"));
    command.env("HTTP_CONTENT_ENCODING", request.header("content-encoding"));
    command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
    let mut child = command.spawn().unwrap();
    let mut stdin = child.stdin.take().unwrap();
    let body = request.body.clone();
    let writer = std::thread::spawn(move || drop(stdin.write_all(&body)));
    let output = child.wait_with_output().unwrap().stdout;
    writer.join().unwrap();
    let end = output.windows(4).position(|four| four == b"\r\n\r\n").unwrap_or(0);
    let head = String::from_utf8_lossy(&output[..end]).into_owned();
    let mut response = Response::ok(output[(end + 4).min(output.len())..].to_vec());
    for (name, value) in head.lines().filter_map(|line| line.split_once(": ")) {
        match name {
            "Status" => response.status = value[..3].parse().unwrap(),
            name => response = response.with(name, value),
        }
    }
    response
}

fn has_git() -> bool {
    let found = Command::new("git").arg("--version").output().is_ok();
    if !found {
        eprintln!("skipped: there is no git here");
    }
    found
}

async fn files_of(world: &World, request: &Request) -> Files {
    world.files(request).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn branches_tags_and_commits() {
    if !has_git() {
        return;
    }
    let forge = Forge::new().await;
    let first = forge.repository("r", "sha1", &[("a", "1"), ("d/b", "1"), ("l", "-> a")]);
    forge.git("r", &["tag", "light"]);
    forge.git("r", &["tag", "--annotate", "--message=x", "heavy"]);
    let object = forge.git("r", &["rev-parse", "heavy"]);
    let second = forge.commit("r", &[("a", "2")]);
    forge.git("r", &["checkout", "--quiet", "-b", "dev/x"]);
    let third = forge.commit("r", &[("a", "3")]);
    forge.git("r", &["checkout", "--quiet", "main"]);
    let world = World::new();
    // Fragment; ref, its object, the commit; content of the file `a`.
    let table = [
        ("", "refs/heads/main", &second, None, "2"),
        ("main", "refs/heads/main", &second, None, "2"),
        ("refs/heads/dev/x", "refs/heads/dev/x", &third, None, "3"),
        ("light", "refs/tags/light", &first, None, "1"),
        ("heavy", "refs/tags/heavy", &object, Some(&first), "1"),
        (first.as_str(), first.as_str(), &first, None, "1"),
    ];
    for (fragment, reference, object, tagged, content) in table {
        let resolved = world.resolve(&forge.request("r", fragment, &[], &[])).await.unwrap();
        let info = resolved.git().unwrap();
        assert_eq!(
            (&*info.reference, &info.checksum, info.commit_checksum.as_ref()),
            (reference, object, tagged),
            "{fragment}"
        );
        let found = files(&resolved.snapshot().await.unwrap()).await.unwrap();
        assert_eq!(found, is(&[("a", content), ("d", "/"), ("d/b", "1"), ("l", "-> a")]), "{fragment}");
        let objects = resolved.git_objects().await.unwrap().unwrap();
        assert!(objects.commit.starts_with(b"tree "), "{fragment}");
        assert_eq!(objects.tag.is_some(), tagged.is_some(), "{fragment}");
    }
    let key = |fragment: &'static str| {
        let (world, forge) = (&world, &forge);
        async move { world.resolve(&forge.request("r", fragment, &[], &[])).await.unwrap().key() }
    };
    assert_eq!(key("light").await, key("heavy").await, "they are one commit");
    assert_ne!(key("light").await, key("main").await);
    let error = world.sources.resolve(&forge.request("r", "none", &[], &[])).await.err().unwrap();
    assert!(matches!(error.downcast_ref(), Some(GitError::NoRef { .. })), "{error:#}");
    let error = world.files(&forge.request("r", &"0".repeat(40), &[], &[])).await.unwrap_err();
    assert!(error.contains("has no ref"), "{error}");
    let error = world.files(&forge.request("none", "", &[], &[])).await.unwrap_err();
    assert!(error.contains(&forge.url("none")), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_commit_is_fetched_once_and_a_branch_that_moves_again() {
    if !has_git() {
        return;
    }
    let forge = Forge::new().await;
    let first = forge.repository("r", "sha1", &[("a", "1")]);
    let world = World::new();
    let before = world.resolve(&forge.request("r", "main", &[], &[])).await.unwrap();
    // The branch moves between the question and the fetch.
    forge.commit("r", &[("a", "2")]);
    assert_eq!(files(&before.snapshot().await.unwrap()).await.unwrap(), is(&[("a", "1")]));
    assert_eq!(files_of(&world, &forge.request("r", "main", &[], &[])).await, is(&[("a", "2")]));
    let asked = forge.server.requests().len();
    assert_eq!(files_of(&world, &forge.request("r", &first, &[], &[])).await, is(&[("a", "1")]));
    assert_eq!(forge.server.requests().len(), asked, "the commit is here");
    // A tag that names something else now, and a branch where a directory of branches was.
    forge.git("r", &["branch", "x/y"]);
    assert_eq!(files_of(&world, &forge.request("r", "x/y", &[], &[])).await, is(&[("a", "2")]));
    forge.git("r", &["branch", "--delete", "x/y"]);
    forge.commit("r", &[("a", "3")]);
    forge.git("r", &["branch", "x"]);
    assert_eq!(files_of(&world, &forge.request("r", "x", &[], &[])).await, is(&[("a", "3")]));
}

#[tokio::test(flavor = "multi_thread")]
async fn checksums() {
    if !has_git() {
        return;
    }
    for format in ["sha1", "sha256"] {
        let forge = Forge::new().await;
        let commit = forge.repository("r", format, &[("a", "1")]);
        let world = World::new();
        let upper = commit.to_uppercase();
        for sum in [&commit, &commit[..7], &upper] {
            let found = files_of(&world, &forge.request("r", "main", &[("git.checksum", sum)], &[])).await;
            assert_eq!(found, is(&[("a", "1")]), "{format} {sum}");
        }
        for reference in ["main", &commit] {
            let wrong = forge.request("r", reference, &[("git.checksum", "123abc")], &[]);
            let error = world.sources.resolve(&wrong).await.err().unwrap();
            assert!(matches!(error.downcast_ref(), Some(GitError::Checksum { .. })), "{error:#}");
        }
        let attrs = [("git.checksum", commit.as_str()), ("git.fetchbycommit", "true"), ("git.keepgitdir", "true")];
        let asked = forge.server.requests().len();
        let resolved = world.resolve(&forge.request("r", "any", &attrs, &[])).await.unwrap();
        assert_eq!(forge.server.requests().len(), asked, "nothing need be asked");
        let view = resolved.snapshot().await.unwrap().view().await.unwrap();
        let head = std::fs::read_to_string(view.path().join(".git/refs/heads/any")).unwrap();
        assert_eq!(head.trim(), commit, "the ref is but a name");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn directories_times_and_the_repository_itself() {
    if !has_git() {
        return;
    }
    let forge = Forge::new().await;
    let commit = forge.repository(
        "r",
        "sha1",
        &[("d/e/f", "1"), ("d/g", "2"), ("out", "-> /etc"), ("file", "3"), ("to", "-> d")],
    );
    let world = World::new();
    for (fragment, found) in [(":d", is(&[("e", "/"), ("e/f", "1"), ("g", "2")])), (":/d/./e/", is(&[("f", "1")]))] {
        assert_eq!(files_of(&world, &forge.request("r", fragment, &[], &[])).await, found, "{fragment}");
    }
    for fragment in [":none", ":out", ":to", ":to/e", ":file", ":out/ssh"] {
        let resolved = world.resolve(&forge.request("r", fragment, &[], &[])).await.unwrap();
        let error = resolved.snapshot().await.err().unwrap();
        assert!(matches!(error.downcast_ref(), Some(GitError::Subdir { .. })), "{fragment}: {error:#}");
    }
    let attrs = [("git.keepgitdir", "true"), ("git.mtime", "commit")];
    let resolved = world.resolve(&forge.request("r", "main", &attrs, &[])).await.unwrap();
    let view = resolved.snapshot().await.unwrap().view().await.unwrap();
    for path in ["", "d", "d/e/f", "out", ".git/config"] {
        let time = std::fs::symlink_metadata(view.path().join(path)).unwrap().mtime();
        assert_eq!(time, 784_111_777, "{path}");
    }
    let git = |args: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(view.path())
            .args(["-c", "safe.directory=*"])
            .args(args)
            .output()
            .unwrap();
        String::from_utf8_lossy(&output.stdout).trim().to_string()
    };
    assert_eq!(git(&["rev-parse", "HEAD"]), commit);
    assert_eq!(git(&["rev-parse", "main"]), commit);
    assert_eq!(git(&["config", "remote.origin.url"]), forge.url("r"));
    assert_eq!(git(&["rev-list", "--count", "HEAD"]), "1");
}

#[tokio::test(flavor = "multi_thread")]
async fn submodules_by_http_alone() {
    if !has_git() {
        return;
    }
    let forge = Forge::new().await;
    forge.repository("leaf", "sha1", &[("leaf", "1")]);
    forge.repository("sub", "sha1", &[("sub", "1")]);
    forge.git("sub", &["submodule", "--quiet", "add", &forge.url("leaf"), "below"]);
    forge.commit("sub", &[]);
    // One that the submodule's branch has left behind.
    let old = forge.commit("sub", &[("sub", "2")]);
    forge.commit("sub", &[("sub", "3")]);
    forge.repository("r", "sha1", &[("a", "1")]);
    forge.git("r", &["submodule", "--quiet", "add", &forge.url("sub"), "s"]);
    forge.git("r", &["config", "--file=.gitmodules", "submodule.s.url", "../sub"]);
    forge.git("r/s", &["checkout", "--quiet", &old]);
    forge.commit("r", &[]);
    let world = World::new();
    let mut found = files_of(&world, &forge.request("r", "main", &[], &[])).await;
    assert!(found.remove(".gitmodules").is_some() && found.remove("s/.gitmodules").is_some());
    assert_eq!(found, is(&[("a", "1"), ("s", "/"), ("s/sub", "2"), ("s/below", "/"), ("s/below/leaf", "1")]));
    let found = files_of(&world, &forge.request("r", "main", &[("git.skipsubmodules", "true")], &[])).await;
    assert_eq!(found.get("s"), Some(&"/".to_string()));
    assert!(!found.contains_key("s/sub"), "{found:?}");
    let kept = world.resolve(&forge.request("r", "main", &[("git.keepgitdir", "true")], &[])).await.unwrap();
    let view = kept.snapshot().await.unwrap().view().await.unwrap();
    assert!(view.path().join(".git/modules/s/HEAD").exists() && view.path().join("s/.git").is_file());
    // This machine's repositories are nobody's submodule.
    let local = forge.dir.path().join("leaf");
    for url in [local.to_str().unwrap(), &format!("file://{}", local.display()), "ext::sh -c date", "-x"] {
        forge.git("r", &["config", "--file=.gitmodules", "submodule.s.url", url]);
        forge.commit("r", &[]);
        let error = world.files(&forge.request("r", "main", &[], &[])).await.unwrap_err();
        assert!(error.contains("cannot fetch submodules"), "{url}: {error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn logins_reach_the_server_and_nothing_else() {
    if !has_git() {
        return;
    }
    // "user:s3cret" and "x-access-token:t0ken".
    let table = [
        ("Basic dXNlcjpzM2NyZXQ=", "http://user:s3cret@", vec![]),
        ("basic eC1hY2Nlc3MtdG9rZW46dDBrZW4=", "http://", vec![("TOKEN", "t0ken\n")]),
        ("Bearer s3cret", "http://", vec![("HEADER", "Bearer s3cret"), ("TOKEN", "no")]),
        ("Bearer s3cret", "http://", vec![("HEADER.{host}", "Bearer s3cret"), ("HEADER", "no")]),
    ];
    for (login, scheme, secrets) in table {
        let forge = Forge::wanting(Some(login)).await;
        forge.repository("r", "sha1", &[("a", "1")]);
        let host = forge.server.address.to_string();
        let secrets =
            secrets.iter().map(|(id, value)| (id.replace("{host}", &host), value.as_bytes().to_vec())).collect();
        let user = Arc::new(Client { secrets, ..client() });
        let url = format!("{scheme}{host}/r");
        let attrs = [
            ("git.fullurl", url.as_str()),
            ("git.authheadersecret", "HEADER"),
            ("git.authtokensecret", "TOKEN"),
            ("git.keepgitdir", "true"),
        ];
        let asked = request(&format!("git://{host}/r#main"), &attrs, &[Arc::new(client()), user]);
        let world = World::new();
        let resolved = world.resolve(&asked).await.unwrap_or_else(|error| panic!("{login}: {error}"));
        let view = resolved.snapshot().await.unwrap().view().await.unwrap();
        assert_eq!(std::fs::read_to_string(view.path().join("a")).unwrap(), "1", "{login}");
        for dir in [view.path(), world.dir.path()] {
            let found =
                Command::new("grep").args(["-rlaE", "s3cret|t0ken|c0tb2tlb|dXNlcjpz"]).arg(dir).output().unwrap();
            assert_eq!(String::from_utf8_lossy(&found.stdout), "", "{login}: a secret is on disk");
        }
        for without in ["", "user:wr0ng@"] {
            let without = format!("http://{without}{host}/r");
            let asked = request(&format!("git://{host}/r#main"), &[("git.fullurl", &without)], &[]);
            let error = world.sources.resolve(&asked).await.err().unwrap();
            assert!(matches!(error.downcast_ref(), Some(GitError::Denied { .. })), "{error:#}");
            let shown = format!("{error:#}");
            assert!(!shown.contains("wr0ng") && !shown.contains("askpass"), "{shown}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn ssh_needs_the_clients_agent() {
    let attrs = [("git.fullurl", "git@localhost:r"), ("git.mountsshsock", "default")];
    let asked = request("git://localhost/r", &attrs, &[Arc::new(client())]);
    let error = World::new().resolve(&asked).await.err().unwrap();
    assert!(error.contains("--ssh default"), "{error}");
}

#[tokio::test(flavor = "multi_thread")]
async fn commits_and_tags_are_signed_by_whom_the_build_names() {
    if !has_git() {
        return;
    }
    let forge = Forge::new().await;
    for key in ["key", "other"] {
        let path = forge.dir.path().join(key);
        let args = ["-q", "-t", "ed25519", "-N", "", "-f", path.to_str().unwrap()];
        if !Command::new("ssh-keygen").args(args).status().is_ok_and(|status| status.success()) {
            return eprintln!("skipped: there is no ssh-keygen here");
        }
    }
    let key = forge.dir.path().join("key");
    let by = format!("user.signingkey={}", key.display());
    let signing = |args: &[&str]| forge.git("r", &[&["-c", "gpg.format=ssh", "-c", by.as_str()], args].concat());
    forge.repository("r", "sha1", &[("a", "1")]);
    signing(&["tag", "--sign", "--message=x", "approved"]);
    forge.git("r", &["tag", "--annotate", "--message=x", "unsigned"]);
    forge.git("r", &["checkout", "--quiet", "-b", "signed"]);
    signing(&["commit", "--quiet", "--allow-empty", "--gpg-sign", "--message=x"]);
    forge.git("r", &["tag", "light"]);
    forge.git("r", &["checkout", "--quiet", "main"]);
    let read = |name: &str| std::fs::read_to_string(forge.dir.path().join(name)).unwrap();
    let (ours, others) = (read("key.pub"), read("other.pub"));
    let ours = ("git.sig.pubkey", ours.as_str());
    let (ignore, require) = (("git.sig.ignoresignedtag", "true"), ("git.sig.requiresignedtag", "true"));
    // What is asked for; why it is refused, or nothing.
    let table: &[(&str, &[(&str, &str)], &str)] = &[
        ("signed", &[ours], ""),
        ("light", &[ours], ""),
        ("approved", &[ours], ""),
        ("approved", &[ours, require], ""),
        ("main", &[ours], "the commit is not signed"),
        ("approved", &[ours, ignore], "the commit is not signed"),
        ("unsigned", &[ours], "the commit is not signed"),
        ("unsigned", &[ours, require], "the tag is not signed"),
        ("light", &[ours, require], "a signed tag is wanted"),
        ("signed", &[("git.sig.pubkey", others.as_str())], "by another key"),
        ("approved", &[("git.sig.pubkey", others.as_str()), require], "by another key"),
        ("signed", &[require], "names no key"),
    ];
    let world = World::new();
    for (reference, attrs, why) in table {
        let found = world.resolve(&forge.request("r", reference, attrs, &[])).await.map(drop);
        match found.map_err(|error| format!("{error:#}")) {
            Ok(()) => assert_eq!(*why, "", "{reference} {attrs:?}"),
            Err(error) => {
                assert!(!why.is_empty() && error.contains(why), "{reference} {attrs:?}: {error}");
                assert!(error.contains("is not signed as it has to be"), "{error}");
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn bundles_are_made_and_read() {
    if !has_git() {
        return;
    }
    for format in ["sha1", "sha256"] {
        let forge = Forge::new().await;
        let first = forge.repository("r", format, &[("a", "1")]);
        forge.git("r", &["tag", "--annotate", "--message=x", "v1"]);
        let second = forge.commit("r", &[("a", "2")]);
        let world = World::new();
        let layout = world.dir.path().join("layout");
        std::fs::create_dir_all(layout.join("blobs/sha256")).unwrap();
        // The files first, so that the mirror has the last commit alone.
        assert_eq!(files_of(&world, &forge.request("r", "main", &[], &[])).await, is(&[("a", "2")]));
        let make = async |reference: &str| {
            let asked = forge.request("r", reference, &[("git.checkoutbundle", "true")], &[]);
            let view = world.resolve(&asked).await.unwrap().snapshot().await.unwrap().view().await.unwrap();
            let bytes = std::fs::read(view.path().join("bundle")).unwrap();
            std::fs::write(layout.join("blobs/sha256").join(&digest_of(&bytes)[7..]), &bytes).unwrap();
            format!("oci-layout+blob://bundles@{}", digest_of(&bytes))
        };
        let (of_main, of_tag) = (make("main").await, make("v1").await);
        // Another remote, which nobody answers for.
        let elsewhere = World::new();
        let client = Client { dirs: HashMap::from([("bundles".to_string(), layout)]), ..client() };
        let client = [Arc::new(client)];
        let ask = |fragment: &str, bundle: &str, commit: &str| {
            let attrs = [("git.bundle", bundle), ("git.checksum", commit)];
            request(&format!("git://127.0.0.1:1/r#{fragment}"), &attrs, &client)
        };
        let table = [
            ("", &of_main, &second, "2"),
            (second.as_str(), &of_main, &second, "2"),
            ("main", &of_main, &second, "2"),
            ("", &of_main, &first, "1"),
            ("v1", &of_tag, &first, "1"),
        ];
        for (reference, bundle, commit, content) in table {
            assert_eq!(
                files_of(&elsewhere, &ask(reference, bundle, commit)).await,
                is(&[("a", content)]),
                "{reference}"
            );
        }
        let fresh = World::new();
        let absent = ask("", &of_tag, &second);
        assert!(fresh.files(&absent).await.unwrap_err().contains("is not in the bundle"));
        let error = fresh.files(&ask("v1", &of_tag, &second)).await.unwrap_err();
        assert!(error.contains("want checksum"), "{error}");
        assert!(fresh.files(&ask("nothing", &of_tag, &second)).await.unwrap_err().contains("has no ref"));
        let error = fresh.files(&ask("", &of_tag, "1234")).await.unwrap_err();
        assert!(error.contains("give the whole commit"), "{error}");
    }
}
