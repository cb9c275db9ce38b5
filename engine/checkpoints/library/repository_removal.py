"""What goes when revisions of a cached repository are deleted, and what has to stay because others need it.

A blob goes when no revision that stays links to it; a ref when its revision goes; everything that is left, the
repository's folder and its locks, when nothing in it is needed any more. Rows are those that library.inventory makes:
of a snapshot, of one GGUF file of a snapshot that holds several, and of the rest, whose key is the repository itself.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from engine.checkpoints.library.repository import OWN_MAP, PARTIAL
from engine.checkpoints.library.row_files import hops
from engine.checkpoints.library.rows import Row
from engine.checkpoints.reading import UnreadableError, open_regular

_COMMIT = re.compile(r"[0-9a-f]{40}")
_BY_COMMIT = (".no_exist", "trees")  # these hold something for each commit, in a file or folder named after it
_SYSTEM_FILES = (".DS_Store", "Thumbs.db", "desktop.ini")  # no part of anything; they go with the last revision


class MustStayError(Exception):
    """Why a row cannot be deleted, in words."""


@dataclass(slots=True)
class Going:
    """paths: in the order in which they are to go, none below another. blobs: of those, and of a repository that goes
    whole, its blobs. needed: blobs of what goes that stay, because other revisions link to them."""

    paths: list[Path] = field(default_factory=list)
    blobs: set[Path] = field(default_factory=set)
    needed: set[Path] = field(default_factory=set)


def repository_going(repository: Path, rows: Sequence[Row], staying: Iterable[Row]) -> Going:
    """What goes with these rows of a repository. staying: the rows of the library that are not deleted.

    Reads the disk, not the rows' figures. Raises MustStayError, and OSError when it cannot be told what is needed.
    """
    links = [
        path for path in (repository, repository / "blobs", *_children(repository / "snapshots")) if path.is_symlink()
    ]
    if links:
        raise MustStayError(f"{links[0]} is a link to another place. Delete it there, or take the link away yourself.")
    keys = {Path(row.key) for row in staying if Path(row.key).is_relative_to(repository)}
    asked = {Path(row.key) for row in rows}
    # Of an unfinished download the repository's own row stands for the revision that it makes, too.
    asked |= {row.checkpoint.path for row in rows if row.checkpoint is not None and Path(row.key) == repository}
    rest = not keys or repository in asked
    snapshots = _folders(repository / "snapshots")
    doomed = {path for path in snapshots if _goes_whole(path, asked, keys)}
    if repository in asked:
        doomed |= {path for path in snapshots if not _has_row(path, keys) and not _kept_without_row(path)}
    kept = [path for path in snapshots if path not in doomed]
    files = {path for path in asked if any(path.is_relative_to(snapshot) for snapshot in kept)}
    needed = {blob for path in kept for blob in _blobs_of(path, repository, without=files)}
    wanted = {blob for path in doomed for blob in _blobs_of(path, repository)}
    wanted |= {blob for path in files for blob in _linked_blobs(path, repository)}

    gone, known = {path.name for path in doomed}, {path.name for path in kept}

    def goes(commit: str) -> bool:
        return commit not in known if rest else commit in gone

    refs = [path for path, commit in _refs(repository / "refs") if goes(commit)]
    beside = [path for path in _beside(repository) if goes(path.name.partition(".")[0])]
    blobs = {blob for blob in wanted - needed if os.path.lexists(blob)}
    if rest:
        # A partial download that no row stands for began after the scan.
        blobs |= {
            path for path in _children(repository / "blobs") if repository in asked or not _is_partial(path)
        } - needed
    strays = _strays(repository) if rest else []

    leaves = [*refs, *files, *doomed, *beside, *strays, *sorted(blobs)]
    going = Going(_with_emptied_folders(leaves, repository), blobs, wanted & needed)
    locks = repository.parent / ".locks" / repository.name
    if _nothing_left(repository, set(going.paths)):
        _check_not_busy(locks.glob("*.lock"), repository)
        going.paths = [repository, *([locks] if locks.is_dir() and not locks.is_symlink() else [])]
        going.blobs = set(_children(repository / "blobs"))
    else:
        _check_not_busy((locks / f"{blob.name.partition('.')[0]}.lock" for blob in blobs), repository)
    return going


def _goes_whole(snapshot: Path, asked: set[Path], keys: set[Path]) -> bool:
    """Whether a snapshot is asked for: itself, or the last of its files that have a row."""
    return _has_row(snapshot, asked) and not _has_row(snapshot, keys)


def _has_row(snapshot: Path, keys: set[Path]) -> bool:
    return any(key.is_relative_to(snapshot) for key in keys)


def _kept_without_row(snapshot: Path) -> bool:
    """A model's revision that no row stands for came after the scan."""
    return bool(_COMMIT.fullmatch(snapshot.name)) and snapshot.parent.parent.name.startswith("models--")


