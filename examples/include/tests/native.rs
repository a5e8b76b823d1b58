//! The library over the SDK's fake host, as far as it goes without the Dockerfile frontend that it calls.

use dockerfile::load::load;
use include::{DEPTH_MAX, expanded};
use pintle_sdk::{Error, Frontend, Host, Output, Request, Result, testing::FakeHost};

/// Answers the expanded text.
struct Expanded;

impl Frontend for Expanded {
    fn build(&self, cx: &Host, request: Request) -> Result<Output> {
        let text = expanded(cx, &request, &load(cx, &request)?)?;
        Ok(Output::new(cx.scratch()).metadata("text", text))
    }
}

fn text(fake: &FakeHost) -> Result<String, Error> {
    let built = fake.build(&Expanded, &[])?;
    Ok(built.metadata("text").expect("it is answered"))
}

fn host(main: &str) -> FakeHost {
    FakeHost::new().file("local://dockerfile", "Dockerfile", main)
}

#[test]
fn files_are_put_in_place() {
    let fake = host(
        "# syntax=x\nFROM a\nINCLUDE lib/tools.docker VERSION=2 \\\n  NAME=\"my tool\"\nRUN <<E\nINCLUDE not\nE\n",
    )
    .file("local://dockerfile", "lib/tools.docker", "# escape=`\nENV V={{VERSION}}\ninclude ./more.docker\n")
    .file("local://dockerfile", "lib/more.docker", "LABEL a=b");
    // The name is a value that nothing asks for.
    let error = text(&fake).expect_err("one value is too many");
    assert_eq!(error.message, "INCLUDE: lib/tools.docker: it has no {{NAME}}");
    let fake = fake.file("local://dockerfile", "lib/more.docker", "LABEL a=b").file(
        "local://dockerfile",
        "lib/tools.docker",
        "# escape=`\nENV V={{VERSION}} N=\"{{NAME}}\"\ninclude ./more.docker\n",
    );
    let expected = "# syntax=x\nFROM a\nENV V=2 N=\"my tool\"\nLABEL a=b\nRUN <<E\nINCLUDE not\nE\n";
    assert_eq!(text(&fake).expect("it is well formed"), expected);
}

#[test]
fn a_file_of_an_image_includes_others_of_it() {
    let image = "docker-image://docker.io/library/shared:latest";
    let fake = host("INCLUDE --from=shared base.docker\n")
        .file(image, "base.docker", "FROM b\nINCLUDE /lib/x\n")
        .file(image, "lib/x", "RUN c\n");
    assert_eq!(text(&fake).expect("it is well formed"), "FROM b\nRUN c\n");
}

#[test]
fn errors() {
    let cases = [
        ("INCLUDE", "INCLUDE: want a path"),
        ("INCLUDE gone", "INCLUDE: no file gone"),
        ("INCLUDE a b", "INCLUDE: b: want NAME=VALUE"),
        ("INCLUDE a B=1 B=2", "INCLUDE: B is given twice"),
        ("INCLUDE --to=x a", "INCLUDE: --to=x is not known; there is --from=IMAGE"),
        ("INCLUDE wants", "INCLUDE: wants: it wants a value for V: V=..."),
    ];
    for (main, message) in cases {
        let error = text(&host(main).file("local://dockerfile", "wants", "{{V}}")).expect_err(main);
        assert_eq!((error.message.as_str(), error.places.len()), (message, 1), "{main}");
    }
    let error = text(&host("INCLUDE Dockerfile")).expect_err("it has no end");
    assert_eq!(
        error.message,
        format!("INCLUDE: files include files more than {DEPTH_MAX} deep: does one include itself?")
    );
}
