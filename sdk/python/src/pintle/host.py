"""What a frontend may ask of the engine."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypedDict

from . import _wit
from ._attrs import Places, VertexOptions, attrs, places, text
from ._wit import Content, FileInfo, Location, SourceMeta
from .error import FrontendError, calling, from_host
from .state import State, located

if TYPE_CHECKING:
    from typing import Unpack

ImageConfig = dict[str, Any]
ResolveMode = Literal["default", "pull", "local"]


class ImageOptions(VertexOptions, total=False):
    """Options of :meth:`Host.image`, which says what each means."""

    resolve_mode: ResolveMode
    checksum: str
    layer_limit: int
    record_type: Literal["internal", "frontend"]


class BlobOptions(VertexOptions, total=False):
    """Options of :meth:`Host.image_blob`, which says what each means."""

    filename: str
    mode: int
    uid: int
    gid: int


class OciLayoutOptions(VertexOptions, total=False):
    """Options of :meth:`Host.oci_layout`, which says what each means."""

    session: str
    store: str
    layer_limit: int


class OciLayoutBlobOptions(BlobOptions, total=False):
    """Options of :meth:`Host.oci_layout_blob`, which says what each means."""

    session: str
    store: str


class LocalOptions(VertexOptions, total=False):
    """Options of :meth:`Host.local`, which says what each means."""

    include: Sequence[str]
    exclude: Sequence[str]
    follow: Sequence[str]
    shared_key: str
    differ: Literal["none", "metadata"]
    session: str
    unique: str
    metadata_only: bool
    metadata_only_except: Sequence[str]


class GitOptions(VertexOptions, total=False):
    """Options of :meth:`Host.git`, which says what each means."""

    full_url: str
    keep_git_dir: bool
    checksum: str
    skip_submodules: bool
    mtime: Literal["checkout", "commit"]
    fetch_by_commit: bool
    bundle: str
    checkout_bundle: bool
    auth_token_secret: str
    auth_header_secret: str
    known_ssh_hosts: str
    mount_ssh_sock: str
    signature_key: str
    signature_reject_expired: bool
    signature_require_tag: bool
    signature_ignore_tag: bool


class HttpOptions(VertexOptions, total=False):
    """Options of :meth:`Host.http`, which says what each means."""

    checksum: str
    filename: str
    mode: int
    uid: int
    gid: int
    auth_header_secret: str
    header: Mapping[str, str]
    signature_key: str
    signature: str


class ResolveOptions(TypedDict, total=False):
    """Options of :meth:`Host.resolve` and :meth:`Host.resolve_images`."""

    platform: str | None
    resolve_mode: ResolveMode | None
    no_config: bool
    log_name: str
    objects: bool
    attrs: Mapping[str, str]


class SourceQuery(ResolveOptions):
    """A source to pin down."""

    identifier: str
    """As :meth:`Host.source` takes it."""


@dataclass(frozen=True)
class ResolvedImage:
    """An image that was resolved."""

    #: For :meth:`Host.image`: with its digest where that is known.
    reference: str
    digest: str
    config: ImageConfig


class Host:
    """What a frontend may ask of the engine."""

    def supports(self, feature: str) -> bool:
        """Whether this host knows a word of `attributes.md`, or a kind: `source.git`, `exec.hostname`."""
        known: bool = _wit.llb.supports(text(feature, "feature"))
        return known

    def scratch(self) -> State:
        """An empty tree."""
        return State(None)

    def image(self, reference: str, /, **options: Unpack[ImageOptions]) -> State:
        """The files of an image.

        Options, besides those of :class:`VertexOptions`:

        - resolve_mode: Whether the registry is asked; not given: default.
        - checksum: Digest that the image must have.
        - layer_limit: Only so many layers, from the lowest.
        - record_type: Kind of cache record.
        """
        return self._source(f"docker-image://{text(reference, 'reference of an image')}", options)

    def image_blob(self, reference: str, /, **options: Unpack[BlobOptions]) -> State:
        """A blob of an image's repository as a file: `registry.example/name@sha256:...`.

        Options, besides those of :class:`VertexOptions`:

        - filename: Name of the file.
        - mode: Of the file; not given: 600.
        - uid: Of the file; not given: 0.
        - gid: Of the file; not given: 0.
        """
        return self._source(f"docker-image+blob://{text(reference, 'reference of a blob')}", options)

    def oci_layout(self, reference: str, /, **options: Unpack[OciLayoutOptions]) -> State:
        """The files of an image in a layout of the user's.

        Options, besides those of :class:`VertexOptions`:

        - session: Session that holds the layout.
        - store: Name of the layout in the session.
        - layer_limit: Only so many layers, from the lowest.
        """
        return self._source(f"oci-layout://{text(reference, 'reference of an image')}", options)

    def oci_layout_blob(self, reference: str, /, **options: Unpack[OciLayoutBlobOptions]) -> State:
        """A blob of a layout of the user's, as a file.

        Options, besides those of :class:`VertexOptions`:

        - filename: Name of the file.
        - mode: Of the file; not given: 600.
        - uid: Of the file; not given: 0.
        - gid: Of the file; not given: 0.
        - session: Session that holds the layout.
        - store: Name of the layout in the session.
        """
        return self._source(f"oci-layout+blob://{text(reference, 'reference of a blob')}", options)

    def local(self, name: str, /, **options: Unpack[LocalOptions]) -> State:
        """A directory of the user's by its name: `context`, `dockerfile`.

        Options, besides those of :class:`VertexOptions`:

        - include: Only what matches one of these patterns.
        - exclude: Not what matches one of these patterns.
        - follow: Also what these paths lead to through symlinks.
        - shared_key: Names the mirror that transfers share.
        - differ: How changed files are told: by their metadata, or all are sent.
        - session: Session to read from.
        - unique: Makes the vertex differ from its like.
        - metadata_only: Send names and metadata, no contents.
        - metadata_only_except: Send contents of what matches all the same.
        """
        return self._source(f"local://{text(name, 'name of a directory')}", options)

    def git(self, remote: str, /, **options: Unpack[GitOptions]) -> State:
        """A git repository: `https://host/repository.git#ref:subdir`.

        Options, besides those of :class:`VertexOptions`:

        - full_url: The URL as the user wrote it, with its transport.
        - keep_git_dir: Leave .git in the tree.
        - checksum: Commit, or a prefix of it, that the ref must have.
        - skip_submodules: Leave submodules out.
        - mtime: Which time files get.
        - fetch_by_commit: Ask the server for the checksum, not for the ref.
        - bundle: Read from this bundle instead of the server.
        - checkout_bundle: Give a bundle instead of a tree.
        - auth_token_secret: Id of the secret with a token.
        - auth_header_secret: Id of the secret with a whole header.
        - known_ssh_hosts: Lines of a known_hosts file.
        - mount_ssh_sock: Id of the agent to forward.
        - signature_key: PGP or SSH key that must have signed the commit or tag.
        - signature_reject_expired: An expired key is no key.
        - signature_require_tag: The tag must be signed.
        - signature_ignore_tag: Only the commit's signature counts.
        """
        bare = re.sub(r"^[a-z+]+://", "", text(remote, "remote"))
        return self._source(f"git://{bare}", {"full_url": remote.split("#")[0], **options})

    def http(self, url: str, /, **options: Unpack[HttpOptions]) -> State:
        """A file of a web server.

        Options, besides those of :class:`VertexOptions`:

        - checksum: Digest that the file must have.
        - filename: Name of the file.
        - mode: Of the file; not given: 600.
        - uid: Of the file; not given: 0.
        - gid: Of the file; not given: 0.
        - auth_header_secret: Id of the secret with the Authorization header.
        - header: Headers of the request.
        - signature_key: PGP key that must have signed the file.
        - signature: The detached signature.
        """
        return self._source(text(url, "url"), options)

    def source(self, identifier: str, /, **options: Any) -> State:
        """A source by its URL."""
        return self._source(text(identifier, "identifier"), options)

    def _source(self, identifier: str, options: Mapping[str, Any]) -> State:
        with calling(options):
            return State(located(_wit.llb.add_source(identifier, attrs(options)), options))

    def definition(self, definition: bytes) -> State:
        """Takes in a ready-made graph, BuildKit's `pb.Definition`."""
        with calling():
            return State(_wit.llb.add_definition(bytes(definition)))

    def source_file(self, name: str, language: str, content: str, definition: State | None = None) -> SourceFile:
        """Tells the host about a source text, so that errors can show its lines."""
        edge = definition.edge if definition else None
        wit = _wit.Content_Text(text(content, "a source text"))
        with calling():
            file: int = _wit.llb.add_source_file(text(name, "name"), text(language, "language"), wit, edge)
        return SourceFile(file, content)

    def solve(self, state: State) -> Ref:
        """The result of a tree, built when it is first read."""
        with calling():
            return Ref(_wit.host.solve(state.edge, []))

    def solve_frontend(
        self, source: str, opts: Mapping[str, str] | None = None, inputs: Mapping[str, State] | None = None
    ) -> Solved:
        """Builds another frontend inside this one; `source` names it as a `# syntax=` line does."""
        words = [(text(key, "an option"), text(value, key)) for key, value in (opts or {}).items()]
        edges = [(text(name, "an input"), state.edge) for name, state in (inputs or {}).items()]
        with calling():
            solved = _wit.host.solve_frontend(text(source, "source"), words, edges)
        refs = {platform: Ref(ref) for platform, ref in solved.refs}
        return Solved(refs, {key: value.value for key, value in solved.metadata})

    def resolve(self, queries: Sequence[SourceQuery]) -> list[SourceMeta | FrontendError]:
        """Pins sources down, all at once.

        Answers stand in the order of the questions; what could not be pinned is an error there."""
        wit = [
            _wit.SourceQuery(
                text(query["identifier"], "identifier of a query"),
                query.get("platform"),
                attrs(query, ["identifier", "platform"]),
            )
            for query in queries
        ]
        answers = _wit.host.resolve_sources(wit)
        return [from_host(answer.value) if isinstance(answer, _wit.Err) else answer.value for answer in answers]

    def resolve_images(self, references: Sequence[str], **options: Unpack[ResolveOptions]) -> list[ResolvedImage]:
        """Looks images up, all at once.

        Options:

        - platform: os/arch[/variant] that is wanted.
        - resolve_mode: Whether the registry is asked.
        - no_config: Do not fetch the image's config.
        - log_name: Shown in the progress.
        - objects: Of a git source: answer the commit, and an annotated tag, as git stores them.
        - attrs: Options of the source by their words.
        """
        queries: list[SourceQuery] = [
            {"identifier": f"docker-image://{text(reference, 'reference')}", **options} for reference in references
        ]
        resolved = []
        for meta in self.resolve(queries):
            if isinstance(meta, FrontendError):
                raise meta
            reference = meta.identifier.removeprefix("docker-image://")
            resolved.append(ResolvedImage(reference, meta.digest, json.loads(meta.config or "{}")))
        return resolved

    def log(self, level: Literal["debug", "info", "warn", "error"], message: str) -> None:
        """A line for the build's log. What is printed is logged too."""
        _wit.host.log(level, text(message, "message"))

    def warn(
        self,
        message: str,
        *,
        level: int | None = None,
        detail: Sequence[str] = (),
        url: str | None = None,
        about: State | None = None,
        at: Places | None = None,
    ) -> None:
        """A warning for the user.

        A larger `level` is louder, `detail` is longer texts, a line each, `about` is the tree that it is about."""
        vertex = None if about is None or about.edge is None else about.edge.vertex
        words = attrs({"level": level, "detail": detail, "url": url})
        with calling():
            _wit.host.warn(vertex, text(message, "message"), places(at), words)


