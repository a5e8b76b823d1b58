"""The fake host."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

from .. import _fake
from .. import _types as wit
from ..error import from_host
from ..frontend import Frontend, World
from ._words import is_known, supports


@dataclass(frozen=True)
class Logged:
    """A log line that the frontend sent."""

    level: str
    message: str


@dataclass(frozen=True)
class Built:
    """What a frontend answered."""

    #: A line for each vertex, by number, in the order in which they were added.
    graph: str
    #: The vertex and output of each platform.
    results: dict[str, str]
    metadata: dict[str, str]
    #: The image config of the one result.
    config: Any


class FakeHost:
    """A host of scripted images and files. It refuses what an engine would: an unknown option, a vertex that does not exist."""

    def __init__(self) -> None:
        self._vertices: list[str] = []
        self._places: list[list[wit.Location]] = []
        self._sources: list[str] = []
        self._images: dict[str, wit.SourceMeta] = {}
        self._files: dict[str, dict[str, bytes]] = {}
        #: Log lines that the frontend sent.
        self.logs: list[Logged] = []
        #: Texts of the warnings that the frontend sent.
        self.warnings: list[str] = []

    def image(self, reference: str, digest: str, config: Mapping[str, Any]) -> FakeHost:
        """Scripts an image by its full reference."""
        identifier = f"docker-image://{reference}"
        self._images[identifier] = wit.SourceMeta(f"{identifier}@{digest}", [], digest, json.dumps(config), [])
        return self

    def file(self, identifier: str, path: str, content: str | bytes) -> FakeHost:
        """Scripts a file of a source, by the source's identifier (`local://context`)."""
        files = self._files.setdefault(identifier, {})
        files[_clean(path)] = content.encode() if isinstance(content, str) else content
        return self

    def build(self, language: Frontend, opts: Mapping[str, str] | None = None) -> Built:
        """Runs a frontend. Its error is raised as the user would see it: code, message, places."""
        _fake.building = self
        try:
            output = World(language).build(list((opts or {}).items()), [])
        except wit.Err as error:
            raise from_host(error.value) from None
        finally:
            _fake.building = None
        metadata = {key: _content(value) for key, value in output.metadata}
        config = metadata.get("containerimage.config")
        graph = "".join(f"{number}: {vertex}\n" for number, vertex in enumerate(self._vertices))
        results = {platform: _shown(edge) for platform, edge in output.results}
        return Built(graph, results, metadata, None if config is None else json.loads(config))

    def excerpt(self, place: wit.Location) -> str:
        """The lines of a source text that a place covers."""
        return "\n".join(self._sources[place.file].split("\n")[place.start_line - 1 : place.end_line])

    def places(self, vertex: int) -> list[wit.Location]:
        """Where a vertex comes from."""
        return self._places[vertex]

    def _add(self, text: str) -> wit.Edge:
        if text not in self._vertices:
            self._vertices.append(text)
            self._places.append([])
        return wit.Edge(self._vertices.index(text), 0)

    def _check(self, *edges: wit.Edge | None) -> None:
        for edge in edges:
            if edge is not None and edge.vertex >= len(self._vertices):
                raise _refused("invalid-argument", f"vertex {edge.vertex}: there is none of this number")

    # The calls of `pintle:frontend/llb`.

    def call_supports(self, feature: str) -> bool:
        return supports(feature)

    def call_add_source(self, identifier: str, attrs: list[wit.Attr]) -> wit.Edge:
        scheme = identifier.split("://")[0]
        _check_words(["vertex", f"source.{'http' if scheme == 'https' else scheme}"], attrs)
        return self._add(f"source {identifier}{_words(attrs)}")

    def call_add_exec(
        self,
        root: wit.Edge | None,
        args: list[str],
        env: list[wit.Attr],
        mounts: list[wit.Mount],
        attrs: list[wit.Attr],
    ) -> wit.Edge:
        _check_words(["vertex", "exec"], attrs)
        self._check(root, *(mount.input for mount in mounts))
        if not args:
            raise _refused("invalid-argument", "a command has at least one argument")
        lines = [f"\n    env {name}={value}" for name, value in env]
        for mount in mounts:
            _check_words(["mount", f"mount.{mount.kind}"], mount.attrs)
            lines.append(f"\n    {mount.kind} {mount.target} {_shown(mount.input)}{_words(mount.attrs)}")
        return self._add(f"exec {json.dumps(args)} on {_shown(root)}{_words(attrs)}{''.join(lines)}")

    def call_add_file(
        self, base: wit.Edge | None, actions: list[wit.FileAction], attrs: list[wit.Attr]
    ) -> wit.Edge:
        _check_words(["vertex"], attrs)
        self._check(base, *(action.input for action in actions))
        lines = []
        for action in actions:
            _check_words([f"file.{action.kind}"], action.attrs)
            source = f" from {_shown(action.input)}" if action.kind == "copy" else ""
            text = "" if action.content is None else f" {json.dumps(_content(action.content))}"
            lines.append(f"\n    {action.kind} {action.path}{source}{text}{_words(action.attrs)}")
        return self._add(f"file on {_shown(base)}{_words(attrs)}{''.join(lines)}")

    def call_add_merge(self, inputs: list[wit.Edge], attrs: list[wit.Attr]) -> wit.Edge:
        _check_words(["vertex"], attrs)
        self._check(*inputs)
        return self._add(f"merge {' '.join(map(_shown, inputs))}{_words(attrs)}")

    def call_add_diff(self, lower: wit.Edge | None, upper: wit.Edge | None, attrs: list[wit.Attr]) -> wit.Edge:
        _check_words(["vertex"], attrs)
        self._check(lower, upper)
        return self._add(f"diff {_shown(lower)} {_shown(upper)}{_words(attrs)}")

    def call_add_op(
        self,
        kind: str,
        inputs: list[wit.Edge | None],
        params: list[wit.Attr],
        content: wit.Content | None,
        attrs: list[wit.Attr],
    ) -> wit.Edge:
        _check_words([f"op.{kind}"], params)
        _check_words(["vertex"], attrs)
        self._check(*inputs)
        text = "" if content is None else f" {json.dumps(_content(content))}"
        return self._add(f"{' '.join([kind, *map(_shown, inputs)])}{text}{_words(params)}{_words(attrs)}")

    def call_add_definition(self, definition: bytes) -> wit.Edge | None:
        raise _refused("unsupported", "the fake host reads no definitions")

    def call_add_source_file(
        self, name: str, language: str, text: wit.Content, definition: wit.Edge | None
    ) -> int:
        self._check(definition)
        self._sources.append(_content(text))
        return len(self._sources) - 1

    def call_locate(self, vertex: int, places: list[wit.Location]) -> None:
        self._check(wit.Edge(vertex, 0))
        self._places[vertex].extend(places)

    # The calls of `pintle:frontend/host`.

    def call_solve(self, target: wit.Edge | None, attrs: list[wit.Attr]) -> FakeRef:
        self._check(target)
        vertex = "" if target is None else self._vertices[target.vertex]
        source = re.match(r"source (\S+)", vertex)
        return FakeRef(target, self._files.get(source[1] if source else "", {}))

    def call_solve_frontend(self, source: str, opts: list[wit.Attr], inputs: list[tuple[str, wit.Edge]]) -> Any:
        raise _refused("unsupported", f"the fake host has no frontend {source}")

    def call_resolve_sources(self, queries: list[wit.SourceQuery]) -> list[Any]:
        answers: list[Any] = []
        for query in queries:
            found = self._images.get(query.identifier)
            missing = _refused("not-found", f"{query.identifier}: not scripted")
            answers.append(missing if found is None else wit.Ok(found))
        return answers

    def call_log(self, level: str, message: str) -> None:
        self.logs.append(Logged(level, message))

    def call_warn(
        self, vertex: int | None, message: str, places: list[wit.Location], attrs: list[wit.Attr]
    ) -> None:
        _check_words(["warn"], attrs)
        self.warnings.append(message)


