"""A Mopyfile as a graph."""

from __future__ import annotations

import json
import shlex
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import quote, urlsplit, urlunsplit

from pintle import Host, Mount, Ran, ResolvedImage, Result, State, bind, cache, copy, ssh

from .mopyfile import Index, Mopyfile

#: The user that applications run as; the number is that of distroless images.
USER = 65532
HOME = "/home/nonroot"
#: Where pip puts what it installs for root.
INSTALLED = "/root/.local"

BUILD_ENV = {
    "PIP_DISABLE_PIP_VERSION_CHECK": "1",
    "PIP_NO_WARN_SCRIPT_LOCATION": "0",
    "PIP_USER": "1",
    "GIT_SSH_COMMAND": "ssh -o StrictHostKeyChecking=no",
}

#: Removes what an image has no use for: tests, compiled files, symbols.
CLEAN = f"""\
find {INSTALLED}/lib -depth \\( -name tests -o -name __pycache__ \\) -type d -exec rm -r {{}} +
find {INSTALLED}/lib -name '*.so' -exec sh -c 'file "$1" | grep -q "not stripped" && strip -s "$1"' sh {{}} \\;"""


class Lowering:
    """Lowers a Mopyfile for one platform."""

    def __init__(self, cx: Host, mopyfile: Mopyfile, platform: str) -> None:
        self.cx = cx
        self.file = mopyfile
        self.platform = platform
        references = [f"docker.io/library/python:{mopyfile.python}{suffix}" for suffix in ("", "-slim")]
        self.builder, self.base = cx.resolve_images(references, platform=platform)
        self.context = cx.local("context", include=self.paths(), shared_key="context", name="load context")

    def paths(self) -> list[str]:
        """What of the context is needed; all of it where that is the project."""
        paths = [dependency.text.removeprefix("./").rstrip("/") for dependency in self.file.pip if dependency.is_local]
        if self.file.project is not None:
            paths.append(self.file.project.path)
        return [] if "." in paths or "" in paths else sorted(set(paths))

    def image(self) -> Result:
        """The image."""
        state = self.image_of(self.base, "base image")
        user = f"useradd --uid={USER} --user-group --home-dir={HOME} --create-home nonroot"
        state = self.sh(state, user, variables(self.base), name="add user nonroot").root()
        if self.file.pip:
            packages = copy(self.packages(), INSTALLED, f"{HOME}/.local", owner=f"{USER}:{USER}")
            state = state.file([packages], name="copy packages")
        return Result(self.with_project(state), self.config())

    def image_of(self, image: ResolvedImage, name: str) -> State:
        return self.cx.image(image.reference, platform=self.platform, name=f"{name} {image.reference}")

    def sh(self, state: State, command: str, env: dict[str, str], name: str, mounts: list[Mount] | None = None) -> Ran:
        return state.run(["/bin/sh", "-ec", command], env=env, mounts=mounts or [], cwd="/", name=name)

    def packages(self) -> State:
        """A tree where pip has installed everything."""
        env = {**variables(self.builder), **BUILD_ENV, **self.file.envs}
        state = self.image_of(self.builder, "build image")
        debian = [*(["git-lfs"] if any(dependency.is_git for dependency in self.file.pip) else []), *self.file.build_deps]
        if debian:
            caches = [cache(path, path, sharing="locked") for path in ("/var/cache/apt", "/var/lib/apt")]
            install = f"apt-get update\napt-get install -y {shlex.join(debian)}"
            state = self.sh(state, install, env, f"apt-get install {' '.join(debian)}", caches).root()
        mounts = [cache("/root/.cache", "/root/.cache")]
        if any(dependency.is_ssh for dependency in self.file.pip):
            mounts.append(ssh("/run/buildkit/ssh_agent.0"))
            env["SSH_AUTH_SOCK"] = "/run/buildkit/ssh_agent.0"
        words = [word for index in self.file.indices for word in index_words(index)]
        for number, dependency in enumerate(self.file.pip):
            target = f"/tmp/{number}"
            if dependency.is_local:
                mounts.append(bind(target, self.context, selector=f"/{dependency.text[2:]}", output=False))
            words.extend(["-r", target] if dependency.is_requirements else [target if dependency.is_local else dependency.text])
        name = f"pip install {' '.join(dependency.public for dependency in self.file.pip)}"
        places = [dependency.at for dependency in self.file.pip]
        command = ["/bin/sh", "-ec", f"pip install {shlex.join(words)}"]
        state = state.run(command, env=env, mounts=mounts, cwd="/", name=name, at=places).root()
        return self.sh(state, CLEAN, env, "remove tests and compiled files").root()

    def target(self) -> str:
        """Where the project goes."""
        assert self.file.project is not None
        return str(PurePosixPath(HOME, PurePosixPath(self.file.project.path).name))

    def with_project(self, state: State) -> State:
        project = self.file.project
        if project is None:
            return state
        is_all = project.path == "."
        action = copy(self.context, f"/{project.path}", self.target(), owner=f"{USER}:{USER}", contents_only=is_all)
        return state.file([action], name=f"copy {project.path}", at=project.at)

    def config(self) -> dict[str, Any]:
        """The image config: that of the base, and what the file says."""
        config = dict(self.base.config.get("config") or {})
        env = {**variables(self.base), "PYTHONUNBUFFERED": "1", **self.file.envs}
        config["Env"] = [f"{name}={value}" for name, value in env.items()]
        config["User"] = f"{USER}:{USER}"
        config["Labels"] = {**(config.get("Labels") or {}), **self.labels()}
        if self.file.project is not None:
            is_file = self.file.project.path.endswith(".py")
            config["Entrypoint"] = ["python"]
            config["WorkingDir"] = HOME if is_file else self.target()
            config["Cmd"] = [self.target() if is_file else "main.py"]
        os, architecture, *variant = self.platform.split("/")
        made = {"os": os, "architecture": architecture, "config": config}
        return {**made, "variant": variant[0]} if variant else made

    def labels(self) -> dict[str, str]:
        labels = {
            "org.opencontainers.image.description": "autogenerated by mopy",
            "moby.buildkit.frontend": "mopy",
            "mopy.version": "v1",
            "mopy.python.version": self.file.python,
        }
        sbom = json.dumps([dependency.public for dependency in self.file.pip])
        if self.file.sbom:
            labels["mopy.sbom"] = sbom
        own = {name: value.replace("${mopy.sbom}", sbom) for name, value in self.file.labels.items()}
        return {**labels, **own}


def variables(image: ResolvedImage) -> dict[str, str]:
    """The environment of an image."""
    env = (image.config.get("config") or {}).get("Env") or []
    return dict(entry.partition("=")[::2] for entry in env)


def index_words(index: Index) -> list[str]:
    """The options of pip for an index."""
    url = urlsplit(index.url)
    host = url.netloc
    if index.username:
        password = f":{quote(index.password, safe='')}" if index.password else ""
        url = url._replace(netloc=f"{quote(index.username, safe='')}{password}@{host}")
    trust = ["--trusted-host", host] if index.trust else []
    return ["--extra-index-url", urlunsplit(url), *trust]


