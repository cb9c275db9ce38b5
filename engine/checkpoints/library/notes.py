"""What the person says of a checkpoint: another name and a note; and when it was loaded last.

    library.json in the data folder: {"version": 1, "entries": {key: {"alias", "note", "used"}}}

A key is a row's, or a Checkpoint's, which is the same but for a folder that means the one GGUF file in it. Writers take
turns by a lock, and the file is replaced at once, so readers need none.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path

from engine.checkpoints.reading import UnreadableError, read_json_object
from engine.checkpoints.runs import RUN_PREFIX
from engine.errors import EngineError

NOTE_LIMIT = 4000  # characters
ALIAS_LIMIT = 60
_FILE = "library.json"
_VERSION = 1


class AliasError(EngineError):
    """A name that cannot be given to a checkpoint, or not to two."""

    code = "alias"


@dataclass(frozen=True, slots=True)
class Entry:
    """used: when it was loaded last, in seconds since the epoch; 0: never."""

    alias: str = ""
    note: str = ""
    used: float = 0.0


def load_entries(data: Path) -> dict[str, Entry]:
    """Everything that was said, by key; nothing when the file is not there or damaged."""
    try:
        content = read_json_object(data / _FILE) or {}
    except UnreadableError:
        return {}
    entries = content.get("entries")
    if content.get("version") != _VERSION or not isinstance(entries, dict):
        return {}
    return {key: _entry(value) for key, value in entries.items() if isinstance(value, dict)}


def aliased(data: Path, alias: str) -> str:
    """The key of what the person calls `alias`, "" when nothing is called so."""
    return next((key for key, entry in load_entries(data).items() if entry.alias == alias), "") if alias else ""


def set_alias(data: Path, key: str, alias: str) -> None:
    """Call a checkpoint `alias` wherever one is asked for; an empty one takes the name away.

    Raises AliasError for a name that means something else already, OSError when it cannot be written.
    """
    alias = alias.strip()
    if alias:
        _check_alias(alias)

    def change(entries: dict[str, Entry]) -> None:
        taken = next((other for other, entry in entries.items() if alias and entry.alias == alias), key)
        if taken != key:
            raise AliasError(f"Another checkpoint is called {alias} already: {taken}", "Choose another name.")
        entries[key] = replace(entries.get(key, Entry()), alias=alias)

    _update(data, change)


def set_note(data: Path, key: str, text: str) -> None:
    """Keep a note of at most NOTE_LIMIT characters; an empty one is removed. Raises OSError and EngineError."""
    if len(text) > NOTE_LIMIT:
        raise EngineError(f"The note has {len(text):,} characters; {NOTE_LIMIT:,} are kept.", "Shorten it.")

    def change(entries: dict[str, Entry]) -> None:
        entries[key] = replace(entries.get(key, Entry()), note=text.strip())

    _update(data, change)


def mark_used(data: Path, key: str) -> None:
    """Remember that the checkpoint was loaded now. Raises OSError."""

    def change(entries: dict[str, Entry]) -> None:
        entries[key] = replace(entries.get(key, Entry()), used=time.time())

    _update(data, change)


def _check_alias(alias: str) -> None:
    from engine.checkpoints.starter import STARTER  # brings asyncio with it

    if len(alias) > ALIAS_LIMIT or not alias.isprintable():
        raise AliasError(
            f"A name has at most {ALIAS_LIMIT} characters, all of them visible.", "Choose a shorter or plainer one."
        )
    if alias == STARTER or alias.startswith((RUN_PREFIX, ".", "~")) or set("/\\@") & set(alias):
        raise AliasError(
            f"{alias} would be taken for a path, a Hub id, a run or the starter.",
            "Choose a name without / \\ or @ that does not begin with a dot or ~.",
        )


def _update(data: Path, change: Callable[[dict[str, Entry]], None]) -> None:
    from filelock import FileLock  # slow to import, and readers need none

    data.mkdir(parents=True, exist_ok=True)
    path = data / _FILE
    with FileLock(data / ".library.lock"):
        entries = load_entries(data)
        if not entries and path.exists():
            path.replace(data / f"{_FILE}.damaged")  # not ours to understand, and not ours to throw away
        change(entries)
        kept = {key: _said(entry) for key, entry in entries.items() if entry != Entry()}
        write_atomically(path, json.dumps({"version": _VERSION, "entries": kept}, indent=1).encode())


def _said(entry: Entry) -> dict[str, object]:
    return {name: value for name, value in asdict(entry).items() if value}


def _entry(value: dict[str, object]) -> Entry:
    alias, note, used = value.get("alias"), value.get("note"), value.get("used")
    return Entry(
        alias if isinstance(alias, str) else "",
        note if isinstance(note, str) else "",
        float(used) if isinstance(used, int | float) else 0.0,
    )


def write_atomically(path: Path, content: bytes) -> None:
    """Replace a file so that readers, and whoever comes after a crash, see the old or the new one. Raises OSError."""
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)
