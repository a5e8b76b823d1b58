//! What the builders send, as the fake host writes it down.

use pintle_sdk::{
    Error, Frontend, Host, LinuxResources, Network, Output, Request, Result, Security, State, VertexBuilder,
    VertexOptions, Warning, file, mount, source::ResolveMode, testing::FakeHost,
};

#[track_caller]
fn check(describe: impl FnOnce(&Host) -> Result<State>, expected: &str) {
    let fake = FakeHost::new();
    describe(&fake.host()).expect("it is well formed");
    assert_eq!(fake.graph(), expected);
}

#[test]
fn sources() {
    check(
        |cx| {
            cx.image("docker.io/library/alpine:3").resolve_mode(ResolveMode::Pull).platform("linux/arm64/v8").add()?;
            cx.local("context").include(["a", "b c"]).exclude(["*.o"]).shared_key("k").metadata_only(true).add()?;
            cx.git("https://example.com/a.git#main").keep_git_dir(true).add()?;
            cx.oci_layout("example.com/a@sha256:00").store("s").session("x").layer_limit(2).add()?;
            cx.image_blob("example.com/a@sha256:00")
                .filename("f")
                .mode(0o600)
                .export_cache(false)
                .cap("file.base")
                .add()?;
            cx.oci_layout_blob("example.com/a@sha256:00").store("s").uid(1).os_version("1").add()?;
            cx.http("https://example.com/f").checksum("sha256:00").mode(0o644).header("Accept", "text/plain").add()
        },
        "\
0 docker-image://docker.io/library/alpine:3  resolve-mode=pull platform=linux/arm64/v8
1 local://context  include=a include=\"b c\" exclude=*.o shared-key=k metadata-only=true
2 git://example.com/a.git#main  full-url=https://example.com/a.git keep-git-dir=true
3 oci-layout://example.com/a@sha256:00  store=s session=x layer-limit=2
4 docker-image+blob://example.com/a@sha256:00  filename=f mode=600
5 oci-layout+blob://example.com/a@sha256:00  store=s uid=1 os-version=1
6 https://example.com/f  checksum=sha256:00 mode=644 header.accept=text/plain
",
    );
}

#[test]
fn exec_with_everything() {
    check(
        |cx| {
            let base = cx.image("docker.io/library/alpine").add()?;
            let context = cx.local("context").add()?;
            let ran = base
                .run(["sh", "-c", "make all"])
                .cwd("/src")
                .user("app:app")
                .env("A", "1")
                .env("B", "two words")
                .env("A", "3")
                .network(Network::None)
                .security(Security::Insecure)
                .hostname("builder")
                .valid_exit_code(0)
                .valid_exit_code(3)
                .extra_host("db", "10.0.0.1")
                .ulimit("nofile", 1024, 2048)
                .device(["vendor.com/gpu=0"])
                .proxy_http("http://proxy")
                .mount(mount::Ssh::new("/run/ssh").optional(true))
                .mount(mount::Secret::env("TOKEN", "token"))
                .mount(mount::Secret::file("/run/secrets/t", "token").mode(0o440).uid(1))
                .mount(mount::Cache::new("/root/.cache", "cc").sharing(mount::Sharing::Locked))
                .mount(mount::Tmpfs::new("/tmp").size(1 << 20))
                .mount(mount::Bind::new("/src", &context).selector("sub"))
                .mount(mount::Bind::new("/ro", &context).readonly(true))
                .add()?;
            assert_eq!(ran.mount("/ro"), Some(context));
            assert_eq!(ran.mount("/tmp"), None);
            let source = ran.mount("/src").expect("it is writable");
            cx.diff(&base, &ran.root(), &VertexOptions::new())?;
            cx.scratch().file().copy(file::Copy::new(&source, "/out", "/")).add()
        },
        "\
0 docker-image://docker.io/library/alpine
1 local://context
2 exec 0 sh -c \"make all\"  cwd=/src user=app:app network=none security=insecure hostname=builder valid-exit-code=0 \
valid-exit-code=3 extra-host=db=10.0.0.1 ulimit=nofile=1024:2048 device=vendor.com/gpu=0 proxy-http=http://proxy
    env A=3
    env B=\"two words\"
    bind /ro from 1  readonly=true
    cache /root/.cache  id=cc sharing=locked
    bind /src from 1  selector=sub
    tmpfs /tmp  size=1048576
    secret  id=token env=TOKEN
    secret /run/secrets/t  id=token mode=440 uid=1
    ssh /run/ssh  optional=true
3 diff 0 2
4 file -
    copy 2:3:/out -> /
",
    );
}

