"""The checkpoints of training runs: final/ and each whole checkpoints/step-N of a run directory."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from engine.checkpoints.reading import is_folder

RUN_PREFIX = "runs/"
# A step that is still being written, or was left behind by a kill, is called tmp-step-N.
_STEP = re.compile(r"step-(\d+)")


def run_checkpoints(runs: Path) -> Iterator[tuple[str, Path]]:
    """(name, directory) of every run's checkpoints, the final one first, then the steps from the newest.

    The final checkpoint is called `runs/NAME`, a step `runs/NAME/step-N`.
    """
    for run in sorted(_folders(runs)):
        if run.name.startswith("."):  # a trash
            continue
        if is_folder(run / "final"):
            yield RUN_PREFIX + run.name, run / "final"
        for step in _steps(run):
            yield f"{RUN_PREFIX}{run.name}/{step.name}", step


def find_run_checkpoint(runs: Path, name: str) -> Path | None:
    """The directory that `NAME` (the final checkpoint, else the newest step) or `NAME/step-N` means."""
    run_name, _, step = name.partition("/")
    if run_name in ("", ".", ".."):
        return None
    run = runs / run_name
    steps = _steps(run)
    if step:
        return next((path for path in steps if path.name == step), None)
    return run / "final" if is_folder(run / "final") else next(iter(steps), None)


def _steps(run: Path) -> list[Path]:
    numbered = [
        (int(match[1]), path)
        for path in _folders(run / "checkpoints")
        if (match := _STEP.fullmatch(path.name)) is not None
    ]
    return [path for _, path in sorted(numbered, reverse=True)]


def _folders(directory: Path) -> list[Path]:
    """Subfolders; none of a folder that is not there or cannot be read."""
    try:
        return [path for path in directory.iterdir() if is_folder(path)]
    except OSError:
        return []
