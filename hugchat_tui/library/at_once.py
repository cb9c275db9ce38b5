"""Keys that are taken before what is typed right behind them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from textual.binding import Binding, BindingType


def at_once(bindings: Iterable[BindingType], *left_out: str) -> list[BindingType]:
    """The same keys, taken before what is typed behind them, as all keys of the library are. left_out: ids."""
    known = [binding for binding in bindings if isinstance(binding, Binding)]
    return [replace(binding, priority=True) for binding in known if binding.id not in left_out]
