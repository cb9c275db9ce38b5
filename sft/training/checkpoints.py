"""Checkpoints of a run: whole or absent, whatever interrupts, and what resuming needs beside the weights.

    checkpoints/step-40/
      adapter_model.safetensors ...   a standard adapter or model directory, which anything can load
      training/optimizer.pt           of torch, or DeepSpeed's own files in training/state/
      training/random-0.pt            each rank's random numbers
      training/progress.json          step, tokens, best evaluation, and what the run must not change: Progress
      manifest.json                   size and sha256 of every other file

It is written as checkpoints/tmp-step-40, flushed and renamed.
"""

from __future__ import annotations

import random
import shutil
from collections.abc import Callable
from pathlib import Path

import msgspec
import numpy as np
import torch

from engine.checkpoints.making import flush, flush_tree
from sft.errors import SftError
from sft.manifest import write_manifest
from sft.runs import RunDirectory, step_checkpoints, whole_checkpoints
from sft.training.world import World

STATE = "training"
_PROGRESS = "progress.json"
_HEADROOM = 1.1  # of what the last checkpoint took, or the first one should


class NoRoomError(SftError):
    """The disk has no room for another checkpoint."""

    code = "no-space"


class Progress(msgspec.Struct, frozen=True, kw_only=True):
    """Where a run is. step: optimizer steps done. tokens and trained_tokens: read so far, by all ranks.

    best_loss and best_step: of the evaluations so far; waited: evaluations since then. engine, zero, world_size,
    packs_per_step, data, fixed: what the state was written by, and what it can be taken up by. learning_rate,
    eval_every, checkpoint_every: set by the person, in place of the recipe's; None: none was.
    """

    step: int
    tokens: int = 0
    trained_tokens: int = 0
    best_loss: float | None = None
    best_step: int = 0
    waited: int = 0
    engine: str = "plain"
    zero: int = 0
    world_size: int = 1
    packs_per_step: int = 1
    learning_rate: float | None = None
    eval_every: int | None = None
    checkpoint_every: int | None = None
    data: str = ""
    fixed: dict[str, str] = {}  # of the recipe, by name: what would make another run of it


def newest_whole(run: Path, say: Callable[[str], None]) -> Path | None:
    """The newest checkpoint that a run can go on from, every file compared; `say` hears why others were passed over."""
    for _, path in whole_checkpoints(RunDirectory.at(run), hashes=True, say=say):
        if (path / STATE / _PROGRESS).is_file():
            return path
        say(f"{path.name} was passed over: it holds no training state.")
    return None


def read_progress(checkpoint: Path) -> Progress:
    """Raises SftError when it makes no sense."""
    try:
        return msgspec.json.decode((checkpoint / STATE / _PROGRESS).read_bytes(), type=Progress)
    except (OSError, msgspec.MsgspecError) as error:
        raise SftError(f"{checkpoint.name} cannot be resumed: {error}.", "Resume from an older one.") from error


def save(
    run: Path,
    progress: Progress,
    world: World,
    save_state: Callable[[Path], None],
    save_weights: Callable[[Path], None],
    *,
    expected: int = 0,
) -> Path:
    """Write checkpoints/step-N; all ranks together. Returns its directory. expected: bytes that the first one takes.

    save_state is called on every rank with the directory for the training state, save_weights too, and writes on rank 0
    alone. Raises NoRoomError before anything is written, OSError; then nothing is left of it.
    """
    target = run / "checkpoints" / f"step-{progress.step}"
    partial = target.with_name(f"tmp-{target.name}")
    _together(world, lambda: _begin(run, partial, expected))
    try:
        random_state = partial / STATE / f"random-{world.rank}.pt"
        _together(world, lambda: save_weights(partial), everywhere=True)
        _together(world, lambda: save_state(partial / STATE), everywhere=True)
        _together(world, lambda: torch.save(_random_state(), random_state), everywhere=True)
        _together(world, lambda: _finish(partial, target, progress))
    except BaseException:
        if world.leads:
            shutil.rmtree(partial, ignore_errors=True)
        raise
    return target


