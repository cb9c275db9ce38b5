"""Finds every checkpoint on this machine: starter, Hugging Face cache, named folders, training runs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from engine.checkpoints.adapters import with_base
from engine.checkpoints.describe import describe
from engine.checkpoints.hub_cache import Snapshot, all_snapshots
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import hub_cache_dir, runs_dir
from engine.checkpoints.reading import is_folder
from engine.checkpoints.runs import run_checkpoints
from engine.checkpoints.starter import STARTER, starter_installed, starter_path

# A named folder may hold models, publishers that hold models, or be one.
_FOLDER_DEPTH = 3
_CONFIGS = frozenset(("config.json", "adapter_config.json"))


def find_checkpoints(folders: Sequence[Path], *, data_dir: Path, cache_dir: Path | None = None) -> list[Checkpoint]:
    """Describe every checkpoint, each place once: starter, cache, folders, runs, each part sorted by name.

    folders: those the person named; one that cannot be read is itself a row with a problem. cache_dir: the
    Hugging Face cache, by default where its environment variables put it. Reads the disk and may take seconds:
    call it in a thread; calls may overlap. Raises nothing for what it finds.
    """
    found: dict[Path, Checkpoint] = {}
    for checkpoint in _describe_all(folders, data_dir, cache_dir or hub_cache_dir()):
        found.setdefault(checkpoint.path, checkpoint)
    by_name: dict[str, Checkpoint] = {}
    for checkpoint in found.values():
        by_name.setdefault(checkpoint.name, checkpoint)
    return [with_base(checkpoint, by_name.get) for checkpoint in found.values()]


def _describe_all(folders: Sequence[Path], data_dir: Path, cache_dir: Path) -> Iterator[Checkpoint]:
    if starter_installed(data_dir):
        yield describe(starter_path(data_dir), STARTER, "starter")
    for snapshot in all_snapshots(cache_dir):
        yield from describe_snapshot(snapshot)
    for folder in folders:
        yield from describe_folder(folder.expanduser().absolute())
    for name, path in run_checkpoints(runs_dir(data_dir)):
        yield describe(path, name, "run")


def describe_snapshot(snapshot: Snapshot) -> Iterator[Checkpoint]:
    """The checkpoint of a snapshot; where it holds several GGUF files, each as `org/name/file.gguf`."""
    names = _names(snapshot.path) or frozenset()
    files = sorted(name for name in names if _is_gguf(name))
    if len(files) > 1 and not names & _CONFIGS:
        described = [describe(snapshot.path / file, f"{snapshot.name}/{file}", "cache") for file in files]
    else:
        described = [describe(snapshot.path, snapshot.name, "cache")]
    for checkpoint in described:
        yield replace(checkpoint, revision=snapshot.commit)


def describe_folder(folder: Path) -> Iterator[Checkpoint]:
    """What lies in a folder a person named: models, GGUF files, a second Hugging Face cache, or one model."""
    yield from _walk(folder, folder, set())


def _walk(folder: Path, directory: Path, visited: set[tuple[int, int]]) -> Iterator[Checkpoint]:
    relative = directory.relative_to(folder).as_posix()
    name = folder.name if relative == "." else relative
    names = _names(directory)
    if names is None or names & _CONFIGS:
        yield describe(directory, name)
        return
    if any(entry.startswith("models--") for entry in names):
        for snapshot in all_snapshots(directory):
            yield from describe_snapshot(snapshot)
        return
    status = directory.stat()
    if (status.st_dev, status.st_ino) in visited:
        return  # a link back to a folder that was seen
    visited.add((status.st_dev, status.st_ino))
    for entry in sorted(names):
        path = directory / entry
        if _is_gguf(entry):
            yield describe(path, (path.relative_to(folder)).as_posix())
        elif not entry.startswith(".") and len(path.relative_to(folder).parts) < _FOLDER_DEPTH and is_folder(path):
            yield from _walk(folder, path, visited)


def _names(directory: Path) -> frozenset[str] | None:
    """The names in a directory; None when it cannot be read."""
    try:
        return frozenset(entry.name for entry in directory.iterdir())
    except OSError:
        return None


def _is_gguf(name: str) -> bool:
    return name.lower().endswith(".gguf")
