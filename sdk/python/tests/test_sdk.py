"""What the builders send, as the fake host writes it down."""

import unittest
from typing import Any

from pintle import (
    Frontend,
    FrontendError,
    Host,
    Output,
    Platforms,
    Request,
    Result,
    SourceMeta,
    bind,
    cache,
    copy,
    diff,
    merge,
    mkdir,
    mkfile,
    op,
    rm,
    scanned,
    secret,
    ssh,
    symlink,
    tmpfs,
)
from pintle.testing import Built, FakeHost


class Language(Frontend):
    """A language that does what a function does."""

    def __init__(self, work: Any) -> None:
        self.work = work

    def build(self, cx: Host, request: Request) -> Output:
        output: Output = self.work(cx, request)
        return output


def build(work: Any, opts: dict[str, str] | None = None, fake: FakeHost | None = None) -> Built:
    return (fake or FakeHost()).build(Language(work), opts)


GRAPH = """\
0: source local://context exclude=.git exclude=*.log shared-key=context name="load context"
1: source docker-image://docker.io/library/gcc:14 platform=linux/arm64 resolve-mode=local
2: exec ["make", "-j2"] on 1 cwd=/src readonly-root=true valid-exit-code=0 valid-exit-code=3 extra-host=a=1.2.3.4 \
name="make it" description.com.example.step=1 ignore-cache=true
    env B=2
    env A=1
    bind /ro 0 readonly=true
    cache /root/.cache scratch id=cc sharing=locked
    bind /src 0 selector=sub
    tmpfs /tmp scratch size=1048576
    secret /run/secrets/token scratch id=token mode=440
    secret  scratch id=TOKEN env=TOKEN
    ssh /agent scratch optional=true
3: file on scratch
    mkdir /app parents=true mode=700
    mkfile /app/hello "hello\\n" owner=1:1
    copy /app/ from 2:3 src=/out contents-only=true create-parents=true exclude=*.o
    symlink /app/link to=hello
    rm /app/tmp* wildcard=true allow-not-found=true
4: source git://example.com/r.git#main full-url=https://example.com/r.git
5: diff 1 4
6: merge 3 5 name=together
"""


