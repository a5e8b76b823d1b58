"""Mopyfiles as a build language."""

from pintle import FrontendError, Host, Output, Platforms, Request
from pintle import Frontend as Language

from .lower import Lowering
from .mopyfile import Mopyfile, parse

#: The file that is read unless option `filename` names another.
FILENAME = "Mopyfile.yaml"


class Mopy(Language):
    """The language."""

    def build(self, cx: Host, request: Request) -> Output:
        filename = request.opt("filename") or FILENAME
        mopyfile = read(cx, filename)
        each = {platform: Lowering(cx, mopyfile, platform).image() for platform in request.platforms()}
        [first, *others] = each.values()
        return Platforms(each) if others else first


def read(cx: Host, filename: str) -> Mopyfile:
    """Reads the file, and tells the host about it so that errors show its lines."""
    local = cx.local("dockerfile", follow=[filename], shared_key="dockerfile", name=f"load {filename}")
    try:
        text = cx.solve(local).read_text(filename)
    except FrontendError as error:
        if error.code != "not-found":
            raise
        raise FrontendError(f"no {filename}: name it with -f", code="not-found") from None
    return parse(text, filename, cx.source_file(filename, "yaml", text, local))


frontend = Mopy()
