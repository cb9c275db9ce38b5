"""What is done to run directories: deleting one, branching off one of its steps, finding what to chat with."""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from engine.checkpoints.library.running import run_is_going
from engine.checkpoints.making import flush_tree, put_in_place
from engine.checkpoints.paths import runs_dir
from engine.checkpoints.reading import is_folder
from engine.checkpoints.runs import RUN_PREFIX
from hugchat_tui.monitor import run_notes
from sft.config import Recipe, save, with_values
from sft.errors import SftError
from sft.manifest import manifest_problem
from sft.runs import RunDirectory, newest_whole_checkpoint, step_checkpoints

_REMOVED = ".removed-"
_NEW = ".new-branch-"
_ABANDONED_S = 24 * 3600.0


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

    It is listed when all of it is there, or never. Raises SftError and OSError.
    """
    source = run.checkpoints / f"step-{step}"
    problem = manifest_problem(source, hashes=True)
    if problem is not None:
        raise SftError(f"Step {step:,} of {run.name} cannot be used: {problem}.", "Choose another step.")
    runs = runs_dir(data)
    runs.mkdir(parents=True, exist_ok=True)
    hidden = Path(tempfile.mkdtemp(prefix=_NEW, dir=runs))
    try:
        save(with_values(recipe, {"checkpoints.resume": "auto"}), hidden / "recipe.toml")
        shutil.copytree(source, hidden / "checkpoints" / source.name, copy_function=_link_or_copy)
        flush_tree(hidden)
        return _listed(hidden, runs, f"{run.name[:80]}-from-{step}")
    except BaseException:
        shutil.rmtree(hidden, ignore_errors=True)
        raise


def _listed(made: Path, runs: Path, wanted: str) -> RunDirectory:
    """Give it the wanted name, or with a number the first one that is free."""
    name, number = wanted, 1
    while True:
        try:
            put_in_place(made, runs / name)
            return RunDirectory.at(runs / name)
        except FileExistsError:
            number += 1
            name = f"{wanted}-{number}"


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
    removed = run.path.with_name(f"{_removed_prefix(run.path)}{time.time_ns()}")
    run.path.rename(removed)
    listed = runs_dir(data) / run.name
    if listed.is_symlink():
        # Not before: where the run cannot be renamed it stays listed. remove_leftovers finds both by the link.
        link, listed = listed, listed.with_name(removed.name)
        with suppress(FileNotFoundError):  # another program finishes this already
            link.rename(listed)
    _remove_tree(removed)
    if listed.is_symlink():
        listed.unlink(missing_ok=True)
    with suppress(OSError):
        run_notes.forget(data, run.path)


def remove_leftovers(data: Path) -> None:
    """Finish deletions that a kill interrupted, and remove what interrupted branches left long ago."""
    for path in list(runs_dir(data).glob(".*")) + _dangling(runs_dir(data)):
        with suppress(OSError):
            if path.is_symlink():
                _finish_elsewhere(path)
            elif path.name.startswith(_REMOVED) or _is_abandoned(path):
                _remove_tree(path)


def _is_abandoned(path: Path) -> bool:
    return path.name.startswith(_NEW) and time.time() - path.stat().st_mtime > _ABANDONED_S


def _dangling(runs: Path) -> list[Path]:
    return [path for path in runs.glob("[!.]*") if path.is_symlink() and not path.exists()]


def _finish_elsewhere(link: Path) -> None:
    """Of a run that lies elsewhere. A link to a place that is only not mounted now stays."""
    place = Path(os.path.realpath(link))
    left = [path for path in place.parent.glob(f"{_REMOVED}*") if path.name.startswith(_removed_prefix(place))]
    for path in left:
        _remove_tree(path)
    if left or (link.name.startswith(_REMOVED) and place.parent.is_dir()):
        link.unlink(missing_ok=True)


def _removed_prefix(path: Path) -> str:
    return f"{_REMOVED}{path.name}-"


def _remove_tree(path: Path) -> None:
    """Raises OSError. Another program may be removing it at the same time."""
    while os.path.lexists(path):
        with suppress(FileNotFoundError):
            shutil.rmtree(path)