class Graphs(unittest.TestCase):
    def test_every_builder_and_every_option_by_its_word(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            context = cx.local("context", exclude=[".git", "*.log"], shared_key="context", name="load context")
            base = cx.image("docker.io/library/gcc:14", platform="linux/arm64", resolve_mode="local")
            ran = base.run(
                ["make", "-j2"],
                env={"B": "2", "A": "1"},
                cwd="/src",
                readonly_root=True,
                valid_exit_code=[0, 3],
                extra_host=["a=1.2.3.4"],
                mounts=[
                    ssh("/agent", optional=True),
                    secret("/run/secrets/token", id="token", mode=0o440),
                    secret("TOKEN", env="TOKEN"),
                    tmpfs("/tmp", size=1 << 20),
                    bind("/src", context, selector="sub"),
                    cache("/root/.cache", "cc", sharing="locked"),
                    bind("/ro", context, readonly=True),
                ],
                name="make it",
                description={"com.example.step": "1"},
                ignore_cache=True,
            )
            made = ran.mount("/src")
            assert made is not None
            self.assertEqual(ran.mount("/ro"), context, "what cannot be written is what it was")
            self.assertIsNone(ran.mount("/nowhere"))
            self.assertEqual(ran.root(), base, "a root that cannot be written is what it was")
            files = cx.scratch().file(
                [
                    mkdir("/app", parents=True, mode=0o700),
                    mkfile("/app/hello", "hello\n", owner="1:1"),
                    copy(made, "/out", "/app/", contents_only=True, create_parents=True, exclude=["*.o"]),
                    symlink("/app/link", "hello"),
                    rm("/app/tmp*", wildcard=True, allow_not_found=True),
                ]
            )
            return merge([files, diff(base, cx.git("https://example.com/r.git#main"))], name="together")

        built = build(work)
        self.assertEqual(built.graph, GRAPH)
        self.assertEqual(built.results, {"": "6"})

    def test_words_that_are_lists_families_or_say_something_when_they_are_false(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            blob = cx.image_blob("a@sha256:00", filename="f", mode=0o600, export_cache=False, cap=["file.base"])
            layout = cx.oci_layout("a@sha256:00", session="s", store="x", layer_limit=2, constraint=["a", "b"])
            part = cx.oci_layout_blob("a@sha256:00", store="x", uid=1)
            context = cx.local("context", metadata_only=True, metadata_only_except=["*.go"], attrs={"shared-key": "k"})
            ran = layout.run(
                ["true"],
                mounts=[bind("/in", context, output=False, content_cache="off")],
                optional_device=["vendor.com/gpu=0"],
                proxy_http="http://proxy",
                keep_mount_stubs=True,
                memory_swap=-1,
                cpuset_cpus="0",
            )
            self.assertIsNone(ran.mount("/in"))
            all = merge([ran.root(), part.file([copy(blob, "f", "/f", include=["*"], required=["f"], replace=True)])])
            return Platforms({"": Result(all)}, scanned({"in": part, "none": cx.scratch()}))

        graph = """\
0: source docker-image+blob://a@sha256:00 filename=f mode=600 export-cache=false cap.file.base=true
1: source oci-layout://a@sha256:00 session=s store=x layer-limit=2 constraint=a constraint=b
2: source oci-layout+blob://a@sha256:00 store=x uid=1
3: source local://context metadata-only=true metadata-only-except=*.go shared-key=k
4: exec ["true"] on 1 optional-device=vendor.com/gpu=0 proxy-http=http://proxy keep-mount-stubs=true memory-swap=-1 \
cpuset-cpus=0
    bind /in 3 output=false content-cache=off
5: file on 2
    copy /f from 0 src=f include=* required=f replace=true
6: merge 4 5
"""
        built = build(work)
        self.assertEqual(built.graph, graph)
        self.assertEqual(built.metadata["sbom.extras"], '{"in": [2, 0], "none": null}')

    def test_sources_are_pinned_down_each_with_its_own_answer(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            there, gone = cx.resolve(
                [{"identifier": "docker-image://a", "no_config": True}, {"identifier": "git://b", "objects": True}]
            )
            assert isinstance(there, SourceMeta)
            self.assertEqual(there.digest, "sha256:00")
            assert isinstance(gone, FrontendError)
            self.assertEqual(gone.code, "not-found")
            self.assertEqual(cx.solve(cx.local("context")).read_range("file", 2, 3), b"345")
            place = cx.source_file("file", "text", "one\ntwo").location((2, 0), (2, 2))
            self.assertEqual((place.start_line, place.end_column), (2, 2))
            cx.warn("loud", level=2, detail=["more"], url="https://example.com", about=cx.image("a"), at=place)
            return cx.scratch()

        fake = FakeHost().image("a", "sha256:00", {}).file("local://context", "file", "1234567")
        build(work, fake=fake)
        self.assertEqual(fake.warnings, ["loud"])

    def test_what_is_of_another_type_is_named_before_it_reaches_the_interface(self) -> None:
        cases: list[tuple[Any, str]] = [
            (lambda cx: cx.image(3), "reference of an image: want a string, got int"),
            (lambda cx: cx.image("a").run("make"), "args of run: want a list"),
            (lambda cx: cx.image("a").run(["make", 2]), "an argument of run: want a string, got int"),
            (lambda cx: cx.image("a").run(["make"], env={"A": 1}), "A: want a string, got int"),
            (lambda cx: cx.image("a", name=object()), "option name: want a string, a number"),
            (lambda cx: cx.scratch().file([mkfile(cx, "")]), "path of a mkfile: want a string"),
            (lambda cx: 3, "build has to answer a State, a Result or Platforms, not int"),
        ]
        for work, message in cases:
            with self.assertRaises(FrontendError) as raised:
                build(lambda cx, request: work(cx))
            self.assertEqual(raised.exception.code, "internal")
            self.assertIn(message, raised.exception.message)
            self.assertNotIn("/src/pintle/", raised.exception.message)


    def test_operations_of_every_kind(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            first, second = cx.image("a"), cx.image("b")
            with self.assertRaises(FrontendError) as raised:
                op("passthrough", [first], {"made": "up"})
            self.assertEqual(raised.exception.code, "unknown-attr")
            definition = op("build", params={"filename": "/llb"}, content="LLB")
            return op("passthrough", [first, second, definition], {"id": "both"}, name="after all")

        graph = build(work).graph.strip().split("\n")
        self.assertEqual(graph[2:], ['2: build "LLB" filename=/llb', '3: passthrough 0 1 2 id=both name="after all"'])


class Errors(unittest.TestCase):
    def test_errors_carry_code_and_place(self) -> None:
        text = "one\n\u00fctwo three\n"

        def work(cx: Host, request: Request) -> Output:
            source = cx.source_file("Buildfile", "text", text)
            at = text.index("three")
            raise FrontendError("no such word: three", at=source.at(at, at + 5))

        fake = FakeHost()
        with self.assertRaises(FrontendError) as raised:
            build(work, fake=fake)
        error = raised.exception
        self.assertEqual((error.code, error.message), ("invalid-argument", "no such word: three"))
        [place] = error.places
        columns = (place.start_line, place.start_column, place.end_line, place.end_column)
        self.assertEqual(columns, (2, 6, 2, 10))
        self.assertEqual(fake.excerpt(place), "\u00fctwo three")

    def test_what_the_host_refuses_has_the_places_of_its_options_or_the_line_of_the_call(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            source = cx.source_file("Buildfile", "text", "image a")
            for refused in (
                lambda **at: cx.image("a", made="up", **at),  # type: ignore[call-arg]
                lambda **at: cx.scratch().run([], **at),
                lambda **at: cx.scratch().file([mkfile("/a", "")], made="up", **at),  # type: ignore[call-arg]
                lambda **at: op("passthrough", [], {"made": "up"}, **at),
            ):
                with self.assertRaises(FrontendError) as raised:
                    refused(at=source.at(0, 5))
                self.assertEqual((raised.exception.places, raised.exception.detail), ([source.at(0, 5)], []))
                with self.assertRaises(FrontendError) as raised:
                    refused()
                self.assertEqual(raised.exception.places, [])
                [(word, place)] = raised.exception.detail
                self.assertEqual(word, "called at")
                self.assertRegex(place, r"test_sdk\.py:\d+, in <lambda>$")
            return cx.scratch()

        build(work)

    def test_a_mistake_says_what_is_different_in_a_component(self) -> None:
        def recurse(depth: int) -> int:
            return recurse(depth + 1) + 1

        cases: list[tuple[Any, str]] = [
            (lambda cx: __import__("not_there"), "so import it at the top of a file"),
            (lambda cx: open("/not/there"), "'/not/there': a frontend has no files of its own: what it reads is read from a tree"),
            (lambda cx: recurse(0), " more ...\n"),
            (lambda cx: Result(cx.scratch(), {"a": {1}}), "the image's config cannot be written as JSON: Object of type set"),
            (lambda cx: Result("made"), "the answer of build: state has to be a State, not str"),  # type: ignore[arg-type]
            (lambda cx: Platforms({"linux/amd64": cx.scratch()}), "build has to answer a Result for linux/amd64, not State"),
        ]
        for work, message in cases:
            with self.assertRaises(FrontendError) as raised:
                build(lambda cx, request: work(cx))
            self.assertEqual(raised.exception.code, "internal")
            self.assertIn(message, raised.exception.message)
            self.assertLess(raised.exception.message.count("\n"), 30)

    def test_the_hosts_errors_are_frontend_errors_and_others_keep_their_trace(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            refused: list[tuple[Any, str]] = [
                (lambda: cx.solve(cx.local("context")).read_text("gone"), "not-found"),
                (lambda: cx.resolve_images(["docker.io/library/gone:1"]), "not-found"),
                (lambda: cx.source("local://x", made="up"), "unknown-attr"),
                (lambda: cx.image("a").run([]), "invalid-argument"),
            ]
            for call, code in refused:
                with self.assertRaises(FrontendError) as raised:
                    call()
                self.assertEqual(raised.exception.code, code)
            nothing: dict[str, Output] = {}
            return nothing["nothing"]

        with self.assertRaises(FrontendError) as raised:
            build(work)
        self.assertEqual(raised.exception.code, "internal")
        self.assertRegex(raised.exception.message, r"^KeyError: 'nothing'\n(?s:.*)test_sdk\.py:\d+, in work")


    def test_files_of_a_component_are_called_as_in_the_project(self) -> None:
        module: dict[str, Any] = {}
        exec(compile("def work(cx, request): return cx.gone", "/0/deep/language.py", "exec"), module)
        with self.assertRaises(FrontendError) as raised:
            build(module["work"])
        self.assertRegex(raised.exception.message, r"\n  deep/language\.py:1, in work$")


class Answers(unittest.TestCase):
    def test_images_platforms_and_configs(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            [image] = cx.resolve_images(["docker.io/library/a:1"], platform="linux/amd64")
            self.assertEqual(image.reference, "docker.io/library/a:1@sha256:00")
            each = {name: Result(cx.image(image.reference, platform=name), image.config) for name in request.platforms()}
            return Platforms(each)

        fake = FakeHost().image("docker.io/library/a:1", "sha256:00", {"config": {"Env": ["A=1"]}})
        built = build(work, {"platform": "linux/amd64,linux/arm64"}, fake)
        self.assertEqual(built.results, {"linux/amd64": "0", "linux/arm64": "1"})
        self.assertEqual(built.metadata["containerimage.config/linux/arm64"], '{"config": {"Env": ["A=1"]}}')

    def test_files_logs_warnings_and_places_of_vertices(self) -> None:
        def work(cx: Host, request: Request) -> Output:
            self.assertTrue(cx.supports("exec.hostname"))
            self.assertFalse(cx.supports("exec.wings"))
            ref = cx.solve(cx.local("context"))
            self.assertEqual([entry.path for entry in ref.read_dir("/")], ["a", "b"])
            self.assertEqual(ref.stat("b").kind, "directory")
            text = ref.read_text("a")
            source = cx.source_file("a", "text", text)
            cx.log("info", "read")
            cx.warn("is short", detail=["one line"], at=source.at(0))
            return cx.image(text.strip(), at=source.at(0, 5))

        fake = FakeHost().file("local://context", "a", "image\n").file("local://context", "b/c", b"\xff")
        built = build(work, {"build-arg:A": "1"}, fake)
        self.assertEqual(built.graph, "0: source local://context\n1: source docker-image://image\n")
        self.assertEqual([line.message for line in fake.logs], ["read"])
        self.assertEqual(fake.warnings, ["is short"])
        self.assertEqual(fake.excerpt(fake.places(1)[0]), "image")


if __name__ == "__main__":
    unittest.main()