class SourceFile:
    """A source text that the host knows."""

    def __init__(self, file: int, content: str) -> None:
        self._file = file
        self._content = content

    def at(self, start: int, end: int | None = None) -> Location:
        """The place of the characters from `start` up to and without `end`, by their index in the text."""
        first_line, first_column = self._position(start)
        last_line, last_column = self._position(max(start, (start + 1 if end is None else end) - 1))
        return _wit.Location(self._file, first_line, first_column, last_line, last_column)

    def location(self, start: tuple[int, int], end: tuple[int, int]) -> Location:
        """The place of what lies from `start` to `end`, both included.

        Both are line and column: lines from 1, columns from 0 in bytes of UTF-8."""
        return _wit.Location(self._file, *start, *end)

    def _position(self, index: int) -> tuple[int, int]:
        before = self._content[:index]
        begin = before.rfind("\n") + 1
        return before.count("\n") + 1, len(before[begin:].encode())


class Ref:
    """A lazy result."""

    def __init__(self, ref: Any) -> None:
        self._ref = ref

    def start(self) -> None:
        """Begins in the background. Start several, then read: that is how a frontend builds in parallel."""
        self._ref.start()

    def wait(self) -> None:
        """Waits until it is built."""
        with calling():
            self._ref.wait()

    def read_file(self, path: str) -> bytes:
        """A file's bytes."""
        with calling():
            content: bytes = self._ref.read_file(text(path, "path"))
        return content

    def read_range(self, path: str, offset: int, length: int) -> bytes:
        """At most `length` bytes from `offset`."""
        with calling():
            content: bytes = self._ref.read_range(text(path, "path"), offset, length)
        return content

    def read_text(self, path: str) -> str:
        """A file's text."""
        with calling():
            content: str = self._ref.read_text(text(path, "path"))
        return content

    def read_dir(self, path: str, *, include: str | None = None) -> list[FileInfo]:
        """The entries of a directory; `include` is a pattern for their names."""
        with calling():
            entries: list[FileInfo] = self._ref.read_dir(text(path, "path"), attrs({"include": include}))
        return entries

    def stat(self, path: str) -> FileInfo:
        """What is at `path`."""
        with calling():
            info: FileInfo = self._ref.stat(text(path, "path"))
        return info

    def state(self) -> State:
        """What it was made from, to build on."""
        with calling():
            return State(self._ref.target())


@dataclass(frozen=True)
class Solved:
    """What another frontend made."""

    #: By platform, "" when there is one only.
    refs: dict[str, Ref]
    metadata: dict[str, str | bytes]


__all__ = ["Content", "Host", "ImageConfig", "Ref", "ResolvedImage", "Solved", "SourceFile", "SourceMeta", "SourceQuery"]