#[test]
fn file_actions() {
    check(
        |cx| {
            let context = cx.local("context").add()?;
            let copy = file::Copy::new(&context, "*.c", "/src/")
                .mode(0o640)
                .owner("1:staff")
                .follow_links(true)
                .contents_only(true)
                .create_parents(true)
                .wildcard(true)
                .empty_wildcard(true)
                .unpack(true)
                .include(["a"])
                .exclude(["b"])
                .required(["a/x"])
                .replace(true)
                .created(7);
            let tree = cx
                .scratch()
                .file()
                .mkdir(file::Mkdir::new("/src").parents(true).mode(0o700))
                .copy(copy)
                .mkfile(file::Mkfile::new("/motd", "hello\n").mode(0o600))
                .mkfile(file::Mkfile::new("/blob", vec![0xff]))
                .rm(file::Rm::new("/old*").wildcard(true).allow_not_found(true))
                .symlink(file::Symlink::new("/link", "motd"))
                .add()?;
            cx.merge(&[tree.clone(), cx.scratch(), context], &VertexOptions::new().name("all"))?;
            assert_eq!(cx.merge(std::slice::from_ref(&tree), &VertexOptions::new())?, tree);
            cx.op("passthrough", &[tree], &[("id".to_owned(), "x".to_owned())], None, &VertexOptions::new())
        },
        "\
0 local://context
1 file -
    mkdir /src  parents=true mode=700
    copy 0:*.c -> /src/  mode=640 owner=1:staff follow-links=true contents-only=true create-parents=true wildcard=true \
empty-wildcard=true unpack=true include=a exclude=b required=a/x replace=true created=7
    mkfile /motd \"hello\\n\"  mode=600
    mkfile /blob \"\u{fffd}\"
    rm /old*  wildcard=true allow-not-found=true
    symlink /link -> motd
2 merge 1 0
3 passthrough 1  id=x
",
    );
}

#[test]
fn what_is_said_of_a_vertex_is_not_its_identity() {
    let fake = FakeHost::new();
    let cx = fake.host();
    let limits = LinuxResources { memory: 1024, cpu_quota: 5, ..LinuxResources::default() };
    let options = VertexOptions::new()
        .name("[1/2] base")
        .description("k", "v")
        .cap("exec.meta.base")
        .group("g", "Group")
        .ignore_cache(true)
        .export_cache(false)
        .resources(&limits);
    let first = cx.image("a").with(&options).add().expect("it is well formed");
    assert_eq!(cx.image("a").add().expect("it is the same"), first);
    assert_eq!(
        fake.graph_with_names(),
        "0 docker-image://a  name=\"[1/2] base\" description.k=v cap.exec.meta.base=true group=g group-name=Group \
         ignore-cache=true export-cache=false memory=1024 cpu-quota=5\n"
    );
}

#[test]
fn refusals() {
    let fake = FakeHost::new();
    let cx = fake.host();
    let base = cx.image("a").add().expect("it is well formed");
    let code = |result: Result<State>| result.map(|_| ()).map_err(|error| error.code);
    let refused = |word: &str| Err(word.to_owned());
    assert_eq!(code(cx.image("a").attr("tag", "3").add()), refused("unknown-attr"));
    assert_eq!(code(cx.image("a").attr("?tag", "3").add()), Ok(()));
    assert_eq!(code(cx.source("ftp://a").add()), refused("unknown-kind"));
    assert_eq!(code(base.run(Vec::<String>::new()).root()), refused("invalid-argument"));
    assert_eq!(code(base.run(["a"]).cwd("/a").cwd("/b").root()), refused("invalid-argument"));
    assert_eq!(code(base.run(["a"]).attr("user", "me").attr("os-version", "1").root()), Ok(()));
    assert_eq!(code(base.file().add()), refused("invalid-argument"));
    assert_eq!(code(cx.op("fold", &[base], &[], None, &VertexOptions::new())), refused("unknown-kind"));
}

