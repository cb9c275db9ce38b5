"""What a person may mean by the beginning of a path, a corpus or a recipe; for threads, as it looks at the disk."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path

from engine.checkpoints.paths import data_dir, datasets_dir, full_path
from hugchat_tui.monitor.form_fields import OUTPUT, RECIPE
from sft.data.corpora import CORPORA
from sft.data.opening import is_data
from sft.packaged import packaged_recipes

_MOST = 200


def candidates(place: str, text: str) -> list[str]:
    """What a text could be gone on with, as it would then stand there; folders end with a slash."""
    if place == RECIPE:
        names = [recipe.name for recipe in packaged_recipes()]
        return [*_beginning(names, text), *(_files(text, (".toml",)) if _is_path(text) else [])]
    if place == OUTPUT:
        return [path for path in _files(text, ()) if path.endswith("/")]
    if place.startswith("data."):
        written = sorted(map(str, datasets_dir(data_dir()).glob("*.jsonl"))) if not text else []
        return [*written, *_files(text, None), *_beginning(CORPORA, text)][:_MOST]
    return _files(text, None if place != "model.template" else (".jinja", ".jinja2"))


def gone_on(text: str, found: list[str]) -> str:
    """The text with what all candidates have behind it."""
    shortest = min(found, key=len)
    most = next((at for at, char in enumerate(shortest) if any(each[at] != char for each in found)), len(shortest))
    return shortest[:most] if most > len(text) else text


def _beginning(names: Iterable[str], text: str) -> list[str]:
    return [name for name in names if name.lower().startswith(text.lower())]


def _is_path(text: str) -> bool:
    return text.startswith((".", "~")) or "/" in text


def _files(text: str, endings: tuple[str, ...] | None) -> list[str]:
    """Folders and files that begin so. endings: of the files; None: of those that hold rows."""
    folder, slash, beginning = text.rpartition("/")
    try:
        entries = sorted(os.scandir(full_path(Path(folder + slash)) if folder or slash else "."), key=lambda e: e.name)
    except OSError:
        return []
    found = []
    for entry in entries:
        if not entry.name.startswith(beginning) or (entry.name.startswith(".") and not beginning):
            continue
        try:
            is_folder = entry.is_dir()
        except OSError:  # a link that leads to itself, or to where nobody may look
            continue
        if is_folder:
            found.append(f"{folder}{slash}{entry.name}/")
        elif is_data(entry.name) if endings is None else entry.name.endswith(endings):
            found.append(f"{folder}{slash}{entry.name}")
    return found[:_MOST]
