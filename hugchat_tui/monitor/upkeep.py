"""What is done to run directories: deleting one, branching off one of its steps, finding what to chat with."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from engine.checkpoints.library.running import run_is_going
from engine.checkpoints.making import flush, flush_tree
from engine.checkpoints.paths import runs_dir
from engine.checkpoints.reading import is_folder
from engine.checkpoints.runs import RUN_PREFIX
from hugchat_tui.monitor import run_notes
from sft.config import Recipe, with_values
from sft.errors import SftError
from sft.manifest import manifest_problem
from sft.runs import RunDirectory, RunExistsError, create_run, newest_whole_checkpoint, step_checkpoints

_REMOVED = ".removed-"


def newest_reference(run: RunDirectory, *, going: bool) -> str:
    """What the engine resolves to the newest whole checkpoint of a run: its result, or a step while there is none.

    Raises SftError when it has none yet.
    """
    if not going and is_folder(run.final):
        return f"{RUN_PREFIX}{run.name}"
    newest = newest_whole_checkpoint(run)
    if newest is not None:
        return f"{RUN_PREFIX}{run.name}/step-{newest[0]}"
    if is_folder(run.final):
        return f"{RUN_PREFIX}{run.name}"
    hint = "s lets it write one now." if going else "r resumes it."
    raise SftError(f"{run.name} has no whole checkpoint yet.", hint)


def whole_steps(run: RunDirectory) -> list[int]:
    """Steps that have a whole checkpoint, newest first."""
    return [step for step, path in step_checkpoints(run) if manifest_problem(path, hashes=False) is None]


def branch(run: RunDirectory, recipe: Recipe, step: int, data: Path) -> RunDirectory:
    """A new run with this recipe that begins with the checkpoint of a step; files are linked where that can be done.

    Raises SftError and OSError.
    """
    source = run.checkpoints / f"step-{step}"
    problem = manifest_problem(source, hashes=True)
    if problem is not None:
        raise SftError(f"Step {step:,} of {run.name} cannot be used: {problem}.", "Choose another step.")
    made = _create(with_values(recipe, {"checkpoints.resume": "auto"}), data, f"{run.name}-from-{step}")
    try:
        partial = made.checkpoints / "tmp-branch"
        shutil.copytree(source, partial, copy_function=_link_or_copy)
        flush_tree(partial)
        partial.rename(made.checkpoints / source.name)
        flush(made.checkpoints)
    except BaseException:
        shutil.rmtree(made.path, ignore_errors=True)
        raise
    return made


def _create(recipe: Recipe, data: Path, wanted: str) -> RunDirectory:
    name, number = wanted[:100], 1
    while True:
        try:
            return create_run(recipe, data, name=name)
        except RunExistsError:
            number += 1
            name = f"{wanted[:95]}-{number}"


def _link_or_copy(source: str, target: str) -> None:
    """Checkpoints are never changed, so that both runs can have the same file."""
    try:
        os.link(source, target)
    except OSError:  # another file system, or one without hard links
        shutil.copy2(source, target)


def delete(run: RunDirectory, data: Path) -> None:
    """Delete a run with all that lies in its directory, and the link to it. Raises SftError while it is going, OSError.

    It is gone from the list at once; if the program ends meanwhile, the next start removes the rest.
    """
    if run_is_going(run.path):
        raise SftError(f"{run.name} is going.", "Stop it first: x")
    listed = runs_dir(data) / run.name
    if listed.is_symlink():
        listed.unlink()
    removed = run.path.with_name(f"{_REMOVED}{run.path.name}-{os.getpid()}")
    run.path.rename(removed)
    shutil.rmtree(removed)
    with suppress(OSError):
        run_notes.forget(data, run.path)


def remove_leftovers(data: Path) -> None:
    """Finish deletions that a kill interrupted."""
    for path in runs_dir(data).glob(f"{_REMOVED}*"):
        shutil.rmtree(path, ignore_errors=True)
