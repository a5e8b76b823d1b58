"""Stands in for the component's modules in tests: hands each call to the fake host that builds now."""

from __future__ import annotations

from typing import Any

building: Any = None


class Calls:
    """A module of the interface."""

    def __getattr__(self, name: str) -> Any:
        if building is None:
            raise RuntimeError("a host is there only in a component, and while FakeHost.build runs")
        return getattr(building, f"call_{name}")


llb = Calls()
host = Calls()
