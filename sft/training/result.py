"""final/, the result of a run: its chosen checkpoint without the training state, with a card and the recipe."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from engine.checkpoints.making import flush, flush_tree
from engine.checkpoints.model import Checkpoint
from sft.config import Recipe
from sft.data.shards import Prepared
from sft.manifest import MANIFEST, write_manifest
from sft.training.checkpoints import NoRoomError, Progress, newest_whole
from sft.training.export import card

FINAL = "final"


def write_final(run: Path, recipe: Recipe, base: Checkpoint, progress: Progress, prepared: Prepared) -> Path:
    """Make final/ of the last checkpoint, or of the best one when the run ended for want of a better; whole or absent.

    Raises NoRoomError, OSError.
    """
    step = progress.step
    if recipe.evaluation.patience and progress.waited >= recipe.evaluation.patience:
        step = progress.best_step
    source = run / "checkpoints" / f"step-{step}"
    if not source.is_dir():  # there was no room for it
        newest = newest_whole(run, lambda words: None)
        if newest is None:
            raise NoRoomError("The run has no whole checkpoint to make its result of.", "Free some space, then resume.")
        source = newest
    partial, target = run / f"tmp-{FINAL}", run / FINAL
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    files = [path for path in source.iterdir() if path.is_file() and path.name != MANIFEST]
    for path in files:
        _link_or_copy(path, partial / path.name)
    shutil.copyfile(run / "recipe.toml", partial / "recipe.toml")
    metrics: dict[str, object] = {"steps": progress.step, "tokens read": f"{progress.tokens:,}"}
    if step != progress.step:
        metrics["taken from step"] = step
    if progress.best_loss is not None:
        metrics["best held-out loss"] = f"{progress.best_loss:.4f} (step {progress.best_step})"
    data: dict[str, object] = {"conversations": f"{len(prepared):,}", "prepared set": prepared.path.name}
    command = f"hugchat chat --model runs/{run.name}"
    (partial / "README.md").write_text(card(run.name, recipe, base, metrics, data, command), "utf-8")
    write_manifest(partial)
    flush_tree(partial)
    if target.exists():
        old = run / f"tmp-old-{FINAL}"
        shutil.rmtree(old, ignore_errors=True)
        target.rename(old)
        partial.rename(target)
        shutil.rmtree(old)
    else:
        partial.rename(target)
    flush(run)
    return target


def _link_or_copy(source: Path, target: Path) -> None:
    """One copy of the weights on disk for both, as neither is ever written to again."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)
