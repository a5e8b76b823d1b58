"""Mopyfiles as they are written."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import List, TypeVar
from urllib.parse import urlsplit

import yaml
from pintle import FrontendError, Location, SourceFile

T = TypeVar("T")

VERSION = re.compile(r"[23](\.\d{1,2}){0,2}")
BOOL = "tag:yaml.org,2002:bool"
NULL = "tag:yaml.org,2002:null"


@dataclass(frozen=True)
class Index:
    """A package index beside PyPI."""

    url: str
    username: str = ""
    password: str = ""
    trust: bool = False


@dataclass(frozen=True)
class Dependency:
    """Something for pip to install."""

    text: str
    at: Location

    @property
    def is_local(self) -> bool:
        """Whether it is a path of the context."""
        return self.text.startswith("./")

    @property
    def is_requirements(self) -> bool:
        """Whether it is a file that lists others."""
        return self.is_local and self.text.endswith("/requirements.txt")

    @property
    def is_git(self) -> bool:
        """Whether pip needs git for it."""
        return self.text.startswith("git+")

    @property
    def is_ssh(self) -> bool:
        """Whether git needs an agent for it."""
        return self.text.startswith("git+ssh://")

    @property
    def public(self) -> str:
        """Its text without a password."""
        if self.is_ssh or self.is_local or "://" not in self.text:
            return self.text
        return self.text.replace(urlsplit(self.text).netloc, urlsplit(self.text).netloc.rpartition("@")[2], 1)


@dataclass(frozen=True)
class Project:
    """The application: a file, or a directory with `main.py`."""

    path: str
    at: Location


@dataclass
class Mopyfile:
    """What a Mopyfile says."""

    python: str = "3.9"
    build_deps: list[str] = field(default_factory=list)
    envs: dict[str, str] = field(default_factory=dict)
    indices: list[Index] = field(default_factory=list)
    pip: list[Dependency] = field(default_factory=list)
    sbom: bool = True
    labels: dict[str, str] = field(default_factory=dict)
    project: Project | None = None


def parse(text: str, filename: str, source: SourceFile) -> Mopyfile:
    """Reads a Mopyfile; an error has the place of what is wrong."""
    try:
        node = yaml.compose(text, Loader=yaml.SafeLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        at = source.at(mark.index) if mark and mark.index is not None else None
        raise FrontendError(f"{filename}: {error.problem or error.context}", at=at) from None
    except yaml.YAMLError as error:
        raise FrontendError(f"{filename}: {error}") from None
    return Reader(filename, source).mopyfile(node)


class Reader:
    """Reads nodes of YAML, and says where one is not what it is to be."""

    def __init__(self, filename: str, source: SourceFile) -> None:
        self.filename = filename
        self.source = source

    def mopyfile(self, node: yaml.Node | None) -> Mopyfile:
        """The whole file."""
        if node is None:
            raise FrontendError(f"{self.filename}: empty: say at least which python")
        made = Mopyfile()
        readers: dict[str, Callable[[yaml.Node], None]] = {
            "apiVersion": lambda value: self.check_version(value),
            "python": lambda value: setattr(made, "python", self.python(value)),
            "build-deps": lambda value: setattr(made, "build_deps", self.list(value, self.text)),
            "envs": lambda value: setattr(made, "envs", self.texts(value)),
            "indices": lambda value: setattr(made, "indices", self.list(value, self.index)),
            "pip": lambda value: setattr(made, "pip", self.list(value, self.dependency)),
            "sbom": lambda value: setattr(made, "sbom", self.truth(value)),
            "labels": lambda value: setattr(made, "labels", self.texts(value)),
            "project": lambda value: setattr(made, "project", self.project(value)),
        }
        for key, value in self.entries(node, "the file"):
            reader = readers.get(key.value)
            if reader is None:
                raise self.error(key, f"unknown key {key.value}; there are {', '.join(readers)}")
            reader(value)
        return made

    def at(self, node: yaml.Node) -> Location:
        """The place of a node."""
        return self.source.at(node.start_mark.index, node.end_mark.index)

    def error(self, node: yaml.Node, why: str) -> FrontendError:
        """An error with a node's place."""
        return FrontendError(f"{self.filename}: {why}", at=self.at(node))

    def check_version(self, node: yaml.Node) -> None:
        """Refuses a version that is not known."""
        if self.text(node) != "v1":
            raise self.error(node, f"apiVersion {node.value}: this frontend reads v1")

    def python(self, node: yaml.Node) -> str:
        """A version of Python, as it is written: 3.10 is no number."""
        if not VERSION.fullmatch(self.text(node)):
            raise self.error(node, f"python {node.value}: want 3, 3.9 or 3.9.1")
        return str(node.value)

    def index(self, node: yaml.Node) -> Index:
        """An entry of `indices`."""
        values: dict[str, str] = {}
        trust = False
        for key, value in self.entries(node, "an index"):
            if key.value == "trust":
                trust = self.truth(value)
            elif key.value in ("url", "username", "password"):
                values[key.value] = self.text(value)
            else:
                raise self.error(key, f"unknown key {key.value}; an index has url, username, password and trust")
        if urlsplit(values.get("url", "")).scheme not in ("http", "https"):
            raise self.error(node, "an index needs an http or https url")
        return Index(**values, trust=trust)

    def dependency(self, node: yaml.Node) -> Dependency:
        """An entry of `pip`."""
        dependency = Dependency(self.text(node).strip(), self.at(node))
        if dependency.text.startswith("/") or not dependency.text:
            raise self.error(node, f"pip {node.value}: a path of the context begins with ./")
        if dependency.text.startswith("-"):
            raise self.error(node, f"pip {node.value}: want a package, and no option; a file of them is ./PATH/requirements.txt")
        if dependency.is_local and ".." in dependency.text.split("/"):
            raise self.error(node, f"pip {node.value}: leads out of the context")
        return dependency

    def project(self, node: yaml.Node) -> Project:
        """`project`."""
        path = self.text(node)
        if path.startswith("/") or ".." in path.split("/"):
            raise self.error(node, f"project {path}: want a path inside of the context")
        return Project(path.removeprefix("./").rstrip("/") or ".", self.at(node))

    def text(self, node: yaml.Node) -> str:
        """A string, a number or a truth value, as it is written."""
        if not isinstance(node, yaml.ScalarNode) or node.tag == NULL:
            raise self.error(node, "want a string")
        return str(node.value)

    def truth(self, node: yaml.Node) -> bool:
        """true or false."""
        if node.tag != BOOL:
            raise self.error(node, "want true or false")
        return str(node.value).lower() in ("true", "yes", "on")

    def list(self, node: yaml.Node, read: Callable[[yaml.Node], T]) -> List[T]:
        """A list."""
        if node.tag == NULL:
            return []
        if not isinstance(node, yaml.SequenceNode):
            raise self.error(node, "want a list: a line for each entry, which begins with -")
        return [read(item) for item in node.value]

    def texts(self, node: yaml.Node) -> dict[str, str]:
        """A map of strings."""
        return {key.value: self.text(value) for key, value in self.entries(node, "a value")}

    def entries(self, node: yaml.Node, what: str) -> List[tuple[yaml.Node, yaml.Node]]:
        """The entries of a map, of which none stands twice."""
        if node.tag == NULL:
            return []
        if not isinstance(node, yaml.MappingNode):
            raise self.error(node, f"{what}: want keys and values")
        seen: set[str] = set()
        for key, _ in node.value:
            if self.text(key) in seen:
                raise self.error(key, f"{key.value} stands there twice")
            seen.add(key.value)
        return list(node.value)