#[test]
fn a_refusal_has_the_place_that_was_given_or_the_line_of_the_call() {
    let fake = FakeHost::new();
    let cx = fake.host();
    let source = cx.source_file("Buildfile", "text", "image a", None).expect("it is small");
    let place = source.location((1, 0), (1, 4));
    let base = cx.image("a").add().expect("it is well formed");
    let refusals = [
        cx.image("a").attr("made", "up").at(place).add(),
        base.run(["a"]).attr("made", "up").at(place).root(),
        base.file().at(place).add(),
    ];
    let called = |error: &pintle_sdk::Error| error.detail.iter().find(|(word, _)| word == "called at").cloned();
    for refused in refusals {
        let error = refused.expect_err("none of them is well formed");
        assert_eq!((error.places.len(), called(&error)), (1, None), "{error:?}");
    }
    let refusals =
        [(line!(), cx.image("a").attr("made", "up").add()), (line!(), base.run(["a"]).attr("made", "up").root())];
    for (line, refused) in refusals {
        let error = refused.expect_err("none of them is well formed");
        assert_eq!(called(&error), Some(("called at".to_owned(), format!("{}:{line}", file!()))));
    }
}

struct Reader;

impl Frontend for Reader {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let local = cx.local("dockerfile").follow(["Buildfile"]).add()?;
        let text = cx.solve(&local)?.read_text(request.opt("filename").unwrap_or("Buildfile"))?;
        let source = cx.source_file("Buildfile", "", text.as_str(), Some(&local))?;
        let place = source.location((2, 4), (2, 7));
        cx.warn(&Warning::new("deprecated").at(place).url("https://example.com"))?;
        match text.lines().next() {
            Some("ok") => {
                let state = cx.image("a").at(place).add()?;
                Ok(Output::new(state).config(&serde_json::json!({"config": {"Cmd": ["sh"]}})))
            }
            _ => Err(Error::invalid("unknown word").at(place)),
        }
    }
}

#[test]
fn a_frontend_reads_warns_and_answers() {
    let fake = FakeHost::new().file("local://dockerfile", "Buildfile", "ok\nand more\n");
    let built = fake.build(&Reader, &[]).expect("the file says ok");
    assert_eq!(built.graph, "0 local://dockerfile  follow=Buildfile\n1 docker-image://a\n");
    assert_eq!(built.config().expect("a config")["config"]["Cmd"][0], "sh");
    assert_eq!(fake.places(1), ["Buildfile:2:5-8"]);
    assert_eq!(fake.describe_warning(&fake.warnings()[0]), "Buildfile:2:5-8: deprecated");
}

#[test]
fn errors_have_places() {
    let fake = FakeHost::new().file("local://dockerfile", "Buildfile", "no\nand more\n");
    let error = fake.build(&Reader, &[]).expect_err("the file says no");
    assert_eq!(fake.describe(&error), "Buildfile:2:5-8: unknown word");
    let error = fake.build(&Reader, &[("filename", "Other")]).expect_err("it is not scripted");
    assert_eq!(error.code, "not-found");
}

#[test]
fn places_by_bytes_and_by_lines() {
    let text = "one\n\u{fc}two three\n";
    let fake = FakeHost::new();
    let source = fake.host().source_file("Buildfile", "text", text, None).expect("it is small");
    let at = text.find("three").expect("it is there");
    assert_eq!(source.at(text, at..at + 5), source.location((2, 6), (2, 10)));
    assert_eq!(source.at(text, 0..0), source.location((1, 0), (1, 0)), "nothing is shown where it would be");
    assert_eq!(source.at(text, 99..99), source.location((3, 0), (3, 0)), "the end, where it is beyond");
}

#[test]
fn platforms_are_those_asked_for_or_the_builders_own() {
    let platforms = |opts: &[(&str, &str)]| {
        let opts = opts.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        Request { opts, ..Request::default() }.platforms().join(" ")
    };
    assert_eq!(platforms(&[]), "linux/amd64");
    assert_eq!(platforms(&[("build-platform", "linux/riscv64")]), "linux/riscv64");
    assert_eq!(
        platforms(&[("platform", "linux/amd64, linux/arm64"), ("build-platform", "x")]),
        "linux/amd64 linux/arm64"
    );
}

#[test]
fn what_is_printed_takes_what_the_standard_macros_take() {
    let answer = 2;
    pintle_sdk::println!();
    pintle_sdk::println!("{answer} {:?}", Some(1));
    pintle_sdk::eprintln!("{answer}");
    assert_eq!(pintle_sdk::dbg!(answer + 1), 3);
    assert_eq!(pintle_sdk::dbg!(answer, "b"), (2, "b"));
}
