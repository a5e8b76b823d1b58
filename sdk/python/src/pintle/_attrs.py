"""Options as attribute lists: `readonly_root=True` becomes `("readonly-root", "true")`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict, Union

from ._wit import Attr, Location

Places = Union[Location, Sequence[Location]]


class VertexOptions(TypedDict, total=False):
    """What every vertex takes."""

    name: str
    """Shown in the progress instead of a generated text."""
    description: Mapping[str, str]
    """Free text about the vertex, by key."""
    platform: str
    """os/arch[/variant]."""
    ignore_cache: bool
    """Run even where the cache has a result."""
    group: str
    """Id of the progress group that it is shown in."""
    group_name: str
    """The group's text."""
    memory: int
    """Memory limit in bytes."""
    cpu_shares: int
    """Relative weight."""
    at: Places
    """Where it comes from in source texts."""


# Options that are families of words, by the family's name.
FAMILIES = {"description": "description", "header": "header"}
# Options whose numbers are file modes, written in octal digits.
MODES = {"mode"}


def attrs(options: Mapping[str, Any], skip: Collection[str] = ()) -> list[Attr]:
    """The attributes that options mean. None and False leave an option out; a list gives its word once for each."""
    out: list[Attr] = []
    for key, value in options.items():
        if key == "at" or key in skip:
            continue
        if key in FAMILIES:
            out.extend((f"{FAMILIES[key]}.{name}", text(value, key)) for name, value in value.items())
        else:
            _push(out, key.replace("_", "-"), value)
    return out


def _push(out: list[Attr], word: str, value: object) -> None:
    if value is None or value is False:
        return
    if value is True:
        out.append((word, "true"))
    elif isinstance(value, str):
        out.append((word, value))
    elif isinstance(value, int):
        out.append((word, f"{value:o}" if word in MODES else str(value)))
    elif isinstance(value, Sequence):
        for item in value:
            _push(out, word, item)
    else:
        raise TypeError(f"option {word}: want a string, a number, a truth value or a list, got {type(value).__name__}")


def places(at: Places | None) -> list[Location]:
    """Places as a list."""
    if at is None:
        return []
    return [at] if isinstance(at, Location) else list(at)


def text(value: object, what: str) -> str:
    """The value, which has to be a string: another one would end the component with no word of why."""
    if not isinstance(value, str):
        raise TypeError(f"{what}: want a string, got {type(value).__name__}")
    return value
