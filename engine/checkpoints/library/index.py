"""What the last scan found, kept so that the next start shows it at once and looks only into what changed.

library-index.jsonl in the data folder. First line: {"places", "stamp"}; then for each row
{"row", "fingerprint", "described"}; described: the checkpoint before it got its base, where that is another
"""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

import engine.checkpoints
from engine.checkpoints.library.notes import load_entries, said_of, write_atomically
from engine.checkpoints.library.rows import Places, Row, checkpoint_from_plain, row_from_plain, to_json
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.reading import modified

_FILE = "library-index.jsonl"
_DAMAGE = (ValueError, KeyError, TypeError, AttributeError, RecursionError, msgspec.ValidationError)


@dataclass(frozen=True, slots=True)
class Known:
    """A checkpoint as it was described when its files had this fingerprint."""

    fingerprint: str
    checkpoint: Checkpoint


def load_index(places: Places) -> list[Row]:
    """The rows of the last scan of these places, with today's aliases and notes; none when there was none.

    What was deleted since is still among them. Reads one file: call it in a thread.
    """
    lines = _lines(places.data_dir)
    try:
        if json.loads(next(lines, "{}")).get("places") != _places(places):
            return []
        entries = load_entries(places.data_dir)
        rows = [row_from_plain(json.loads(line)["row"]) for line in lines]
    except _DAMAGE:
        return []  # damaged, or of another version: the scan will write it anew
    said = [said_of(entries, row.key, row.refs) for row in rows]
    return [
        msgspec.structs.replace(row, alias=each.alias, note=each.note) for row, each in zip(rows, said, strict=True)
    ]


def load_known(data: Path) -> dict[str, Known]:
    """By row key, what need not be described again as long as its files have the same fingerprint."""
    lines = _lines(data)
    known: dict[str, Known] = {}
    try:
        if json.loads(next(lines, "{}")).get("stamp") != _stamp():
            return {}
        for line in lines:
            entry = json.loads(line)
            described = entry["described"] or entry["row"].get("checkpoint")
            if described is not None:
                known[entry["row"]["key"]] = Known(entry["fingerprint"], checkpoint_from_plain(described))
    except _DAMAGE:
        return {}
    return known


def save_index(places: Places, rows: Iterable[Row], known: Mapping[str, Known]) -> None:
    """Replace the index. Raises OSError."""
    lines = [to_json({"places": _places(places), "stamp": _stamp()})]
    for row in rows:
        entry = known.get(row.key)
        described = entry.checkpoint if entry is not None and entry.checkpoint != row.checkpoint else None
        fingerprint = entry.fingerprint if entry is not None else ""
        lines.append(to_json({"row": row, "fingerprint": fingerprint, "described": described}))
    places.data_dir.mkdir(parents=True, exist_ok=True)
    write_atomically(places.data_dir / _FILE, "\n".join(lines).encode())


def fingerprint(path: Path) -> str:
    """Changes when a file does that describing `path` may look at: the file itself, or those of a folder."""
    seen: list[tuple[str, int, int]] = []
    try:
        with os.scandir(path) as entries:
            for entry in entries:
                try:
                    status = entry.stat()
                except OSError:
                    seen.append((entry.name, -1, 0))
                else:
                    seen.append((entry.name, status.st_size, status.st_mtime_ns))
    except NotADirectoryError:
        with suppress(OSError):
            status = path.stat()
            seen.append(("", status.st_size, status.st_mtime_ns))
    except (OSError, ValueError) as error:
        seen.append((str(error), -1, 0))
    return hashlib.blake2b(repr(sorted(seen)).encode(), digest_size=16).hexdigest()


def _places(places: Places) -> list[str]:
    return [str(path) for path in (places.cache_dir, *places.folders)]


def _stamp() -> str:
    """Changes with the code that describes checkpoints and with the transformers that it asks."""
    from importlib.metadata import version  # slow to import, and the first screen needs only the rows

    package = Path(engine.checkpoints.__file__).parent
    newest = max(modified(path) for path in package.glob("*.py"))
    return f"{version('transformers')} {newest}"


def _lines(data: Path) -> Iterator[str]:
    try:
        with (data / _FILE).open(encoding="ascii") as file:
            yield from file
    except OSError:
        return  # there is none yet, or it is not to be read: then nothing is known
