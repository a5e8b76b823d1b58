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
    """Options of :func:`copy`, which says what each means."""

    mode: Union[int, str]
    owner: str
    follow_links: bool
    contents_only: bool
    create_parents: bool
    wildcard: bool
    empty_wildcard: bool
    unpack: bool
    include: Sequence[str]
    exclude: Sequence[str]
    required: Sequence[str]
    replace: bool
    created: str


class MkfileOptions(TypedDict, total=False):
    """Options of :func:`mkfile`, which says what each means."""

    mode: Union[int, str]
    owner: str
    created: str


class MkdirOptions(MkfileOptions, total=False):
    """Options of :func:`mkdir`, which says what each means."""

    parents: bool


class RmOptions(TypedDict, total=False):
    """Options of :func:`rm`, which says what each means."""

    allow_not_found: bool
    wildcard: bool


class SymlinkOptions(TypedDict, total=False):
    """Options of :func:`symlink`, which says what each means."""

    owner: str
    created: str


def copy(source: State, src: str, dest: str, **options: Unpack[CopyOptions]) -> FileAction:
    """Copies `src` of `source` to `dest`. A `dest` that ends in `/` is a directory to copy into.

    Options:

    - mode: Of all that is copied, octal digits or symbolic (`u+x,go-w`); a number is taken as a mode. Not given: each its own.
    - owner: user[:group] of all that is copied, names or numbers; not given: root.
    - follow_links: Resolve symlinks in `src`.
    - contents_only: Of a directory, what is in it.
    - create_parents: Make the directories above the destination.
    - wildcard: The source path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are.
    - empty_wildcard: A pattern that matches nothing is no error.
    - unpack: If the source is an archive, what is in it.
    - include: Only what matches one of these patterns.
    - exclude: Not what matches one of these patterns.
    - required: With `include`: paths that must be among what is copied.
    - replace: What is in the way and of another kind is replaced.
    - created: Modification time in nanoseconds since 1970; not given: as it is.
    """
    words = [("src", text(src, "src of a copy"))]
    return _action("copy", dest, options, words=words, input=source.edge)


def content_of(content: str | bytes) -> _wit.Content:
    """Text or bytes, as the interface has them."""
    return _wit.Content_Text(content) if isinstance(content, str) else _wit.Content_Bytes(bytes(content))


def mkfile(path: str, content: str | bytes, **options: Unpack[MkfileOptions]) -> FileAction:
    """Makes a file.

    Options:

    - mode: Of the file; not given: 644.
    - owner: user[:group], names or numbers; not given: root.
    - created: Modification time in nanoseconds since 1970; not given: now.
    """
    return _action("mkfile", path, options, content=content_of(content))


def mkdir(path: str, **options: Unpack[MkdirOptions]) -> FileAction:
    """Makes a directory.

    Options:

    - mode: Of the directories made; not given: 755.
    - owner: user[:group], names or numbers; not given: root.
    - created: Modification time in nanoseconds since 1970; not given: now.
    - parents: Make the directories above; an existing one is no error.
    """
    return _action("mkdir", path, options)


def rm(path: str, **options: Unpack[RmOptions]) -> FileAction:
    """Removes a file or a directory.

    Options:

    - allow_not_found: Nothing there is no error.
    - wildcard: The path is a pattern, such as `*.txt`; without this, `*`, `?` and `[` are taken as they are.
    """
    return _action("rm", path, options)


def symlink(path: str, to: str, **options: Unpack[SymlinkOptions]) -> FileAction:
    """Makes a symbolic link at `path`.

    Options:

    - owner: user[:group], names or numbers; not given: root.
    - created: Modification time in nanoseconds since 1970; not given: now.
    """
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
