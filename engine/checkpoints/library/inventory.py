"""Everything the library lists: checkpoints wherever they lie, and every byte below the Hugging Face cache.

Reads the disk for seconds where much is new. Nothing that lies there makes it fail: what cannot be read is a row that
says why.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import msgspec

from engine.checkpoints.adapters import with_base
from engine.checkpoints.discover import OtherCache, folder_places, own_places, starter_place
from engine.checkpoints.hub_cache import MODELS_PREFIX, repository_id
from engine.checkpoints.library.index import Known, fingerprint
from engine.checkpoints.library.lineage import lineages
from engine.checkpoints.library.notes import Entry, load_entries, said_of
from engine.checkpoints.library.occupied import Occupied, entry_at, walk
from engine.checkpoints.library.repository import LOCKS, Part, add_locks, count_own_bytes, place_part, repository_parts
from engine.checkpoints.library.rows import Inventory, Places, Row, RowKind
from engine.checkpoints.library.unfinished import all_downloads, joined
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import full_path
from engine.checkpoints.reading import reason

_OTHER_REPOSITORIES = {"datasets": "data set", "spaces": "space", "kernels": "compute kernel"}
# huggingface_hub's store of files that several repositories share, and the mark by which it knows it.
_STORE = "blobs"
_STORE_MARK = ".huggingface-shared-blobs"


class Stocktaking:
    """One pass over all places. Ask `rows` first, then `inventory` and `known`."""

    def __init__(self, places: Places, known: Mapping[str, Known]) -> None:
        """known: by row key, what an earlier pass found; it is not described again while its files stay the same."""
        self.known: dict[str, Known] = {}
        self._places = places
        self._known_before = known
        self._entries = load_entries(places.data_dir)
        self._downloads = all_downloads(places.data_dir)
        self._rows: dict[str, Row] = {}
        self._parts: dict[str, Part] = {}

    def rows(self) -> Iterator[Row]:
        """Each row as soon as it is known; what depends on others (bases, shared bytes, lineage) comes later."""
        for part in self._all_parts():
            if part.key not in self._parts:
                self._parts[part.key] = part
                row = self._row(part)
                self._rows[part.key] = row
                yield row

    def inventory(self) -> Inventory:
        """All rows as they are once every other one is known."""
        count_own_bytes(self._parts.values())
        self._find_bases()
        told = lineages(list(self._rows.values()))
        for key, row in self._rows.items():
            own = self._parts[key].own_bytes
            self._rows[key] = msgspec.structs.replace(row, own_bytes=own, lineage=told.get(key, ()))
        everything = Occupied()
        for part in self._parts.values():
            everything.bytes_of.update(part.occupied.bytes_of)
        total = everything.size
        return Inventory(tuple(self._rows.values()), total - sum(row.own_bytes for row in self._rows.values()), total)

    def _all_parts(self) -> Iterator[Part]:
        for place in starter_place(self._places.data_dir):
            yield place_part(place)
        yield from self._cache_parts(self._places.cache_dir)
        for folder in self._places.folders:
            for found in folder_places(full_path(folder)):
                yield from self._repositories(found.path) if isinstance(found, OtherCache) else (place_part(found),)
        for place in own_places(self._places.data_dir):
            yield place_part(place)

    def _cache_parts(self, cache: Path) -> Iterator[Part]:
        """Every byte below the cache's folder; that folder itself is nobody's."""
        if entry_at(str(cache)) is None:
            return  # nothing was ever downloaded
        try:
            names = sorted(os.listdir(cache))  # noqa: PTH208 (names alone)
        except OSError as error:
            problem = f"The Hugging Face cache cannot be read: {reason(error)}."
            yield Part(str(cache), cache.name, "cache", kind="broken", problem=problem)
            return
        yield from self._repositories(cache)
        has_store = entry_at(str(cache / _STORE / _STORE_MARK)) is not None
        for path in (cache / name for name in names):
            if path.name == LOCKS:
                yield self._left_of(path, "Locks by which downloads take turns.")
            elif path.name == _STORE and has_store:
                yield self._left_of(path, "Files that repositories share, kept here by huggingface_hub.")
            elif not _is_repository(path):
                yield _with_all_below(Part(str(path), path.name, "cache", problem="No part of a Hugging Face cache."))

    def _repositories(self, cache: Path) -> Iterator[Part]:
        real = os.path.realpath(cache)
        try:
            names = sorted(os.listdir(cache))  # noqa: PTH208 (names alone)
        except OSError:
            return  # it went away while we looked
        for path in (cache / name for name in names):
            if not _is_repository(path):
                continue
            if path.name.startswith(MODELS_PREFIX):
                yield from joined(path, repository_parts(path, real), self._downloads)
            else:
                yield _other_repository(path)

    def _left_of(self, folder: Path, words: str) -> Part:
        """What the rows seen so far do not need of a folder that they share."""
        part = Part(str(folder), folder.name, "cache", problem=words)
        theirs = {inode for other in self._parts.values() for inode in other.occupied.bytes_of}
        for entry in walk(part.key):
            if (entry.status.st_dev, entry.status.st_ino) not in theirs:
                part.occupied.add(entry)
        part.own_bytes = part.occupied.size
        return part

    def _row(self, part: Part) -> Row:
        checkpoint = self._describe(part)
        kind, problem = (part.kind, part.problem) if checkpoint is None or part.problem else _kind(checkpoint)
        entry = self._entry(part, checkpoint)
        return Row(
            key=part.key,
            name=part.name,
            kind=kind,
            source=part.source,
            checkpoint=checkpoint,
            problem=problem,
            repository=part.repository,
            refs=part.refs,
            size_bytes=part.occupied.size,
            own_bytes=part.own_bytes,
            modified=part.occupied.modified,
            used=max(part.occupied.used, entry.used),
            alias=entry.alias,
            note=entry.note,
        )

    def _entry(self, part: Part, checkpoint: Checkpoint | None) -> Entry:
        found = said_of(self._entries, part.key, part.refs)
        if checkpoint is not None and checkpoint.key != part.key and checkpoint.key in self._entries:
            return replace(found, used=max(found.used, self._entries[checkpoint.key].used))
        return found

    def _describe(self, part: Part) -> Checkpoint | None:
        if part.place is None:
            return None
        now = fingerprint(part.place.path)
        known = self._known_before.get(part.key)
        if known is None or known.fingerprint != now or _other_name(known.checkpoint, part):
            known = Known(now, part.place.described())
        self.known[part.key] = known
        return known.checkpoint

    def _find_bases(self) -> None:
        """Adapters get their base, or a problem that says it is missing."""
        by_name: dict[str, Checkpoint] = {}
        by_path: dict[str, Checkpoint] = {}
        for row in self._rows.values():
            if row.checkpoint is not None:
                by_name.setdefault(row.checkpoint.name, row.checkpoint)
                by_path[row.checkpoint.key] = row.checkpoint
        for key, row in self._rows.items():
            if row.kind == "adapter" and row.checkpoint is not None:
                found = with_base(row.checkpoint, lambda name: by_path.get(name) or by_name.get(name))
                self._rows[key] = msgspec.structs.replace(row, checkpoint=found, problem=found.problem or "")


def _is_repository(path: Path) -> bool:
    prefix, dashes, name = path.name.partition("--")
    if not (dashes and name) or (prefix not in _OTHER_REPOSITORIES and f"{prefix}--" != MODELS_PREFIX):
        return False
    entry = entry_at(str(path))
    return entry is not None and (entry.is_folder or entry.is_link)


def _other_repository(path: Path) -> Part:
    """A data set or the like: other programs' business, but its bytes are told."""
    what = _OTHER_REPOSITORIES[path.name.partition("--")[0]]
    part = Part(
        str(path), repository_id(path), "cache", problem=f"A {what} in the Hugging Face cache.", repository=path.name
    )
    add_locks([part], path)
    return _with_all_below(part)


def _with_all_below(part: Part) -> Part:
    for entry in walk(part.key):
        part.occupied.add(entry)
    part.own_bytes = part.occupied.size
    return part


def _other_name(checkpoint: Checkpoint, part: Part) -> bool:
    return (checkpoint.name, checkpoint.source) != (part.name, part.source)


def _kind(checkpoint: Checkpoint) -> tuple[RowKind, str]:
    """What a checkpoint's row is, and what is wrong with it.

    What is whole but cannot be loaded here stays what it is.
    """
    problem = checkpoint.problem or ""
    if checkpoint.fault == "foreign":
        return "other", problem
    # As in resolve.resolve: weights that are missing from the cache come when they are asked for again.
    if checkpoint.fault == "incomplete" and checkpoint.source == "cache":
        return "unfinished", problem
    return ("broken" if checkpoint.fault else checkpoint.kind), problem
