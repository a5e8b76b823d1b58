"""Options as attribute lists: `readonly_root=True` becomes `("readonly-root", "true")`."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any, TypedDict, Union

from ._wit import Attr, Location

Places = Union[Location, Sequence[Location]]


class VertexOptions(TypedDict, total=False):
    """What every vertex takes:

    - name: Shown in the progress instead of a generated text.
    - description: Free text about the vertex, by key.
    - platform: os/arch[/variant].
    - os_version: Of the platform; Windows only.
    - os_feature: Of the platform; Windows only.
    - constraint: Filters that the worker must match.
    - ignore_cache: Run even where the cache has a result.
    - export_cache: Whether the result is exported to caches; not given: the exporter decides.
    - cap: Capabilities that the vertex needs, by BuildKit's names.
    - group: Id of the progress group that it is shown in.
    - group_name: The group's text.
    - group_weak: The group gives way to a group of the parent.
    - memory: Memory limit in bytes.
    - memory_swap: Limit of memory and swap in bytes; -1: none.
    - cpu_shares: Relative weight.
    - cpu_period: Microseconds.
    - cpu_quota: Microseconds for each period.
    - cpuset_cpus: For instance 0-3.
    - cpuset_mems: For instance 0,1.
    - attrs: Options by their words: for those that have no name here.
    - at: Where it comes from in source texts.
    """

    name: str
    description: Mapping[str, str]
    platform: str
    os_version: str
    os_feature: Sequence[str]
    constraint: Sequence[str]
    ignore_cache: bool
    export_cache: bool
    cap: Sequence[str]
    group: str
    group_name: str
    group_weak: bool
    memory: int
    memory_swap: int
    cpu_shares: int
    cpu_period: int
    cpu_quota: int
    cpuset_cpus: str
    cpuset_mems: str
    attrs: Mapping[str, str]
    at: Places


# Options that hold words, or families of words, by what stands before each.
FAMILIES = {"description": "description.", "header": "header.", "attrs": ""}
# Options whose False says something else than that they are not given.
SAID = {"export_cache", "output"}
# Options whose numbers are file modes, written in octal digits.
MODES = {"mode"}


def attrs(options: Mapping[str, Any], skip: Collection[str] = ()) -> list[Attr]:
    """The attributes that options mean. None, and False but for `SAID`, leave an option out; a list gives its word once for each."""
    out: list[Attr] = []
    for key, value in options.items():
        if key == "at" or key in skip:
            continue
        if key in FAMILIES:
            out.extend((f"{FAMILIES[key]}{name}", text(value, key)) for name, value in (value or {}).items())
        elif key == "cap":
            out.extend((f"cap.{text(name, key)}", "true") for name in value or ())
        elif value is False and key in SAID:
            out.append((key.replace("_", "-"), "false"))
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
