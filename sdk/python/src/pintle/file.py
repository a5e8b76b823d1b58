"""Changes of files."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypedDict, Union

from . import _wit
from ._attrs import attrs, text
from ._wit import Attr

if TYPE_CHECKING:
    from typing import Unpack

    from .state import State


@dataclass(frozen=True)
class FileAction:
    """One change; made by the functions here."""

    wit: _wit.FileAction


class CopyOptions(TypedDict, total=False):
    """Options of :func:`copy`."""

    mode: Union[int, str]
    """Octal digits or symbolic (`u+x,go-w`); a number is taken as a mode."""
    owner: str
    """user[:group], names or numbers."""
    follow_links: bool
    contents_only: bool
    """Of a directory, what is in it."""
    create_parents: bool
    wildcard: bool
    """The source path is a pattern."""
    empty_wildcard: bool
    """A pattern that matches nothing is no error."""
    unpack: bool
    """If the source is an archive, what is in it."""
    include: Sequence[str]
    exclude: Sequence[str]
    required: Sequence[str]
    """With `include`: paths that must be among what is copied."""
    replace: bool
    """What is in the way and of another kind is replaced."""
    created: str
    """Modification time in nanoseconds since 1970."""


class MkfileOptions(TypedDict, total=False):
    """Options of :func:`mkfile`."""

    mode: Union[int, str]
    owner: str
    created: str


class MkdirOptions(MkfileOptions, total=False):
    """Options of :func:`mkdir`."""

    parents: bool


class RmOptions(TypedDict, total=False):
    """Options of :func:`rm`."""

    allow_not_found: bool
    wildcard: bool


class SymlinkOptions(TypedDict, total=False):
    """Options of :func:`symlink`."""

    owner: str
    created: str


def copy(source: State, src: str, dest: str, **options: Unpack[CopyOptions]) -> FileAction:
    """Copies `src` of `source` to `dest`. A `dest` that ends in `/` is a directory to copy into."""
    words = [("src", text(src, "src of a copy"))]
    return _action("copy", dest, options, words=words, input=source.edge)


def content_of(content: str | bytes) -> _wit.Content:
    """Text or bytes, as the interface has them."""
    return _wit.Content_Text(content) if isinstance(content, str) else _wit.Content_Bytes(bytes(content))


def mkfile(path: str, content: str | bytes, **options: Unpack[MkfileOptions]) -> FileAction:
    """Makes a file."""
    return _action("mkfile", path, options, content=content_of(content))


def mkdir(path: str, **options: Unpack[MkdirOptions]) -> FileAction:
    """Makes a directory."""
    return _action("mkdir", path, options)


def rm(path: str, **options: Unpack[RmOptions]) -> FileAction:
    """Removes a file or a directory."""
    return _action("rm", path, options)


def symlink(path: str, to: str, **options: Unpack[SymlinkOptions]) -> FileAction:
    """Makes a symbolic link at `path`."""
    return _action("symlink", path, options, words=[("to", text(to, "to of a symlink"))])


def _action(
    kind: str,
    path: str,
    options: Mapping[str, Any],
    *,
    words: Sequence[Attr] = (),
    input: _wit.Edge | None = None,
    content: _wit.Content | None = None,
) -> FileAction:
    path = text(path, f"path of a {kind}")
    return FileAction(_wit.FileAction(kind, path, input, content, [*words, *attrs(options)]))
