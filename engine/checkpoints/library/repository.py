"""Which files of a cached repository belong to which row.

A file belongs to every row that needs it: a blob to all snapshots that link to it, a folder to all rows that have
something in it. What no snapshot needs (partial downloads, blobs left behind, refs to nothing) is a row too.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Container, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from engine.checkpoints.discover import Place, snapshot_places
from engine.checkpoints.hub_cache import repository_id, repository_snapshots
from engine.checkpoints.library.occupied import Entry, Inode, Occupied, followed, walk
from engine.checkpoints.library.rows import RowKind, RowSource
from engine.memory import human

PARTIAL = ".incomplete"
OWN_PARTIAL = ".hugchat.incomplete"
OWN_MAP = ".hugchat.map"
LOCKS = ".locks"
_FRAME = ("blobs", "refs", "snapshots")  # without these it is no repository
# Folders of a repository that hold something for each commit, in a file or folder that begins with its hash.
_BY_COMMIT = ("snapshots", ".no_exist", "trees")


@dataclass(slots=True)
class Part:
    """What a row will be made of. place: of a checkpoint, which is described later; else kind and problem say it.

    own_download: partial files of this program's are among it.
    """

    key: str
    name: str
    source: RowSource
    place: Place | None = None
    kind: RowKind = "other"
    problem: str = ""
    repository: str = ""
    refs: tuple[str, ...] = ()
    occupied: Occupied = field(default_factory=Occupied)
    own_bytes: int = 0
    own_download: bool = False


def count_own_bytes(parts: Iterable[Part]) -> None:
    """Tell each part what nobody else among them refers to."""
    parts = list(parts)
    claims = Counter(inode for part in parts for inode in part.occupied.bytes_of)
    for part in parts:
        part.own_bytes = sum(size for inode, size in part.occupied.bytes_of.items() if claims[inode] == 1)


def place_part(place: Place) -> Part:
    """The row of a checkpoint that lies outside the cache: the file, or the folder with all it holds."""
    part = Part(str(place.path), place.name, place.source, place)
    for entry in walk(part.key):
        part.occupied.add(entry)
        if entry.is_link and (status := followed(entry.path)) is not None:
            part.occupied.note_times(status)  # what it leads to stays when the row goes, but it is what is used
    part.own_bytes = part.occupied.size
    return part


def repository_parts(repository: Path, cache: str) -> list[Part]:
    """The rows of a repository's directory ("models--org--name"). cache: the real path of the cache it lies in."""
    by_commit: dict[str, list[Part]] = {}
    by_ref: dict[str, list[Part]] = {}
    for snapshot in repository_snapshots(repository):
        parts = [
            Part(str(place.path), place.name, "cache", place, repository=repository.name, refs=snapshot.refs)
            for place in snapshot_places(snapshot)
        ]
        by_commit[snapshot.commit] = parts
        by_ref.update(dict.fromkeys(snapshot.refs, parts))
    rest = Part(str(repository), repository_id(repository), "cache", kind="unfinished", repository=repository.name)
    top = str(repository)
    blobs: dict[str, Entry] = {}
    folders: dict[str, Entry] = {}
    lying: list[tuple[list[str], Entry]] = []
    for entry in walk(top):
        names = entry.path[len(top) + 1 :].split("/")
        if entry.is_folder or entry.path == top:
            folders[entry.path] = entry
        elif names[0] == "blobs" and len(names) == 2:
            blobs[names[1]] = entry
        else:
            lying.append((names, entry))
    links = _Links(cache, blobs)
    for names, entry in lying:
        for part in _owners(names, by_commit, by_ref) or [rest]:
            if names[0] == "snapshots" or part is rest:
                part.occupied.add(entry)
            else:
                part.occupied.count(entry.status)  # a ref's times are not those of the files
            if entry.is_link and part is not rest:
                links.follow(entry, part.occupied)
    leftover = [name for name, entry in blobs.items() if name not in links.used]
    for name in leftover:
        rest.occupied.add(blobs[name])
    found = [part for parts in by_commit.values() for part in parts]
    if rest.occupied.bytes_of or not found:
        _say_what_it_is(rest, leftover, blobs, alone=not found)
        found.append(rest)
    frame = {top, *(f"{top}/{name}" for name in _FRAME)}
    _share_folders(folders, frame, [*(entry for _, entry in lying), *blobs.values()], found)
    add_locks(found, repository)
    count_own_bytes(found)
    return found


