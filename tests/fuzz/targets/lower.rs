//! The whole frontend answers a graph that the host takes, or says what is wrong; it never panics.
#![no_main]

use dockerfile::Dockerfile;
use libfuzzer_sys::fuzz_target;
use pintle_sdk::testing::FakeHost;

const CONFIG: &str = r#"{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin","A=a"],"WorkingDir":"/w",
    "OnBuild":["COPY a b","RUN --mount=type=bind,from=alpine,target=/x c"]},"rootfs":{"type":"layers","diff_ids":["sha256:1"]}}"#;

fuzz_target!(|input: (u8, &str)| {
    let (bits, source) = input;
    let mut host = FakeHost::new().file("local://context", ".dockerignore", "*.o\n!a.o\n").file(
        "local://dockerfile",
        "Dockerfile",
        source,
    );
    for name in ["alpine", "busybox", "a", "b"] {
        host = host.image(&format!("docker.io/library/{name}:latest"), "sha256:1", CONFIG);
    }
    let opts = [
        ("target", "b"),
        ("platform", "linux/amd64,linux/arm64"),
        ("build-arg:A", "value"),
        ("build-arg:SOURCE_DATE_EPOCH", "1700000000"),
        ("context:b", "docker-image://a"),
        ("no-cache", ""),
    ];
    let opts: Vec<(&str, &str)> = (0..).zip(opts).filter(|(at, _)| bits & (1 << at) != 0).map(|(_, opt)| opt).collect();
    if let Err(error) = host.build(&Dockerfile, &opts) {
        assert!(!error.message.is_empty());
        // These say that the frontend spoke to the host in a way which the host does not understand.
        assert!(!["internal", "unknown-attr", "unknown-kind"].contains(&error.code.as_str()), "{error:?}");
    }
});
