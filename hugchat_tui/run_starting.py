"""What `hugchat sft run` and the monitor's form share: from a recipe to a run that goes on by itself."""

from __future__ import annotations

import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import full_path, runs_dir
from engine.memory import vram
from hugchat_tui.common.format import local_date
from sft import config
from sft.config import Recipe
from sft.launch import LaunchCommand, LaunchError, slurm_script, starting_command
from sft.launch import command as ranks_command
from sft.packaged import packaged_recipe
from sft.recipe_checks import check_base, check_machine
from sft.recipe_fields import Problem
from sft.recipe_text import write_whole
from sft.runs import RunDirectory, create_run, free_name, made_name


def read_recipe(name: str) -> Recipe:
    """A recipe's file, or the recipe that ships under this name. Raises RecipeError or SftError."""
    path = Path(name)
    if os.path.lexists(path) or path.suffix == ".toml" or "/" in name:
        return config.load(path)
    return packaged_recipe(name).recipe()


def named_by_path(recipe: Recipe, base: Checkpoint) -> Recipe:
    """A name that only the settings' folders explain would mean nothing to the run's own processes."""
    return config.with_values(recipe, {"model.base": str(base.path)}) if base.source == "folder" else recipe


def start_problems(recipe: Recipe, base: Checkpoint) -> list[Problem]:
    """What the base or this machine cannot do of the recipe. May start nvidia-smi: call it in a thread."""
    gpus = [] if recipe.launch.device == "cpu" else vram()
    problems = check_base(recipe, base)
    if recipe.launch.nodes == 1 and not recipe.launch.hostfile:
        problems += check_machine(recipe, len(gpus) if gpus is not None else None)
    return problems


def planned_run(recipe: Recipe, data_dir: Path, name: str, output: str) -> RunDirectory:
    """Where `make_run` would make it. name, output: as the person gave them, empty where not."""
    name = name or free_name(runs_dir(data_dir), made_name(recipe, local_date(time.time())))
    path = full_path(Path(output)) if output else runs_dir(data_dir) / name
    return RunDirectory(path, name)


@dataclass(frozen=True, slots=True)
class Plan:
    """What would be started: the command "start", which then starts "ranks"; or a script for Slurm, else empty."""

    commands: Mapping[str, LaunchCommand]
    script: str


def plan(recipe: Recipe, place: RunDirectory) -> Plan:
    try:
        return Plan({"start": starting_command(recipe, place), "ranks": ranks_command(recipe, place)}, "")
    except LaunchError:  # its rendezvous is Slurm's, and this is no allocation
        return Plan({}, slurm_script(recipe, place))


def make_run(recipe: Recipe, data_dir: Path, name: str, output: str) -> tuple[RunDirectory, Path | None]:
    """(the run's directory; the script that starts it where only Slurm can, else None).

    Raises what create_run raises.
    """
    made = create_run(recipe, data_dir, name=name, output=Path(output) if output else None)
    if recipe.launch.rendezvous != "slurm" or "SLURM_JOB_ID" in os.environ:
        return made, None
    script = made.path / "slurm.sh"
    write_whole(script, slurm_script(recipe, made).encode())
    return made, script
