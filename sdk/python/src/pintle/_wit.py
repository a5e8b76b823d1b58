"""The interface: the component's own modules inside one, and the fake host's outside.

A value of another type than the interface's ends a component at once, so the modules of this package check what authors give them
before it comes here.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from ._types import (
        Attr,
        Content,
        Content_Bytes,
        Content_Text,
        Edge,
        Err,
        Error,
        FileAction,
        FileInfo,
        Location,
        Mount,
        Ok,
        Output,
        SourceMeta,
        SourceQuery,
    )

    llb: Any
    host: Any
else:
    Attr = tuple
    try:
        from componentize_py_types import Err, Ok
        from wit_world import Output
        from wit_world.imports import host, llb
        from wit_world.imports.host import FileInfo, SourceMeta, SourceQuery
        from wit_world.imports.llb import FileAction, Mount
        from wit_world.imports.types import Content, Content_Bytes, Content_Text, Edge, Error, Location
    except ImportError:
        from ._types import (
            Content,
            Content_Bytes,
            Content_Text,
            Edge,
            Err,
            Error,
            FileAction,
            FileInfo,
            Location,
            Mount,
            Ok,
            Output,
            SourceMeta,
            SourceQuery,
        )
        from ._fake import host, llb

__all__ = [
    "Attr",
    "Content",
    "Content_Bytes",
    "Content_Text",
    "Edge",
    "Err",
    "Error",
    "FileAction",
    "FileInfo",
    "Location",
    "Mount",
    "Ok",
    "Output",
    "SourceMeta",
    "SourceQuery",
    "host",
    "llb",
]
