"""Errors: of the user's file, and of the host."""

from __future__ import annotations

# Python's traceback imports these when it writes one, and in a component nothing can be imported any more.
import linecache  # noqa: F401
import tokenize  # noqa: F401
import traceback
from collections.abc import Sequence
from pathlib import PurePath

from . import _wit
from ._attrs import Places, places
from ._wit import Attr, Location


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
    """Calls of the host inside raise :class:`FrontendError`."""

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> None:
        if isinstance(error, _wit.Err):
            raise from_host(error.value) from None


def from_host(error: _wit.Error) -> FrontendError:
    """An error that the host answered."""
    return FrontendError(error.message, code=error.code, detail=error.detail, at=error.places)


def to_wit(error: BaseException) -> _wit.Error:
    """An error as the interface has it; one that is not for the user comes with where it was raised."""
    if isinstance(error, FrontendError):
        return _wit.Error(error.code, error.message, error.detail, error.places)
    summary = "".join(traceback.format_exception_only(error)).strip()
    frames = [frame for frame in traceback.extract_tb(error.__traceback__) if not _is_own(frame.filename)]
    lines = [f"  {frame.filename}:{frame.lineno}, in {frame.name}" for frame in frames]
    return _wit.Error("internal", "\n".join([summary, *lines]), [], [])


def _is_own(filename: str) -> bool:
    return PurePath(filename).parent == PurePath(__file__).parent
