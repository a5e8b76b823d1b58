"""The build language {{name}}: a file of steps, a line each.

    from docker.io/library/alpine:3
    copy app /opt/app
    run /opt/app/configure
    write /etc/motd hello
"""

from pintle import Frontend, FrontendError, Host, Output, Request, Result, SourceFile, State, copy, mkfile

#: The file that is read unless option `filename` names another.
FILENAME = "Buildfile"


class Language(Frontend):
    """The language."""

    def build(self, cx: Host, request: Request) -> Output:
        filename = request.opt("filename") or FILENAME
        local = cx.local("dockerfile", follow=[filename], shared_key="dockerfile", name="load build file")
        text = cx.solve(local).read_text(filename)
        source = cx.source_file(filename, "{{name}}", text, local)
        state = cx.scratch()
        offset = 0
        for line in text.split("\n"):
            if line.strip() and not line.startswith("#"):
                state = step(cx, state, line, source, offset)
            offset += len(line) + 1
        return Result(state, {"os": "linux", "architecture": "amd64", "config": {}})


def step(cx: Host, state: State, line: str, source: SourceFile, offset: int) -> State:
    """Does what a line says, on what was made before it."""
    at = source.at(offset, offset + len(line))
    match line.split():
        case ["from", "scratch"]:
            return cx.scratch()
        case ["from", image]:
            return cx.image(image, name=line, at=at)
        case ["copy", source_path, target]:
            context = cx.local("context", shared_key="context", name="load build context")
            return state.file([copy(context, source_path, target, create_parents=True)], name=line, at=at)
        case ["run", first, *rest]:
            return state.run(["/bin/sh", "-c", " ".join([first, *rest])], name=line, at=at).root()
        case ["write", path, *words]:
            return state.file([mkfile(path, " ".join(words) + "\n")], name=line, at=at)
    raise FrontendError("want from IMAGE, copy FROM TO, run COMMAND or write PATH TEXT", at=at)


frontend = Language()
