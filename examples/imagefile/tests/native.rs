//! The library over the SDK's fake host.

use imagefile::Imagefiles;
use pintle_sdk::testing::FakeHost;

const FULL: &str = r#"
base = "debian:12"
packages = ["curl", "make"]

[[step]]
copy = "./app"
to = "/opt/app"
owner = "1000"

[[step]]
run = "make -C /opt/app"
caches = ["/root/.cache"]

[[step]]
write = "hello\n"
to = "/etc/motd"
mode = "600"

[image]
entrypoint = ["/opt/app/run"]
env = { LANG = "C.UTF-8" }
expose = ["8080/tcp"]
"#;

fn host(text: &str) -> FakeHost {
    FakeHost::new().file("local://dockerfile", "Imagefile.toml", text).image(
        "docker.io/library/debian:12",
        "sha256:aa",
        r#"{"config":{"Env":["PATH=/bin","A=1"],"Cmd":["bash"]}}"#,
    )
}

#[test]
fn every_key() {
    let fake = host(FULL);
    let built = fake.build(&Imagefiles, &[]).expect("it is well formed");
    assert_eq!(
        built.graph,
        "\
0 local://dockerfile  follow=Imagefile.toml shared-key=dockerfile
1 docker-image://docker.io/library/debian:12@sha256:aa  platform=linux/amd64
2 exec 1 /bin/sh -c \"apt-get update && apt-get install --yes --no-install-recommends curl make\"  platform=linux/amd64
    env PATH=/bin
    env A=1
    env LANG=C.UTF-8
    cache /var/cache/apt  id=/var/cache/apt sharing=locked
    cache /var/lib/apt/lists  id=/var/lib/apt/lists sharing=locked
3 local://context  shared-key=context
4 file 2
    copy 3:/app -> /opt/app  contents-only=true create-parents=true owner=1000
5 exec 4 /bin/sh -c \"make -C /opt/app\"  platform=linux/amd64
    env PATH=/bin
    env A=1
    env LANG=C.UTF-8
    cache /root/.cache  id=/root/.cache sharing=locked
6 file 5
    mkfile /etc/motd \"hello\\n\"  mode=600
"
    );
    assert_eq!(
        built.config().expect("there is a config"),
        serde_json::json!({
            "os": "linux",
            "architecture": "amd64",
            "config": {
                "Env": ["PATH=/bin", "A=1", "LANG=C.UTF-8"],
                "Cmd": ["bash"],
                "Entrypoint": ["/opt/app/run"],
                "ExposedPorts": { "8080/tcp": {} },
            },
        })
    );
    assert_eq!(fake.places(5), ["Imagefile.toml:10:1-8"]);
}

#[test]
fn errors_have_places() {
    for (text, expected) in [
        ("base = 3", "Imagefile.toml:1:8-8: invalid type: integer `3`, expected a string"),
        (
            "base = \"nope\"",
            "Imagefile.toml:1:8-13: base nope: docker-image://docker.io/library/nope:latest: not found",
        ),
        (
            "base = \"scratch\"\npackages = [\"--allow-all\"]",
            "Imagefile.toml:2:12-26: \"--allow-all\" is no package name",
        ),
        ("base = \"scratch\"\n[[step]]\ncopy = \"a\"", "Imagefile.toml:2:1-8: a step with copy or write needs \"to\""),
        ("base = \"scratch\"\n[[step]]", "Imagefile.toml:2:1-8: a step has one of run, copy and write"),
    ] {
        let fake = host(text);
        let error = fake.build(&Imagefiles, &[]).expect_err(text);
        assert_eq!(fake.describe(&error), expected);
    }
    let fake = host("base = \"scratch\"\ncolour = 1");
    let error = fake.build(&Imagefiles, &[]).expect_err("there is no such key");
    assert!(fake.describe(&error).starts_with("Imagefile.toml:2:1-6: unknown field `colour`"), "{error}");
}
