"""What is wrong with a person's keymap, said once everything that has bindings is imported."""

from __future__ import annotations

import importlib
from collections import defaultdict
from collections.abc import Iterator, Mapping

from textual.binding import BindingsMap
from textual.dom import DOMNode

from hugchat_tui.settings.errors import did_you_mean

_IMPORTED_LATE = (
    "hugchat_tui.chat.model_picker",
    "hugchat_tui.chat.search_screen",
    "hugchat_tui.common.dialogs",
    "hugchat_tui.common.help",
    "hugchat_tui.common.jump",
    "hugchat_tui.library.screen",
    "hugchat_tui.library.token_dialog",
    "hugchat_tui.monitor.form",
    "hugchat_tui.monitor.screen",
    "hugchat_tui.quitting",
)


def import_all() -> None:
    """Import the parts that have bindings and are not on the first frame: for a thread."""
    for name in _IMPORTED_LATE:
        importlib.import_module(name)


def keymap_problems(keymap: Mapping[str, str]) -> list[str]:
    """A line for each name that names no binding, and for each key that two bindings of one part now share."""
    if not keymap:
        return []
    parts = [BindingsMap(part.__dict__.get("BINDINGS", [])) for part in _parts(DOMNode)]
    known = {binding.id for part in parts for _, binding in part if binding.id}
    problems = [f"[keymap] {name} is not a binding{did_you_mean(name, known)}" for name in keymap if name not in known]
    for part in parts:
        users: dict[str, set[str]] = defaultdict(set)
        for key, binding in part:
            for chosen in keymap.get(binding.id or "", key).split(","):
                users[chosen].add(binding.id or binding.description)
        for key, names in users.items():
            if len(names) > 1:
                problems.append(
                    f"[keymap] {key} stands for {' and '.join(sorted(names))}; only one of them has it now."
                )
    return problems


def _parts(above: type[DOMNode]) -> Iterator[type[DOMNode]]:
    for part in above.__subclasses__():
        if part.__module__.startswith("hugchat_tui."):
            yield part
        yield from _parts(part)
