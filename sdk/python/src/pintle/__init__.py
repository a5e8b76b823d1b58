"""What an author of a build language writes against, in Python. See README.md."""

from ._attrs import VertexOptions
from ._wit import Content, Edge, FileInfo, Location, SourceMeta
from .error import FrontendError
from .file import FileAction, copy, mkdir, mkfile, rm, symlink
from .frontend import Answer, Frontend, Output, Platforms, Request, Result, scanned
from .host import Host, Ref, ResolvedImage, Solved, SourceFile, SourceQuery
from .mount import Mount, bind, cache, secret, ssh, tmpfs
from .state import Ran, State, diff, merge, op

__all__ = [
    "Answer",
    "Content",
    "Edge",
    "FileAction",
    "FileInfo",
    "Frontend",
    "FrontendError",
    "Host",
    "Location",
    "Mount",
    "Output",
    "Platforms",
    "Ran",
    "Ref",
    "Request",
    "ResolvedImage",
    "Result",
    "Solved",
    "SourceFile",
    "SourceMeta",
    "SourceQuery",
    "State",
    "VertexOptions",
    "bind",
    "cache",
    "copy",
    "diff",
    "merge",
    "mkdir",
    "mkfile",
    "op",
    "rm",
    "scanned",
    "secret",
    "ssh",
    "symlink",
    "tmpfs",
]
