"""Errors: of the user's file, and of the host."""

from __future__ import annotations

# Python's traceback imports these when it writes one, and in a component nothing can be imported any more.
import linecache  # noqa: F401
import tokenize  # noqa: F401
import traceback
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

from . import _wit
from ._attrs import Places, places
from ._wit import Attr, Location

#: Frames that are shown of a stack: who recursed too deeply has a thousand.
_SHOWN = 20


class FrontendError(Exception):
    """An error for the user: a fragment that names what, where and what to do."""

    def __init__(
        self,
        message: str,
        *,
        code: str = "invalid-argument",
        detail: Sequence[Attr] = (),
        at: Places | None = None,
    ) -> None:
        super().__init__(message)
        self.message = message
        #: A word to program against: not-found, invalid-argument, unsupported, denied ...
        self.code = code
        #: More to program against.
        self.detail = list(detail)
        #: Where in the source texts.
        self.places: list[Location] = places(at)


class calling:
    """Calls of the host inside raise :class:`FrontendError`, with the places of the options that they were made with."""

    def __init__(self, options: Mapping[str, Any] | None = None) -> None:
        self._options = options

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, _wit.Err):
            raised = from_host(error.value)
            if self._options is not None and not raised.places:
                raised.places = places(self._options.get("at"))
                # Without a place it is the author's to understand.
                if not raised.places:
                    raised.detail += [("called at", frame) for frame in _frames(traceback.extract_stack())[-1:]]
            raise raised from None


def from_host(error: _wit.Error) -> FrontendError:
    """An error that the host answered."""
    return FrontendError(error.message, code=error.code, detail=error.detail, at=error.places)


def to_wit(error: BaseException) -> _wit.Error:
    """An error as the interface has it; one that is not for the user comes with where it was raised."""
    if isinstance(error, FrontendError):
        return _wit.Error(error.code, error.message, error.detail, error.places)
    summary = "".join(traceback.format_exception_only(error)).strip() + _hint(error)
    lines = [f"  {frame}" for frame in _frames(traceback.extract_tb(error.__traceback__))]
    if len(lines) > _SHOWN:
        lines = [*lines[:3], f"  ... and {len(lines) - _SHOWN} more ...", *lines[3 - _SHOWN :]]
    return _wit.Error("internal", "\n".join([summary, *lines]), [], [])


def _hint(error: BaseException) -> str:
    """What to do about errors that are none elsewhere."""
    if isinstance(error, ModuleNotFoundError):
        return ": a component has the modules that were imported when it was built, so import it at the top of a file"
    if isinstance(error, OSError) and error.filename is not None:
        return ": a frontend has no files of its own: what it reads is read from a tree, as in cx.solve(cx.local(\"context\")).read_text(path)"
    return ""


def _frames(stack: traceback.StackSummary) -> list[str]:
    """The author's frames, the innermost last."""
    own = PurePath(__file__).parent
    frames = [frame for frame in stack if PurePath(frame.filename).parent != own]
    return [f"{_shown(frame.filename)}:{frame.lineno}, in {frame.name}" for frame in frames]


def _shown(filename: str) -> str:
    """A component has its files below a number for each directory that they came from, which says nothing to the author."""
    parts = filename.split("/", 2)
    return parts[2] if len(parts) == 3 and parts[0] == "" and parts[1].isdigit() else filename
