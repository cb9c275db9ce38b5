"""`hugchat sft`: fine-tuning from the shell. Results on stdout; words and progress on stderr."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hugchat_tui.chat_command import (
    EXIT_ASKED_WRONGLY,
    EXIT_FAILED,
    EXIT_INTERRUPTED,
    Progress,
    UnwritableError,
    fail,
    write,
)
from hugchat_tui.common.clean import clean
from hugchat_tui.models_parser import named_folder

if TYPE_CHECKING:
    from hugchat_tui.settings.schema import Settings
    from sft.runs import RunDirectory

_DATA_ACTIONS = ("formats", "corpora", "fetch", "stats", "preview", "build")


class _RunParser(argparse.ArgumentParser):
    """Takes the flags of HugNLP's scripts too, and names the nearest one to a flag that is none."""

    def parse_known_args(  # type: ignore[override]
        self, args: Sequence[str] | None = None, namespace: argparse.Namespace | None = None
    ) -> tuple[argparse.Namespace, list[str]]:
        if self.get_default("action") != "run":
            return super().parse_known_args(args, namespace)
        from sft.seed_flags import known_flag, unknown_words

        own = [option.removeprefix("--") for option in self._option_string_actions if option.startswith("--")]
        flags: list[tuple[str, str]] = []
        rest: list[str] = []
        given = list(sys.argv[1:] if args is None else args)
        while given:
            argument = given.pop(0)
            if not argument.startswith("--") or argument == "--":
                rest.append(argument)
                continue
            name, equals, value = argument.removeprefix("--").partition("=")
            if name in own:
                rest.append(argument)
                if not equals and self._option_string_actions[f"--{name}"].nargs != 0 and given:
                    rest.append(given.pop(0))
            elif flag := known_flag(name):
                if not equals:
                    value = given.pop(0) if given and not given[0].startswith("--") else "true"
                flags.append((flag, value))
            else:
                self.error(unknown_words(name, own))
        found, left = super().parse_known_args(rest, namespace)
        found.flags = flags
        return found, left


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command `sft` and its own commands."""
    sft = commands.add_parser("sft", help="fine-tune a small chat model on your own data")
    actions = sft.add_subparsers(dest="action", metavar="ACTION", required=True, parser_class=_RunParser)

    def action(name: str, help: str, **options: Any) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.", **options)
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return parser

    init = action("init", "write a recipe, complete and commented, to be edited")
    init.add_argument("base", nargs="?", help="a checkpoint, or the name of a recipe that ships")
    init.add_argument("file", nargs="?", type=Path, help="where to write it; without one: stdout")
    init.add_argument("--data", action="append", default=[], metavar="SOURCE", help="a file, folder, glob or corpus")
    init.add_argument("--list", action="store_true", help="list the recipes that ship")
    check = action("check", "say what is wrong with a recipe")
    check.add_argument("recipe")
    _add_data(action("data", "look at training data, and build files of it"))
    _add_run(action("run", "start a run, from a recipe, from flags or from both", allow_abbrev=False))
    resume = action("resume", "go on with a run that stopped, failed or was killed")
    resume.add_argument("run")
    resume.add_argument("--wait", action="store_true", help="return when it has ended")
    stop = action("stop", "save a checkpoint and stop a run")
    stop.add_argument("run")
    stop.add_argument("--now", action="store_true", help="end it without saving")
    stop.add_argument("--wait", action="store_true", help="return when it has ended")
    action("ls", "list the runs")
    show = action("show", "say all that is known of a run")
    show.add_argument("run")
    tail = action("tail", "show what a run told last")
    tail.add_argument("run")
    tail.add_argument("-f", "--follow", action="store_true", help="go on until it ends")
    tail.add_argument("-n", "--lines", type=_count, default=20, metavar="N", help="how many (20)")
    tail.add_argument("--log", action="store_true", help="what its processes printed instead")
    merge = action("merge", "merge a run's adapter into its base: a new model")
    merge.add_argument("run")
    merge.add_argument("new", metavar="new-name", nargs="?", help="without one: the run's name")
    export = action("export", "copy a run's result to a plain folder")
    export.add_argument("run")
    export.add_argument("folder", type=named_folder)


def _add_run(run: argparse.ArgumentParser) -> None:
    run.set_defaults(action="run", flags=[])
    run.epilog = (
        "All flags of HugNLP's scripts are taken too: --model, --data, --output, --lora_dim, --learning_rate, "
        "--per_device_train_batch_size, --max_steps, --deepspeed FILE and so on."
    )
    run.add_argument("recipe", nargs="?", help="a recipe's file, or the name of one that ships")
    run.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="any key: training.beta2=0.95")
    returns = run.add_mutually_exclusive_group()
    returns.add_argument("--wait", action="store_true", help="show its progress and return when it has ended")
    returns.add_argument("--detach", action="store_true", help="return once it has started (the usual)")
    run.add_argument("--dry-run", action="store_true", help="print the command and the memory it takes; start nothing")


def _add_data(data: argparse.ArgumentParser) -> None:
    data.add_argument("what", choices=_DATA_ACTIONS)
    data.add_argument("sources", nargs="*", metavar="source", help="files, folders, globs, hub:org/name or corpora")
    data.add_argument("--model", dest="data_model", default="starter", metavar="REF", help="whose tokens are counted")
    data.add_argument("--template", default="", metavar="FILE", help="a Jinja chat template, or hugchat")
    data.add_argument("--max-length", type=_count, default=512, metavar="N", help="tokens of an input row (512)")
    data.add_argument("--format", default="auto", metavar="NAME", help="see: hugchat sft data formats")
    data.add_argument("-n", "--rows", type=_count, default=5, metavar="N", help="rows that preview shows (5)")
    data.add_argument("--out", type=Path, metavar="PATH", help="build: a folder for HugChat's files, or a .jsonl file")
    data.add_argument("--weight", type=float, action="append", default=[], metavar="W", help="build: of each source")
    data.add_argument("--cap", type=int, action="append", default=[], metavar="N", help="build: of each source")
    data.add_argument("--bad-share", type=float, default=0.01, metavar="S", help="of rows that may be bad (0.01)")
    data.add_argument("--seed", type=int, default=0, metavar="N", help="build: decides which rows a weight takes")


def _count(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main(settings: Settings, args: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    from engine.errors import EngineError
    from sft.config import RecipeError

    command = Command(settings, args)
    try:
        return command.actions()[args.action]()
    except KeyboardInterrupt:
        command.progress.clear()
        return EXIT_INTERRUPTED
    except UnwritableError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered fails at exit otherwise
        if isinstance(error.__cause__, BrokenPipeError):  # `| head`: nobody is there to tell
            return EXIT_FAILED
        return fail(f"the result could not be written: {error}.", EXIT_FAILED)
    except AskedWronglyError as error:
        return command.failed(str(error), EXIT_ASKED_WRONGLY)
    except RecipeError as error:
        return command.failed(str(error), EXIT_ASKED_WRONGLY)
    except (EngineError, OSError) as error:
        return command.failed(str(error), EXIT_FAILED)


class AskedWronglyError(Exception):
    """The command line asks for what cannot be. Says what."""


class Command:
    """One call of `hugchat sft`. Each action returns its exit code."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        self.args = args
        self.settings = settings
        self.progress = Progress()

    def actions(self) -> dict[str, Callable[[], int]]:
        return {
            "init": self.init,
            "check": self.check,
            "data": self.data,
            "run": self.run,
            "resume": self.resume,
            "stop": self.stop,
            "ls": self.ls,
            "show": self.show,
            "tail": self.tail,
            "merge": self.merge,
            "export": self.export,
        }

    def failed(self, message: str, code: int) -> int:
        self.progress.clear()
        return fail(clean(message), code)

    def answer(self, document: object, text: str) -> None:
        """The result: as JSON when that was asked for, else as text."""
        from engine.checkpoints.library.rows import to_plain

        self.progress.clear()
        write(f"{json.dumps(to_plain(document), indent=2) if self.args.json else text}\n")

    @property
    def data_dir(self) -> Path:
        from engine.checkpoints.paths import data_dir

        return data_dir()

    def found(self) -> RunDirectory:
        from sft.runs import RunNotFoundError, find_run

        try:
            return find_run(self.data_dir, self.args.run)
        except RunNotFoundError as error:
            raise AskedWronglyError(str(error)) from error

    def init(self) -> int:
        from hugchat_tui.sft_text import recipes_table
        from sft import config
        from sft.packaged import packaged_recipe, packaged_recipes, recipe_for

        if self.args.list:
            recipes = packaged_recipes()
            listed = [{"name": each.name, "note": each.note, "base": each.recipe().model.base} for each in recipes]
            self.answer(listed, recipes_table(recipes))
            return 0
        if not self.args.base:
            raise AskedWronglyError("Name a checkpoint or a recipe. See the recipes with: hugchat sft init --list")
        base: str = self.args.base
        packaged = recipe_for(base)
        if packaged is None and "/" not in base and not Path(base).exists():
            packaged = packaged_recipe(base)
        recipe = (
            packaged.recipe() if packaged is not None else config.with_values(config.Recipe(), {"model.base": base})
        )
        if self.args.data:
            recipe = config.with_values(recipe, {"data.sources": [{"path": source} for source in self.args.data]})
        text = config.dumps(recipe)
        if self.args.file is None:
            self.answer({"recipe": text}, text.rstrip("\n"))
            return 0
        if os.path.lexists(self.args.file):
            raise AskedWronglyError(f"There is a {self.args.file} already. Name another file.")
        config.save(recipe, self.args.file)
        self.answer(
            {"path": str(self.args.file)}, f"{clean(str(self.args.file))} is written. Edit it, then: hugchat sft run"
        )
        return 0

    def check(self) -> int:
        from hugchat_tui.run_starting import read_recipe
        from sft.config import RecipeError
        from sft.recipe_checks import check_sources

        name = str(self.args.recipe)
        try:
            problems = check_sources(read_recipe(name))
        except RecipeError as error:
            problems = list(error.problems)
        document = {"recipe": name, "problems": [{"place": each.place, "message": each.message} for each in problems]}
        lines = "\n".join(f"{each}" for each in problems)
        self.answer(document, clean(lines) if problems else "The recipe is in order.")
        return EXIT_ASKED_WRONGLY if problems else 0

    def data(self) -> int:
        from hugchat_tui.sft_data import data

        return data(self)

    def run(self) -> int:
        from hugchat_tui.sft_run import run

        return run(self)

    def resume(self) -> int:
        from hugchat_tui.sft_run import resume

        return resume(self)

    def stop(self) -> int:
        from hugchat_tui.sft_watch import stop

        return stop(self)

    def tail(self) -> int:
        from hugchat_tui.sft_watch import show_tail

        return show_tail(self)

    def ls(self) -> int:
        from hugchat_tui.sft_text import runs_table
        from sft.runs import list_runs, read_status

        runs = [(run, read_status(run)) for run in list_runs(self.data_dir)]
        document = [{"name": run.name, "path": run.path, **_plain(status)} for run, status in runs]
        self.answer(document, runs_table(runs) if runs else "There is no run yet. Try: hugchat sft init --list")
        return 0

    def show(self) -> int:
        from hugchat_tui.sft_text import status_text
        from sft.runs import newest_whole_checkpoint, read_status, step_checkpoints

        run = self.found()
        status = read_status(run)
        passed_over: list[str] = []
        newest = newest_whole_checkpoint(run, say=passed_over.append)
        steps = [step for step, _ in step_checkpoints(run)]
        facts = {
            "checkpoints": ", ".join(f"step-{step}" for step in steps),
            "damaged": " ".join(passed_over),
            "result": f"hugchat chat --model runs/{run.name}" if newest or run.final.is_dir() else "",
            "next": f"hugchat sft resume {run.name}" if status.resumable else "",
            "recipe": str(run.recipe),
            "log": str(run.log),
        }
        document = {
            "name": run.name,
            "path": run.path,
            **_plain(status),
            "checkpoints": steps,
            "newest_whole": newest[0] if newest else None,
            "damaged": passed_over,
            "final": run.final.is_dir(),
        }
        self.answer(document, status_text(run, status, facts))
        return 0

    def merge(self) -> int:
        from engine.checkpoints.conversion import merge
        from engine.checkpoints.describe import describe
        from engine.checkpoints.resolve import resolve

        run = self.found()
        adapter = resolve(f"runs/{run.name}", data_dir=self.data_dir, folders=self.folders())
        if adapter.kind != "adapter":
            raise AskedWronglyError(f"{run.name} trained all of its weights: there is no adapter to merge.")
        if adapter.base is None:
            return self.failed(adapter.problem or f"Its base {adapter.base_name} is not here.", EXIT_FAILED)
        name: str = self.args.new or run.name
        path = asyncio.run(merge(adapter, describe(adapter.base), name, self.data_dir, self.progress.show))
        self.answer({"name": name, "path": str(path)}, clean(str(path)))
        return 0

    def export(self) -> int:
        from engine.checkpoints.library.export import export
        from engine.checkpoints.library.rows import Places
        from engine.checkpoints.library.scan import scan
        from engine.checkpoints.paths import hub_cache_dir

        run = self.found()
        places = Places(hub_cache_dir(), self.data_dir, tuple(self.folders()))

        async def work() -> Path | None:
            inventory = await scan(places, lambda rows: None)
            mine = [each for each in inventory.rows if each.name.partition("/step-")[0] == f"runs/{run.name}"]
            return await export(mine[0], self.args.folder, self.progress.show) if mine else None

        path = asyncio.run(work())
        if path is None:
            return self.failed(f"{run.name} has no whole checkpoint yet.", EXIT_FAILED)
        self.answer({"name": run.name, "path": str(path)}, clean(str(path)))
        return 0

    def folders(self) -> list[Path]:
        return [Path(folder).expanduser() for folder in self.settings.model.folders]


def _plain(status: object) -> dict[str, Any]:
    from dataclasses import asdict, is_dataclass

    assert is_dataclass(status)
    assert not isinstance(status, type)
    going, resumable = getattr(status, "going", False), getattr(status, "resumable", False)
    return {**asdict(status), "going": going, "resumable": resumable}
