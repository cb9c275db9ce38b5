"""From what a person typed to the checkpoint it means."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from dataclasses import replace
from difflib import get_close_matches
from pathlib import Path

from engine.checkpoints.adapters import with_base
from engine.checkpoints.describe import describe
from engine.checkpoints.discover import find_checkpoints, place_at
from engine.checkpoints.hub_cache import HubReference, find_snapshot, parse_hub_reference
from engine.checkpoints.library.notes import aliased
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import hub_cache_dir, runs_dir
from engine.checkpoints.runs import RUN_PREFIX, find_run_checkpoint
from engine.checkpoints.starter import STARTER, starter_installed, starter_path
from engine.errors import CheckpointNotFoundError


class StarterNotInstalledError(CheckpointNotFoundError):
    """The starter is meant and not there yet: starter.install_starter makes it."""


class NotDownloadedError(CheckpointNotFoundError):
    """Nothing here answers to the name, but it is a valid Hub reference: downloads.manager can get it."""

    def __init__(self, message: str, hint: str, reference: HubReference) -> None:
        super().__init__(message, hint)
        self.reference = reference


def resolve(
    reference: str, *, data_dir: Path, folders: Sequence[Path] = (), cache_dir: Path | None = None
) -> Checkpoint:
    """The checkpoint that a reference means, with its `problem` if it cannot be loaded.

    reference: "starter"; `runs/NAME` or `runs/NAME/step-N`; a name that the person gave (library.notes); a folder or
    GGUF file; a Hub id in the cache (`org/name`, `org/name@revision`, `org/name/file.gguf`); or a name that
    find_checkpoints gives. A folder wins over a Hub id of the same spelling, as in transformers. Reads the disk: call
    it in a thread.

    Raises StarterNotInstalledError, NotDownloadedError, or CheckpointNotFoundError with the nearest names.
    """
    cache = cache_dir or hub_cache_dir()

    def listed() -> list[Checkpoint]:
        return find_checkpoints(folders, data_dir=data_dir, cache_dir=cache)

    def locate(name: str) -> Checkpoint | None:
        return _locate(name, data_dir, cache) or _named(name, listed())

    found = _locate(reference, data_dir, cache)
    if found is None:
        everything = listed()
        found = _named(reference, everything)
        # A cached repository without all of its weights is an unfinished download: asking for it again helps.
        if found is None or (found.source == "cache" and found.size_bytes == 0):
            raise _not_found(reference, [checkpoint.name for checkpoint in everything])
    return with_base(found, locate)


def _named(name: str, checkpoints: Iterable[Checkpoint]) -> Checkpoint | None:
    return next((checkpoint for checkpoint in checkpoints if checkpoint.name == name), None)


def _locate(reference: str, data_dir: Path, cache: Path) -> Checkpoint | None:
    """Look where the reference itself points to, without listing everything."""
    if reference == STARTER:
        return describe(starter_path(data_dir), STARTER, "starter") if starter_installed(data_dir) else None
    if reference.startswith(RUN_PREFIX):
        run = find_run_checkpoint(runs_dir(data_dir), reference.removeprefix(RUN_PREFIX))
        if run is not None:
            return describe(run, reference, "run")
    named = _existing(aliased(data_dir, reference))
    if named is not None:
        return place_at(named, data_dir, cache).described()
    path = _existing(reference)
    if path is not None:
        return describe(path)
    hub = parse_hub_reference(reference)
    snapshot = find_snapshot(cache, hub) if hub is not None else None
    if hub is None or snapshot is None:
        return None
    path = snapshot.path / hub.file if hub.file else snapshot.path
    checkpoint = replace(describe(path, hub.name, "cache"), revision=snapshot.commit)
    return checkpoint if checkpoint.size_bytes else None


def _existing(reference: str) -> Path | None:
    try:
        path = Path(reference).expanduser()
        return path.absolute() if reference and path.exists() else None
    except (OSError, ValueError, RuntimeError):
        return None  # no path at all: too long, with a NUL, of an unknown user


def _not_found(reference: str, names: Sequence[str]) -> CheckpointNotFoundError:
    if reference == STARTER:
        return StarterNotInstalledError(
            "The starter model is not installed yet.",
            "It is downloaded and converted once, 93 MB: hugchat --model starter",
        )
    shown = repr(reference if len(reference) <= 200 else f"{reference[:200]}...")
    if reference.startswith(RUN_PREFIX):
        hint = _nearest(reference, names) or "It has no checkpoint yet, or another name."
        return CheckpointNotFoundError(f"No training run with a whole checkpoint is called {shown}.", hint)
    hub = parse_hub_reference(reference)
    if hub is not None:
        message = f"No checkpoint on this machine is called {shown}; it may be one to download from the Hub."
        return NotDownloadedError(message, _nearest(reference, names), hub)
    if reference.startswith((os.sep, ".", "~")):
        path = Path(reference)
        message = f"There is no folder or file {shown}."
        return CheckpointNotFoundError(message, _nearest(path.name, _beside(path)) or "Check the path.")
    return CheckpointNotFoundError(
        f"No checkpoint is called {shown}.",
        _nearest(reference, names) or "Name a folder, a GGUF file, a Hub id (org/name), or: starter",
    )


def _nearest(name: str, names: Sequence[str]) -> str:
    near = get_close_matches(name, names, n=3, cutoff=0.5)
    return f"Nearest here: {', '.join(near)}." if near else ""


def _beside(path: Path) -> list[str]:
    """The names next to where a path points; none where there is no such folder."""
    try:
        return [entry.name for entry in path.expanduser().absolute().parent.iterdir()]
    except (OSError, ValueError, RuntimeError):
        return []
