"""The words that hosts know, from the table that hosts and SDKs share."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from pathlib import Path

TABLE = Path(__file__).parent.parent / "wit" / "attributes.md"


@cache
def table() -> dict[str, set[str]]:
    """Words by where they stand: `exec`, `mount.bind`, `source.git`; a word that ends in `.*` is a family."""
    words: dict[str, set[str]] = {}
    for line in TABLE.read_text().splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) > 3 and cells[1] and cells[2] and cells[1] != "On" and cells[1].strip("-"):
            words.setdefault(cells[1], set()).add(cells[2])
    return words


def is_known(places: Sequence[str], word: str) -> bool:
    """Whether `word` may stand on one of `places`."""
    names = {word, word.split(".")[0] + ".*"}
    return any(names & table().get(place, set()) for place in places)


def supports(feature: str) -> bool:
    """Whether a host knows a feature: a word after its place, or a place alone."""
    place, _, word = feature.rpartition(".")
    return feature in table() or bool(place) and is_known([place], word)
