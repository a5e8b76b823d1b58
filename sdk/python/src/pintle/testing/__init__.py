"""A host of scripted images and files, for unit tests of frontends."""

from .fake import Built, FakeHost, Logged

__all__ = ["Built", "FakeHost", "Logged"]
