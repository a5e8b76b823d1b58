"""The records of `wit/v0.1`, for where there is no component around the module: tests, and tools that read types."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, Optional, TypeVar, Union

Attr = tuple[str, str]


@dataclass
class Edge:
    """One output of a vertex."""

    vertex: int
    output: int


@dataclass
class Content_Text:
    """UTF-8 text."""

    value: str


@dataclass
class Content_Bytes:
    """Anything."""

    value: bytes


Content = Union[Content_Text, Content_Bytes]


@dataclass
class Location:
    """A place in a source text: lines from 1, columns from 0 in bytes of UTF-8; both ends are included."""

    file: int
    start_line: int
    start_column: int
    end_line: int
    end_column: int


@dataclass
class Error:
    """Why something did not work."""

    code: str
    message: str
    detail: list[Attr]
    places: list[Location]


@dataclass
class Mount:
    """A mount of an exec."""

    kind: str
    target: str
    input: Optional[Edge]
    attrs: list[Attr]


@dataclass
class FileAction:
    """One step of a file vertex."""

    kind: str
    path: str
    input: Optional[Edge]
    content: Optional[Content]
    attrs: list[Attr]


@dataclass
class FileInfo:
    """What is known of a file; `mtime` in nanoseconds since 1970."""

    path: str
    kind: str
    mode: int
    size: int
    mtime: int
    uid: int
    gid: int
    link: str


@dataclass
class SourceQuery:
    """A source to pin down."""

    identifier: str
    platform: Optional[str]
    attrs: list[Attr]


@dataclass
class SourceMeta:
    """A source pinned down."""

    identifier: str
    attrs: list[Attr]
    digest: str
    config: Optional[str]
    facts: list[tuple[str, Content]]


@dataclass
class Output:
    """What a build answers."""

    results: list[tuple[str, Optional[Edge]]]
    metadata: list[tuple[str, Content]]


T = TypeVar("T")
E = TypeVar("E")


@dataclass
class Ok(Generic[T]):
    """An answer."""

    value: T


class Err(Exception, Generic[E]):
    """An error, raised or among answers."""

    def __init__(self, value: E) -> None:
        super().__init__(value)
        self.value = value