class FakeRef:
    """A result with scripted files."""

    def __init__(self, edge: wit.Edge | None, files: Mapping[str, bytes]) -> None:
        self._edge = edge
        self._files = files

    def start(self) -> None:
        pass

    def wait(self) -> None:
        pass

    def read_file(self, path: str) -> bytes:
        found = self._files.get(_clean(path))
        if found is None:
            raise _refused("not-found", f"{path}: no such file")
        return found

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        return self.read_file(path)[offset : offset + length]

    def read_text(self, path: str) -> str:
        try:
            return self.read_file(path).decode()
        except UnicodeDecodeError:
            raise _refused("not-utf8", f"{path}: not UTF-8") from None

    def read_dir(self, path: str, attrs: list[wit.Attr]) -> list[wit.FileInfo]:
        prefix = f"{_clean(path)}/" if _clean(path) else ""
        names = {name.removeprefix(prefix).split("/")[0] for name in self._files if name.startswith(prefix)}
        return [self.stat(prefix + name) for name in sorted(names)]

    def stat(self, path: str) -> wit.FileInfo:
        clean = _clean(path)
        name = PurePosixPath(clean).name
        if clean in self._files:
            return wit.FileInfo(name, "file", 0o644, len(self._files[clean]), 0, 0, 0, "")
        if clean and not any(other.startswith(f"{clean}/") for other in self._files):
            raise _refused("not-found", f"{path}: no such file or directory")
        return wit.FileInfo(name, "directory", 0o755, 0, 0, 0, 0, "")

    def target(self) -> wit.Edge | None:
        return self._edge


def _refused(code: str, message: str) -> wit.Err[wit.Error]:
    return wit.Err(wit.Error(code, message, [], []))


def _check_words(places: Sequence[str], attrs: Sequence[wit.Attr]) -> None:
    for word, _ in attrs:
        if not word.startswith("?") and not is_known(places, word):
            raise _refused("unknown-attr", f'attribute "{word}" of {places[-1]}: not known')


def _shown(edge: wit.Edge | None) -> str:
    if edge is None:
        return "scratch"
    return f"{edge.vertex}:{edge.output}" if edge.output else f"{edge.vertex}"


def _words(attrs: Sequence[wit.Attr]) -> str:
    quoted = ((word, json.dumps(value) if re.search(r'[\s"]', value) else value) for word, value in attrs)
    return "".join(f" {word}={value}" for word, value in quoted)


def _content(content: wit.Content) -> str:
    return content.value if isinstance(content.value, str) else content.value.decode(errors="replace")


def _clean(path: str) -> str:
    return "/".join(part for part in path.split("/") if part not in ("", "."))


