"""A frontend as the engine calls it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, Union

from . import _wit
from ._attrs import text
from ._wit import Attr, Content, Edge
from .error import FrontendError, to_wit
from .host import Host, ImageConfig
from .state import State


class Request:
    """What the user asked for."""

    def __init__(self, opts: Iterable[Attr], inputs: Iterable[tuple[str, Edge | None]]) -> None:
        #: target, platform, filename, build-arg:NAME, label:NAME, context:NAME ...
        self.opts: Mapping[str, str] = dict(opts)
        #: Trees that are there already, by name.
        self.inputs: Mapping[str, State] = {name: State(edge) for name, edge in inputs}

    def opt(self, name: str) -> str | None:
        """An option, unless it is missing or empty."""
        return self.opts.get(name) or None

    def opts_with(self, prefix: str) -> dict[str, str]:
        """Options whose names begin with `prefix`, by what follows it: `build-arg:`, `label:`, `context:`."""
        found = ((name, value) for name, value in self.opts.items() if name.startswith(prefix))
        return {name.removeprefix(prefix): value for name, value in found}

    def platforms(self) -> list[str]:
        """The platforms asked for; the builder's own when there is none."""
        asked = self.opt("platform") or self.opt("build-platform") or "linux/amd64"
        return [platform.strip() for platform in asked.split(",")]


@dataclass(frozen=True)
class Result:
    """A result for one platform."""

    state: State
    config: ImageConfig | None = None


@dataclass(frozen=True)
class Platforms:
    """A result for each of several platforms."""

    results: Mapping[str, Result]
    metadata: Mapping[str, str] = field(default_factory=dict)


#: What a build answers.
Output = Union[State, Result, Platforms]


def scanned(trees: Mapping[str, State], platform: str = "") -> dict[str, str]:
    """Metadata of :class:`Platforms`: trees that a bill of materials is made of beside the result for `platform`.

    Their names are of letters, digits, `.`, `_` and `-`. The host looks at them when it makes one."""
    edges = {name: None if state.edge is None else [state.edge.vertex, state.edge.output] for name, state in trees.items()}
    return {f"sbom.extras/{platform}" if platform else "sbom.extras": json.dumps(edges)}


@dataclass(frozen=True)
class Answer:
    """What a request answers: for machines, and for readers."""

    json: Any
    text: str


class Frontend(Protocol):
    """A build language."""

    def build(self, cx: Host, request: Request) -> Output:
        """Turns what the user asked for into a graph."""

    def request(self, cx: Host, kind: str, request: Request) -> Answer | None:
        """Answers `describe`, `outline`, `targets` or `lint` without building; None leaves the answer to the host."""
        return None


class World:
    """The exports of a component."""

    def __init__(self, language: Frontend) -> None:
        self._language = language

    def build(self, opts: list[Attr], inputs: list[tuple[str, Edge | None]]) -> _wit.Output:
        """Runs :meth:`Frontend.build`."""
        try:
            return _output(self._language.build(Host(), Request(opts, inputs)))
        except BaseException as error:
            raise _wit.Err(to_wit(error)) from None

    def request(self, kind: str, opts: list[Attr], inputs: list[tuple[str, Edge | None]]) -> list[tuple[str, Content]]:
        """Runs :meth:`Frontend.request`."""
        try:
            answer = self._language.request(Host(), kind, Request(opts, inputs))
            if answer is None:
                raise FrontendError(f'no answer to request "{kind}"', code="unsupported")
            return [("result.json", _text(_json(answer.json, "json of an answer"))), ("result.txt", _text(text(answer.text, "text")))]
        except BaseException as error:
            raise _wit.Err(to_wit(error)) from None


def _text(value: str) -> Content:
    return _wit.Content_Text(value)


def _json(value: Any, what: str) -> str:
    try:
        return json.dumps(value)
    except (TypeError, ValueError) as error:
        # Where json stumbled says nothing to the author, so the error begins here.
        raise TypeError(f"{what} cannot be written as JSON: {error}") from None


def _output(output: Output) -> _wit.Output:
    if isinstance(output, State):
        output = Result(output)
    if isinstance(output, Result):
        return _one("", output)
    if not isinstance(output, Platforms):
        raise TypeError(f"build has to answer a State, a Result or Platforms, not {type(output).__name__}")
    made = _wit.Output([], [(text(key, "metadata"), _text(text(value, key))) for key, value in output.metadata.items()])
    for platform, result in output.results.items():
        one = _one(text(platform, "a platform"), result)
        made.results.extend(one.results)
        made.metadata.extend(one.metadata)
    return made


def _one(platform: str, result: Result) -> _wit.Output:
    key = f"containerimage.config/{platform}" if platform else "containerimage.config"
    if not isinstance(result, Result):
        raise TypeError(f"build has to answer a Result for {platform}, not {type(result).__name__}")
    if not isinstance(result.state, State):
        raise TypeError(f"the answer of build: state has to be a State, not {type(result.state).__name__}")
    metadata = [] if result.config is None else [(key, _text(_json(result.config, "the image's config")))]
    return _wit.Output([(platform, result.state.edge)], metadata)
