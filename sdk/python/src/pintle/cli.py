"""Builds frontends written in Python as components."""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

#: The interface, beside this module.
WIT = Path(__file__).parent / "wit"

#: What a component begins with: everything that runs later has to be imported here, for inside there are no files.
ENTRY = """\
from pintle.frontend import World
from {module} import {name} as language

if isinstance(language, type) or not callable(getattr(language, "build", None)):
    raise TypeError("{module}:{name} is no frontend: it wants a method `build`, as an object of a class of `pintle.Frontend` has")


class WitWorld(World):
    def __init__(self):
        super().__init__(language)
"""

#: Runs the tool of the package that this one depends on, whatever PATH is.
COMPONENTIZE = [sys.executable, "-c", "import sys, componentize_py; sys.exit(componentize_py.script())"]


def main(argv: list[str] | None = None) -> int:
    """The command `pintle-py`."""
    parser = argparse.ArgumentParser(prog="pintle-py", description=__doc__)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("build", help="make a component of a module")
    command.add_argument("entry", metavar="MODULE[:OBJECT]", help="where the frontend is; OBJECT is `frontend` when not given")
    command.add_argument("-o", "--output", type=Path, metavar="FILE", help="MODULE.wasm when not given")
    command.add_argument("-q", "--quiet", action="store_true", help="do not say what was made")
    command.add_argument("-p", "--path", default=".", type=Path, metavar="DIR", help="where the module is")
    arguments = parser.parse_args(argv)
    module, _, name = arguments.entry.partition(":")
    output = arguments.output or Path(f"{module}.wasm")
    code = build(module, name or "frontend", arguments.path, output)
    if code == 0 and not arguments.quiet:
        print(f"{output}: {output.stat().st_size} bytes")
    return code


def build(module: str, name: str, path: Path, output: Path) -> int:
    """Makes a component; answers the exit code."""
    if not all(word.isidentifier() for word in [*module.split("."), name]):
        print(f"pintle-py: {module}:{name} is no module and object", file=sys.stderr)
        return 2
    output.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="pintle-py-") as directory:
        Path(directory, "pintle_entry.py").write_text(ENTRY.format(module=module, name=name))
        own = Path(__file__).parent.parent
        paths = list(dict.fromkeys([path, Path(directory), own, Path(sysconfig.get_path("purelib"))]))
        options = [word for directory in paths for word in ("-p", str(directory))]
        words = ["-q", "-d", str(WIT.resolve()), "-w", "frontend", "componentize", *options, "-o", str(output), "pintle_entry"]
        # Other variables make the tool look for packages elsewhere too, or write a backtrace of its own.
        environment = {key: value for key, value in os.environ.items() if key in ("PATH", "HOME", "TMPDIR")}
        made = subprocess.run([*COMPONENTIZE, *words], capture_output=True, text=True, env=environment)
    if made.returncode != 0:
        print(_reason(made.stderr, paths), file=sys.stderr)
        return 1
    return 0


def _reason(said: str, paths: list[Path]) -> str:
    """What the module itself said, without the tool's frames around it, and with files where they are: the tool calls paths by numbers."""
    said = said.partition("AssertionError: ")[2] or said
    said = said.partition("\nStack backtrace:")[0].partition("\nCaused by:")[0].strip()
    said = re.sub(r'  File "[^"\n]*/pintle_entry.py".*\n    .*\n', "", said)
    said = re.sub(r"^Traceback \(most recent call last\):\n(?! )", "", said)

    def found(match: re.Match[str]) -> str:
        number = int(match[1])
        return str(paths[number] / match[2]) if number < len(paths) else match[0]

    return re.sub(r"(?<=[\"(])/(\d+)/([^\"()\n]+)", found, said)


if __name__ == "__main__":
    sys.exit(main())
