"""Mounts of a command."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypedDict

from . import _wit
from ._attrs import attrs, text

if TYPE_CHECKING:
    from typing import Unpack

    from .state import State


@dataclass(frozen=True)
class Mount:
    """A mount of any kind; made by the functions here."""

    wit: _wit.Mount
    #: The tree behind it, when the command cannot write: it is then what the mount holds afterwards.
    unchanged: State | None = None


class BindOptions(TypedDict, total=False):
    """Options of :func:`bind`, which says what each means."""

    selector: str
    readonly: bool
    output: bool
    content_cache: Literal["default", "on", "off"]


class CacheOptions(TypedDict, total=False):
    """Options of :func:`cache`, which says what each means."""

    sharing: Literal["shared", "private", "locked"]
    source: State
    selector: str
    readonly: bool


class SecretOptions(TypedDict, total=False):
    """Options of :func:`secret`, which says what each means."""

    id: str
    env: str
    optional: bool
    uid: int
    gid: int
    mode: int


class SshOptions(TypedDict, total=False):
    """Options of :func:`ssh`, which says what each means."""

    id: str
    optional: bool
    uid: int
    gid: int
    mode: int


def bind(target: str, source: State, **options: Unpack[BindOptions]) -> Mount:
    """`source` at `target`.

    Options:

    - selector: A path inside the source.
    - readonly: Not writable.
    - output: False drops what the command writes.
    - content_cache: Whether the contents are part of the cache key.
    """
    wit = _wit.Mount("bind", text(target, "target of a mount"), source.edge, attrs(options))
    return Mount(wit, source if options.get("readonly") else None)


def cache(target: str, id: str, **options: Unpack[CacheOptions]) -> Mount:
    """The cache `id` at `target`: kept between builds, never part of a result.

    Options:

    - sharing: Who may use it at once: all, each writer his own, one after the other.
    - source: What it holds at first; an empty directory when not given.
    - selector: A path inside the cache.
    - readonly: Not writable.
    """
    source = options.get("source")
    words = [("id", text(id, "id of a cache")), *attrs(options, ["source"])]
    return Mount(_wit.Mount("cache", text(target, "target of a mount"), source.edge if source else None, words))


def tmpfs(target: str, *, size: int | None = None) -> Mount:
    """A directory in memory; `size` in bytes."""
    return Mount(_wit.Mount("tmpfs", text(target, "target of a mount"), None, attrs({"size": size})))


def secret(target: str, **options: Unpack[SecretOptions]) -> Mount:
    """A secret as a file at `target`, or, with `env`, as an environment variable.

    Options:

    - id: Its name; the target when not given.
    - env: Give it as this environment variable, not as a file.
    - optional: May be missing.
    - uid: Of the file; not given: 0.
    - gid: Of the file; not given: 0.
    - mode: Of the file; not given: 400.
    """
    target = text(target, "target of a mount")
    words = [("id", options.get("id", target)), *attrs(options, ["id"])]
    return Mount(_wit.Mount("secret", "" if options.get("env") else target, None, words))


def ssh(target: str, **options: Unpack[SshOptions]) -> Mount:
    """An SSH agent's socket at `target`.

    Options:

    - id: Name of the agent; not given: default.
    - optional: May be missing.
    - uid: Of the socket; not given: 0.
    - gid: Of the socket; not given: 0.
    - mode: Of the socket; not given: 600.
    """
    return Mount(_wit.Mount("ssh", text(target, "target of a mount"), None, attrs(options)))


def ordered(mounts: Iterable[Mount]) -> list[Mount]:
    """As BuildKit's client orders mounts: trees, caches and tmpfs by target, then secrets, then agents."""
    return sorted(mounts, key=_rank)


def _rank(mount: Mount) -> tuple[int, str]:
    rank = {"secret": 1, "ssh": 2}.get(mount.wit.kind, 0)
    return rank, mount.wit.target if rank == 0 else ""
