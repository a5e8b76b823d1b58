"""Trees of files, not built yet."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

from . import _wit
from ._attrs import VertexOptions, attrs, places, text
from ._wit import Edge
from .error import calling
from .file import FileAction, content_of
from .mount import Mount, ordered

if TYPE_CHECKING:
    from typing import Unpack


class RunOptions(VertexOptions, total=False):
    """Options of a command."""

    env: Mapping[str, str]
    mounts: Sequence[Mount]
    cwd: str
    user: str
    network: Literal["sandbox", "host", "none"]
    security: Literal["sandbox", "insecure"]
    hostname: str
    readonly_root: bool
    no_root_output: bool
    valid_exit_code: Sequence[int]
    extra_host: Sequence[str]
    ulimit: Sequence[str]
    cgroup_parent: str
    device: Sequence[str]
    optional_device: Sequence[str]
    proxy_http: str
    proxy_https: str
    proxy_ftp: str
    proxy_no: str
    proxy_all: str
    keep_mount_stubs: bool


def located(edge: Edge, options: Mapping[str, Any]) -> Edge:
    """Says where a new vertex comes from."""
    where = places(options.get("at"))
    if where:
        with calling():
            _wit.llb.locate(edge.vertex, where)
    return edge


class State:
    """A tree of files, not built yet: an output of a vertex, or nothing at all."""

    __slots__ = ("edge",)

    def __init__(self, edge: Edge | None) -> None:
        #: The edge in the host's graph; None is an empty tree.
        self.edge = edge

    def __eq__(self, other: object) -> bool:
        return isinstance(other, State) and self.edge == other.edge

    def __repr__(self) -> str:
        return f"State({self.edge})"

    def run(self, args: Sequence[str], **options: Unpack[RunOptions]) -> Ran:
        """Runs a command with this as its root filesystem.

        Options, besides those of :class:`VertexOptions`:

        - env: Environment variables, in order.
        - mounts: Mounts of the command: of `bind`, `cache`, `tmpfs`, `secret` and `ssh`.
        - cwd: Working directory, absolute.
        - user: user[:group], names or numbers.
        - network: Which network; not given: sandbox.
        - security: Which restrictions; not given: sandbox.
        - hostname: Host name inside.
        - readonly_root: The root filesystem is not writable.
        - no_root_output: What the command wrote to the root filesystem is dropped.
        - valid_exit_code: Codes that count as success; 0 does not, unless given too.
        - extra_host: Lines of /etc/hosts: NAME=IP.
        - ulimit: NAME=SOFT[:HARD].
        - cgroup_parent: Parent of the step's cgroup.
        - device: CDI names of devices.
        - optional_device: CDI names of devices that may be missing.
        - proxy_http: http_proxy of the process; not part of the cache key.
        - proxy_https: https_proxy, likewise.
        - proxy_ftp: ftp_proxy, likewise.
        - proxy_no: no_proxy, likewise.
        - proxy_all: all_proxy, likewise.
        - keep_mount_stubs: Leave parents of mount points that had to be made.
        """
        if isinstance(args, str):
            raise TypeError('args of run: want a list; for a shell\'s command give ["sh", "-c", command]')
        words = [text(arg, "an argument of run") for arg in args]
        mounts = ordered(options.get("mounts", ()))
        env = [(text(name, "a variable"), text(value, name)) for name, value in options.get("env", {}).items()]
        wit = [mount.wit for mount in mounts]
        with calling(options):
            edge = _wit.llb.add_exec(self.edge, words, env, wit, attrs(options, ["env", "mounts"]))
        located(edge, options)
        return Ran(edge.vertex, self, mounts, options.get("readonly_root", False))

    def file(self, actions: Sequence[FileAction], **options: Unpack[VertexOptions]) -> State:
        """Changes files, in order, as one vertex."""
        with calling(options):
            edge = _wit.llb.add_file(self.edge, [action.wit for action in actions], attrs(options))
        return State(located(edge, options))


class Ran:
    """A command that is in the graph."""

    def __init__(self, vertex: int, before: State, mounts: Sequence[Mount], readonly_root: bool) -> None:
        self._vertex = vertex
        self._before = before
        self._mounts = mounts
        self._readonly_root = readonly_root

    def root(self) -> State:
        """The root filesystem as the command left it."""
        return self._before if self._readonly_root else State(_wit.Edge(self._vertex, 0))

    def mount(self, target: str) -> State | None:
        """The tree mounted at `target` as the command left it; None where there is none, or none whose contents are kept."""
        files = [mount for mount in self._mounts if not (mount.wit.kind == "secret" and mount.wit.target == "")]
        for at, mount in enumerate(files):
            if mount.wit.target == target and mount.wit.kind == "bind":
                if mount.unchanged is not None:
                    return mount.unchanged
                return None if ("output", "false") in mount.wit.attrs else State(_wit.Edge(self._vertex, at + 1))
        return None


def merge(inputs: Sequence[State], **options: Unpack[VertexOptions]) -> State:
    """Lays trees over each other, the last on top."""
    edges = [state.edge for state in inputs if state.edge is not None]
    if len(edges) < 2:
        return State(edges[0] if edges else None)
    with calling(options):
        return State(located(_wit.llb.add_merge(edges, attrs(options)), options))


def diff(lower: State, upper: State, **options: Unpack[VertexOptions]) -> State:
    """What `upper` has and `lower` has not."""
    with calling(options):
        return State(located(_wit.llb.add_diff(lower.edge, upper.edge, attrs(options)), options))


def op(
    kind: str,
    inputs: Sequence[State] = (),
    params: Mapping[str, str] | None = None,
    content: str | bytes | None = None,
    **options: Unpack[VertexOptions],
) -> State:
    """An operation that has no function here: `op("passthrough", [first, second])` hands its first input on once all are built.

    `params` are words of the kind; `content` is the definition of a `build`."""
    words = [(text(word, "a parameter"), text(value, word)) for word, value in (params or {}).items()]
    wit = None if content is None else content_of(content)
    with calling(options):
        edge = _wit.llb.add_op(kind, [state.edge for state in inputs], words, wit, attrs(options))
    return State(located(edge, options))
