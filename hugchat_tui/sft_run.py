"""`hugchat sft run` and `resume`: from what was asked to a run that goes on by itself."""

from __future__ import annotations

import asyncio
import tomllib
from typing import TYPE_CHECKING, Any

from hugchat_tui.chat_command import EXIT_FAILED
from hugchat_tui.common.clean import clean, clean_line

if TYPE_CHECKING:
    from engine.checkpoints.model import Checkpoint
    from hugchat_tui.sft_command import Command
    from sft.config import Recipe
    from sft.runs import RunDirectory
    from sft.seed_flags import Given


def asked_recipe(command: Command) -> tuple[Recipe, Given]:
    """The recipe with what flags and --set change. Raises RecipeError with everything that is wrong."""
    from hugchat_tui.run_starting import read_recipe
    from sft import config
    from sft.packaged import recipe_for
    from sft.recipe_checks import check_sources
    from sft.recipe_fields import Problem
    from sft.seed_flags import read_flags

    given = read_flags(command.args.flags)
    problems = list(given.problems)
    values = dict(given.values)
    for text in command.args.set:
        key, equals, value = text.partition("=")
        if not equals:
            problems.append(Problem(f"--set {text}", "is not of the form KEY=VALUE, such as training.beta2=0.95"))
        else:
            values[key.strip()] = _toml_value(value.strip())
    base = values.get("model.base")
    packaged = recipe_for(base) if isinstance(base, str) else None
    if command.args.recipe is not None:
        recipe = read_recipe(command.args.recipe)
    else:
        recipe = packaged.recipe() if packaged is not None else config.Recipe()
        if packaged is not None:
            command.progress.say(f"What the flags leave open is as in the recipe {packaged.name}.")
    try:
        recipe = config.with_values(recipe, values, "what was asked")
        problems += check_sources(recipe)
    except config.RecipeError as error:
        problems += error.problems
    if problems:
        raise config.RecipeError("what was asked", problems)
    return recipe, given


def _toml_value(text: str) -> Any:
    """A value as it would stand in the file; text needs no quotes."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except (tomllib.TOMLDecodeError, KeyError, RecursionError, ValueError):
        return text


def run(command: Command) -> int:
    from hugchat_tui.run_starting import named_by_path
    from sft.recipe_paths import anchored

    recipe, given = asked_recipe(command)
    for note in given.notes:
        command.progress.say(note)
    base = ensure_base(command, recipe)
    recipe = anchored(named_by_path(recipe, base))
    _check(recipe, base)
    if command.args.dry_run:
        return _dry_run(command, recipe, base, given)
    return _start(command, recipe, base, given)


def _start(command: Command, recipe: Recipe, base: Checkpoint, given: Given) -> int:
    from hugchat_tui.run_starting import make_run
    from sft.estimate import estimate

    for problem in estimate(recipe, base).problems:
        command.progress.say(f"This may not fit. {problem}")
    made, script = make_run(recipe, command.data_dir, given.name, given.output)
    if script is not None:
        document = {"name": made.name, "path": made.path, "script": script}
        command.answer(document, f"{clean_line(made.name)} is ready. Start it with: sbatch {clean(str(script))}")
        return 0
    return _go(command, recipe, made)


def _go(command: Command, recipe: Recipe, made: RunDirectory) -> int:
    """Start it, and wait for its end if that was asked."""
    from hugchat_tui.sft_watch import wait
    from sft.launch import start
    from sft.runs import events_size

    offset = events_size(made)
    start(recipe, made)
    _tell_of_machines(command, recipe, made)
    if command.args.wait:
        return wait(command, made, offset)
    command.answer(
        {"name": made.name, "path": made.path},
        f"{clean_line(made.name)} has started. Watch it: hugchat sft tail {clean_line(made.name)} -f",
    )
    return 0


def _tell_of_machines(command: Command, recipe: Recipe, made: RunDirectory) -> None:
    if recipe.launch.nodes > 1 and recipe.launch.rendezvous not in ("", "slurm"):
        command.progress.say(
            "On each other machine, with another number, where this folder is mounted too:"
            f" NODE_RANK=1 python -m sft.supervise {made.path}"
        )


def resume(command: Command) -> int:
    from sft import config
    from sft.runs import newest_whole_checkpoint, read_status

    made = command.found()
    recipe = config.load(made.recipe)
    state = read_status(made).state
    if state == "done":
        return command.failed(f"{made.name} is done: there is nothing left to do in it.", EXIT_FAILED)
    newest = newest_whole_checkpoint(made, say=command.progress.say)
    command.progress.say(f"It goes on from step {newest[0]:,}." if newest else "It has no checkpoint and begins anew.")
    return _go(command, recipe, made)


def ensure_base(command: Command, recipe: Recipe) -> Checkpoint:
    """The checkpoint to start from; the starter is installed when it is not here yet. Raises EngineError."""
    from engine.checkpoints.resolve import NotDownloadedError, StarterNotInstalledError, resolve
    from engine.checkpoints.starter import install_starter
    from engine.errors import CheckpointNotFoundError

    reference = recipe.model.base
    folders = command.folders()
    try:
        return resolve(reference, data_dir=command.data_dir, folders=folders)
    except StarterNotInstalledError:
        asyncio.run(install_starter(command.data_dir, command.progress.show))
        command.progress.clear()
        return resolve(reference, data_dir=command.data_dir, folders=folders)
    except NotDownloadedError as error:
        hint = f"Get it: hugchat models pull {reference}. {error.hint}".strip()
        raise CheckpointNotFoundError(error.message, hint) from error


def _check(recipe: Recipe, base: Checkpoint) -> None:
    """What can be known before anything is started. Raises RecipeError or SftError."""
    from hugchat_tui.run_starting import start_problems
    from sft.config import RecipeError
    from sft.data.sources import Source, files_of

    if problems := start_problems(recipe, base):
        raise RecipeError("what was asked", problems)
    for source in recipe.data.sources:
        files_of(Source(source.path))
    if recipe.data.held_out_source:
        files_of(Source(recipe.data.held_out_source))


def _dry_run(command: Command, recipe: Recipe, base: Checkpoint, given: Given) -> int:
    from hugchat_tui.run_starting import plan, planned_run
    from hugchat_tui.sft_text import estimate_text
    from sft.estimate import estimate

    planned = plan(recipe, planned_run(recipe, command.data_dir, given.name, given.output))
    found = estimate(recipe, base)
    document = {
        "commands": {
            which: {"argv": list(each.argv), "environment": dict(each.environment)}
            for which, each in planned.commands.items()
        },
        "script": planned.script,
        "estimate": {"total": found.total, "fits": found.fits, **_fields(found)},
    }
    if planned.commands:
        lines = [clean(each.shell()) for each in planned.commands.values()]
        told = ["It would start:", f"  {lines[0]}"]
        told += ["which prepares the data and starts the ranks:", f"  {lines[1]}"]
    else:
        told = ["It would be submitted to Slurm:", clean(planned.script)]
    command.answer(document, "\n".join([*told, "", estimate_text(found)]))
    return 0 if found.fits else EXIT_FAILED


def _fields(found: Any) -> dict[str, Any]:
    from dataclasses import asdict

    return asdict(found)