def _blobs_of(snapshot: Path, repository: Path, without: Iterable[Path] = ()) -> Iterator[Path]:
    def fail(error: OSError) -> None:
        raise error

    left_out = set(without)
    for folder, folders, files in os.walk(snapshot, onerror=fail):
        for name in (*folders, *files):
            path = Path(folder, name)
            if path not in left_out:
                yield from _linked_blobs(path, repository)


def _linked_blobs(path: Path, repository: Path) -> Iterator[Path]:
    """The repository's blobs that a link leads to or over."""
    blobs = repository / "blobs"
    real = os.path.realpath(blobs)
    for hop in hops(path):
        if str(hop.parent) == real:
            yield blobs / hop.name


def _refs(directory: Path) -> Iterator[tuple[Path, str]]:
    """(file, commit) of every ref; "" for what names no commit."""
    for folder, _, files in os.walk(directory):
        for name in files:
            path = Path(folder, name)
            try:
                with open_regular(path) as file:
                    yield path, file.read(64).decode("ascii", "replace").strip()
            except (FileNotFoundError, UnreadableError):
                yield path, ""


def _beside(repository: Path) -> list[Path]:
    return [path for name in _BY_COMMIT for path in _children(repository / name)]


def _strays(repository: Path) -> list[Path]:
    """What lies in a repository and has no business there."""
    known = ("blobs", "refs", "snapshots", *_BY_COMMIT)
    found = [path for path in _children(repository) if path.name not in known or not _is_folder(path)]
    return found + [path for path in _children(repository / "snapshots") if not _is_folder(path)]


def _is_partial(path: Path) -> bool:
    return path.name.endswith((PARTIAL, OWN_MAP))


def _with_emptied_folders(leaves: Sequence[Path], repository: Path) -> list[Path]:
    """The same paths, with a folder in the place of all that it holds. The repository's own folders stay."""
    going = dict.fromkeys(leaves)
    kept = {repository, *(repository / name for name in ("blobs", "refs", "snapshots"))}
    waiting = [path.parent for path in leaves]
    while waiting:
        folder = waiting.pop()
        if folder in kept or folder in going or any(child not in going for child in _children(folder)):
            continue
        going = {folder if path.parent == folder else path: None for path in going}
        waiting.append(folder.parent)
    return list(going)


def _nothing_left(repository: Path, going: set[Path]) -> bool:
    for folder, folders, files in os.walk(repository):
        inside = Path(folder)
        if any(inside / name not in going and name not in _SYSTEM_FILES for name in files):
            return False
        if any((inside / name).is_symlink() and inside / name not in going for name in folders):
            return False
        folders[:] = [name for name in folders if inside / name not in going]
    return True


def _check_not_busy(locks: Iterable[Path], repository: Path) -> None:
    if any(is_held(lock) for lock in locks):
        raise MustStayError(
            f"{repository.name} is being downloaded right now. Stop that download first, or wait for its end."
        )


def is_held(lock: Path) -> bool:
    """Whether another process holds a lock. Creates nothing: a lock without a file is held by nobody."""
    if not lock.is_file():
        return False
    try:
        with FileLock(lock).acquire(blocking=False):
            return False
    except Timeout:
        return True


def _folders(directory: Path) -> list[Path]:
    return [path for path in _children(directory) if _is_folder(path)]


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _children(directory: Path) -> list[Path]:
    """What a folder holds; nothing where there is none. Raises OSError for one that cannot be read."""
    return sorted(directory.iterdir()) if _is_folder(directory) else []
