"""Finds every checkpoint on this machine: starter, Hugging Face cache, named folders, own models, training runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from engine.checkpoints.adapters import with_base
from engine.checkpoints.describe import describe
from engine.checkpoints.hub_cache import MODELS_PREFIX, Snapshot, all_snapshots, repository_snapshots
from engine.checkpoints.model import Checkpoint, Source
from engine.checkpoints.paths import full_path, hub_cache_dir, models_dir, runs_dir
from engine.checkpoints.reading import is_folder
from engine.checkpoints.runs import run_checkpoints
from engine.checkpoints.starter import STARTER, starter_installed, starter_path

# A named folder may hold models, publishers that hold models, or be one.
_FOLDER_DEPTH = 3
_CONFIGS = frozenset(("config.json", "adapter_config.json"))


@dataclass(frozen=True, slots=True)
class Place:
    """Where a checkpoint lies that was not looked into yet."""

    name: str
    path: Path
    source: Source
    revision: str = ""

    def described(self) -> Checkpoint:
        return replace(describe(self.path, self.name, self.source), revision=self.revision)


@dataclass(frozen=True, slots=True)
class OtherCache:
    """A second Hugging Face cache, in a folder that a person named."""

    path: Path


def find_checkpoints(folders: Sequence[Path], *, data_dir: Path, cache_dir: Path | None = None) -> list[Checkpoint]:
    """Describe every checkpoint, each place once: starter, cache, folders, own models, runs, each sorted by name.

    folders: those the person named; one that cannot be read is itself a row with a problem. cache_dir: the
    Hugging Face cache, by default where its environment variables put it. Reads the disk and may take seconds:
    call it in a thread; calls may overlap. Raises nothing for what it finds.
    """
    found: dict[Path, Checkpoint] = {}
    for place in _all_places(folders, data_dir, cache_dir or hub_cache_dir()):
        checkpoint = place.described()
        found.setdefault(checkpoint.path, checkpoint)
    by_name: dict[str, Checkpoint] = {}
    for checkpoint in found.values():
        by_name.setdefault(checkpoint.name, checkpoint)
    return [with_base(checkpoint, by_name.get) for checkpoint in found.values()]


def _all_places(folders: Sequence[Path], data_dir: Path, cache_dir: Path) -> Iterator[Place]:
    yield from starter_place(data_dir)
    yield from _in_cache(cache_dir)
    for folder in folders:
        for place in folder_places(full_path(folder)):
            yield from _in_cache(place.path) if isinstance(place, OtherCache) else (place,)
    yield from own_places(data_dir)


def starter_place(data_dir: Path) -> Iterable[Place]:
    """The starter, when it is installed."""
    try:
        return [Place(STARTER, starter_path(data_dir), "starter")] if starter_installed(data_dir) else []
    except OSError:
        return []  # the data folder may not be looked at


def own_places(data_dir: Path) -> Iterator[Place]:
    """What this program made: merged and converted models, then the checkpoints of training runs."""
    models = models_dir(data_dir)
    for name in sorted(_names(models) or ()):
        # What is being made has a name that begins with a dot.
        if name != STARTER and not name.startswith(".") and is_folder(models / name):
            yield Place(name, models / name, "made")
    for name, path in run_checkpoints(runs_dir(data_dir)):
        yield Place(name, path, "run")


def _in_cache(cache_dir: Path) -> Iterator[Place]:
    for snapshot in all_snapshots(cache_dir):
        yield from snapshot_places(snapshot)


def snapshot_places(snapshot: Snapshot) -> list[Place]:
    """The checkpoint of a snapshot; where it holds several GGUF files, each as `org/name/file.gguf`."""
    names = _names(snapshot.path) or frozenset()
    files = sorted(name for name in names if is_gguf(name))
    if len(files) > 1 and not names & _CONFIGS:
        return [Place(f"{snapshot.name}/{file}", snapshot.path / file, "cache", snapshot.commit) for file in files]
    return [Place(snapshot.name, snapshot.path, "cache", snapshot.commit)]


def folder_places(folder: Path) -> Iterator[Place | OtherCache]:
    """What lies in a folder a person named: models, GGUF files, a second Hugging Face cache, or one model."""
    yield from _walk(folder, folder, set())


def place_at(path: Path, data_dir: Path, cache_dir: Path) -> Place:
    """The place with this path, under the name it is listed by if it is the starter, in the cache, made or of a run."""
    known = [*starter_place(data_dir), *own_places(data_dir)]
    if path.is_relative_to(cache_dir) and path != cache_dir:
        repository = cache_dir / path.relative_to(cache_dir).parts[0]
        known += [place for snapshot in repository_snapshots(repository) for place in snapshot_places(snapshot)]
    return next((place for place in known if place.path == path), Place(path.name, path, "folder"))


def _walk(folder: Path, directory: Path, visited: set[tuple[int, int]]) -> Iterator[Place | OtherCache]:
    relative = directory.relative_to(folder).as_posix()
    names = _names(directory)
    if names is None or names & _CONFIGS:
        yield Place(folder.name if relative == "." else relative, directory, "folder")
        return
    if any(entry.startswith(MODELS_PREFIX) for entry in names):
        yield OtherCache(directory)
        return
    try:
        status = directory.stat()
    except OSError:
        return  # it went away while we looked
    if (status.st_dev, status.st_ino) in visited:
        return  # a link back to a folder that was seen
    visited.add((status.st_dev, status.st_ino))
    for entry in sorted(names):
        path = directory / entry
        if is_gguf(entry):
            yield Place(path.relative_to(folder).as_posix(), path, "folder")
        elif not entry.startswith(".") and len(path.relative_to(folder).parts) < _FOLDER_DEPTH and is_folder(path):
            yield from _walk(folder, path, visited)


def is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")


def _names(directory: Path) -> frozenset[str] | None:
    """The names in a directory; None when it cannot be read."""
    try:
        return frozenset(entry.name for entry in directory.iterdir())
    except (OSError, ValueError):  # ValueError: a NUL in the path
        return None