def add_locks(parts: Sequence[Part], repository: Path) -> None:
    """The locks of a repository go when it goes."""
    for entry in walk(str(repository.parent / LOCKS / repository.name)):
        for part in parts:
            part.occupied.count(entry.status)


def _share_folders(
    folders: dict[str, Entry], frame: Container[str], files: Iterable[Entry], parts: Sequence[Part]
) -> None:
    """A folder belongs to the rows that have something in it; an empty one to all, and so do those of the frame."""
    owners: dict[Inode, list[Part]] = {}
    for part in parts:
        for inode in part.occupied.bytes_of:
            owners.setdefault(inode, []).append(part)
    users: dict[str, dict[str, Part]] = {}
    for file in files:
        path = os.path.dirname(file.path)  # noqa: PTH120 (a string a time: there are tens of thousands)
        while path in folders and path not in frame:
            inside = users.setdefault(path, {})
            inside.update((part.key, part) for part in owners.get((file.status.st_dev, file.status.st_ino), ()))
            path = os.path.dirname(path)  # noqa: PTH120
    for path, folder in folders.items():
        for part in users[path].values() if path in users else parts:
            part.occupied.count(folder.status)


def _owners(names: Sequence[str], by_commit: dict[str, list[Part]], by_ref: dict[str, list[Part]]) -> list[Part]:
    """The rows that need a file: names are the parts of its path below the repository."""
    if names[0] == "refs":
        return by_ref.get("/".join(names[1:]), [])
    if names[0] not in _BY_COMMIT or len(names) < 2:
        return []
    parts = by_commit.get(names[1].partition(".")[0], [])
    if len(parts) > 1 and len(names) == 3 and names[0] == "snapshots":
        return [part for part in parts if part.key.endswith(os.sep + names[2])] or parts
    return parts


class _Links:
    """Follows a snapshot's links into the blobs, and those of blobs on into the store that repositories share."""

    def __init__(self, cache: str, blobs: dict[str, Entry]) -> None:
        self.used: set[str] = set()
        self._cache = cache
        self._blobs = blobs
        self._by_inode: dict[Inode, list[str]] = {}
        for name, entry in blobs.items():
            status = followed(entry.path) if entry.is_link else entry.status
            if status is not None:
                self._by_inode.setdefault((status.st_dev, status.st_ino), []).append(name)

    def follow(self, link: Entry, occupied: Occupied) -> None:
        """Count what a link leads to, as far as it lies in the cache."""
        status = followed(link.path)
        if status is None:
            return
        names = self._by_inode.get((status.st_dev, status.st_ino), ())
        self.used.update(names)
        linked = [self._blobs[name] for name in names if self._blobs[name].is_link]
        for entry in linked:
            occupied.add(entry)
            occupied.count(*_store_files(entry.path, self._cache))
        if (names and not linked) or os.path.realpath(link.path).startswith(self._cache + os.sep):
            occupied.count(status)
            occupied.note_times(status)


def _store_files(blob: str, cache: str) -> list[os.stat_result]:
    """What huggingface_hub keeps beside a file of its shared store: the list of the links to it."""
    target = os.path.realpath(blob)
    if not target.startswith(os.path.join(cache, "blobs") + os.sep):  # noqa: PTH118
        return []
    status = followed(f"{target}.refs")
    return [status] if status is not None else []


def _say_what_it_is(rest: Part, leftover: Sequence[str], blobs: dict[str, Entry], *, alone: bool) -> None:
    """alone: no snapshot of the repository is there."""

    def held(names: Sequence[str]) -> str:
        occupied = Occupied()
        for name in names:
            occupied.add(blobs[name])
        return human(occupied.size)

    own = [name for name in leftover if name.endswith(OWN_PARTIAL)]
    others = [name for name in leftover if name.endswith(PARTIAL) and name not in own]
    whole = [name for name in leftover if not name.endswith((PARTIAL, OWN_MAP))]
    words = []
    if others:
        words.append(
            f"{len(others)} partial {'files' if len(others) > 1 else 'file'} of another program's download "
            f"({held(others)}). Unless that is still going on, nothing takes them up again: delete them."
        )
    if whole and not own:
        words.append(f"{held(whole)} of files that no revision names, left by one that was deleted or never finished.")
    if not words and alone and not own:
        words.append("Nothing of a model is in it: a download that never began, or one that was deleted in part.")
    elif not words and not own:
        words.append("Refs or files that belong to no revision that is here.")
    rest.own_download = bool(own)  # which unfinished.py tells of
    rest.kind = "unfinished" if own or others or alone else "other"
    rest.problem = " ".join(words)