def _begin(run: Path, partial: Path, expected: int) -> None:
    for leftover in partial.parent.glob("tmp-*"):
        shutil.rmtree(leftover)
    newest = next((path for _, path in step_checkpoints(RunDirectory.at(run))), None)
    check_room(run, round(_HEADROOM * (expected if newest is None else directory_bytes(newest))))
    (partial / STATE).mkdir(parents=True)


def _finish(partial: Path, target: Path, progress: Progress) -> None:
    (partial / STATE / _PROGRESS).write_bytes(msgspec.json.format(msgspec.json.encode(progress)) + b"\n")
    write_manifest(partial)
    flush_tree(partial)
    if target.exists():  # a torn one of the same step, or one from before the run was resumed further back
        old = target.with_name(f"tmp-old-{target.name}")
        target.rename(old)
        partial.rename(target)
        flush(target.parent)
        shutil.rmtree(old)
    else:
        partial.rename(target)
        flush(target.parent)


def _together(world: World, work: Callable[[], None], *, everywhere: bool = False) -> None:
    """Do something on rank 0 or on every rank, and fail on all of them if it fails on one: none is left waiting."""
    failure: Exception | None = None
    if world.leads or everywhere:
        try:
            work()
        except (OSError, RuntimeError, SftError) as error:  # torch.save raises RuntimeError on a full disk
            failure = error
    failures = [each for each in world.everyone(_told(failure)) if each is not None]
    if failure is not None:
        raise failure
    if failures:
        raise failures[0]


def _told(failure: Exception | None) -> Exception | None:
    """One that can be sent to another process."""
    if failure is None or isinstance(failure, SftError):
        return failure and type(failure)(failure.message, failure.hint)
    return OSError(str(failure))


def check_room(folder: Path, needed: int) -> None:
    """Raises NoRoomError unless so many bytes are free where the folder lies."""
    free = shutil.disk_usage(folder).free
    if free < needed:
        raise NoRoomError(
            f"A checkpoint takes about {needed / 1e9:.2f} GB and {free / 1e9:.2f} GB are free where the run lies.",
            "Free some space; the run goes on, and saves at the next checkpoint.",
        )


def directory_bytes(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def set_aside(run: Path, step: int) -> None:
    """Take the names from checkpoints behind a step: torn ones, and those of a run that began further back again."""
    for number, path in step_checkpoints(RunDirectory.at(run)):
        if number > step:
            aside = path.with_name(f"earlier-{path.name}")
            shutil.rmtree(aside, ignore_errors=True)
            path.rename(aside)


def prune(run: Path, keep: int, best_step: int) -> list[Path]:
    """Delete all but the newest `keep` checkpoints and that of the best step; what was deleted."""
    gone = [path for step, path in step_checkpoints(RunDirectory.at(run))[keep:] if step != best_step]
    for path in gone:
        doomed = path.with_name(f"tmp-old-{path.name}")  # never a torn one under a good name
        path.rename(doomed)
        shutil.rmtree(doomed)
    return gone


def load_random_state(checkpoint: Path, rank: int) -> None:
    """Go on with the random numbers of this rank. A rank that was not there begins with its own."""
    path = checkpoint / STATE / f"random-{rank}.pt"
    if not path.is_file():
        return
    state = torch.load(path, map_location="cpu", weights_only=True)
    torch.set_rng_state(state["torch"])
    if state["cuda"] is not None and torch.cuda.is_available():
        torch.cuda.set_rng_state(state["cuda"])


def _random_state() -> dict[str, torch.Tensor | None]:
    cuda = torch.cuda.get_rng_state() if torch.cuda.is_available() else None
    return {"torch": torch.get_rng_state(), "cuda": cuda}


def seed_everything(seed: int, rank: int) -> None:
    """Each rank draws numbers of its own."""
    random.seed(seed + rank)
    np.random.seed((seed + rank) % 2**32)
    torch.manual_seed(seed + rank)
