"""`hugchat models`: the library from the shell. Results on stdout; words and progress on stderr."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

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

if TYPE_CHECKING:
    from engine.checkpoints.library.rows import Places, Row
    from engine.checkpoints.model import Checkpoint
    from hugchat_tui.settings.schema import Settings


class AskedWronglyError(Exception):
    """The command line names something that does not exist, or needs another word. Says which."""


def add_parser(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    """The command `models` and its own commands."""
    models = commands.add_parser("models", help="find, download, check and delete checkpoints")
    actions = models.add_subparsers(dest="action", metavar="ACTION", required=True)

    def action(name: str, help: str) -> argparse.ArgumentParser:
        parser = actions.add_parser(name, help=help, description=f"{help[0].upper()}{help[1:]}.")
        parser.add_argument("--json", action="store_true", help="one JSON document on stdout")
        return parser

    action("ls", "list the checkpoints of this machine, and all else in the Hugging Face cache")
    search = action("search", "search the Hub; without words, the models we know to be good")
    search.add_argument("text", nargs="*")
    search.add_argument("--kind", choices=("models", "gguf", "adapters", "all"), default="models")
    search.add_argument("--sort", choices=("downloads", "likes", "updated"), default="downloads")
    search.add_argument("--limit", type=_positive, default=20, metavar="N")
    pull = action("pull", "download from the Hub: org/name, org/name@revision, org/name/file.gguf, or starter")
    pull.add_argument("reference")
    pull.add_argument("--detach", action="store_true", help="return at once; it goes on by itself")
    remove = action("rm", "delete checkpoints, after a look at what that frees and breaks")
    remove.add_argument("names", nargs="+", metavar="name")
    remove.add_argument("--yes", action="store_true", help="do not ask")
    verify = action("verify", "compare files with their checksums; needs no network. Without names, all of them")
    verify.add_argument("names", nargs="*", metavar="name")
    show = action("show", "say all that is known of a checkpoint")
    show.add_argument("name")
    merge = action("merge", "merge an adapter into its base: a new model")
    merge.add_argument("adapter")
    merge.add_argument("new", metavar="new-name")
    convert = action("convert", "convert a GGUF file or pickled weights to safetensors: a new model")
    convert.add_argument("name")
    convert.add_argument("new", metavar="new-name")
    export = action("export", "copy a checkpoint to a plain folder")
    export.add_argument("name")
    export.add_argument("folder", type=lambda text: Path(text).expanduser().absolute())


def _positive(text: str) -> int:
    value = int(text)
    if value < 1:
        raise ValueError(text)
    return value


def main(settings: Settings, args: argparse.Namespace) -> int:
    """Run one action; returns the exit code."""
    try:
        return asyncio.run(_main(settings, args))
    except asyncio.CancelledError:
        return EXIT_INTERRUPTED
    except UnwritableError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # what is buffered fails at exit otherwise
        if isinstance(error.__cause__, BrokenPipeError):  # `| head`: nobody is there to tell
            return EXIT_FAILED
        return fail(f"the result could not be written: {error}.", EXIT_FAILED)


async def _main(settings: Settings, args: argparse.Namespace) -> int:
    from engine.errors import EngineError

    loop = asyncio.get_running_loop()
    task = asyncio.current_task()
    if task is not None:
        loop.add_signal_handler(signal.SIGINT, task.cancel)
        loop.add_signal_handler(signal.SIGTERM, task.cancel)
    command = Command(settings, args)
    actions: dict[str, Callable[[], Awaitable[int]]] = {
        "ls": command.ls,
        "search": command.search,
        "pull": command.pull,
        "rm": command.rm,
        "verify": command.verify,
        "show": command.show,
        "merge": command.merge,
        "convert": command.convert,
        "export": command.export,
    }
    try:
        return await actions[args.action]()
    except AskedWronglyError as error:
        return command.failed(str(error), EXIT_ASKED_WRONGLY)
    except (EngineError, OSError) as error:
        return command.failed(str(error), EXIT_FAILED)
    except asyncio.CancelledError:
        command.progress.clear()
        return EXIT_INTERRUPTED


class Command:
    """One call of `hugchat models`. Each action returns its exit code."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        self.args = args
        self.progress = Progress()
        self._folders = tuple(Path(folder).expanduser() for folder in settings.model.folders)
        self._settings = settings

    def failed(self, message: str, code: int) -> int:
        self.progress.clear()
        return fail(clean(message), code)

    def _answer(self, document: object, text: str) -> None:
        """The result: as JSON when that was asked for, else as text."""
        from engine.checkpoints.library.rows import to_plain

        self.progress.clear()
        # Names from the disk may hold bytes that are no UTF-8, and any terminal must be able to take the text.
        write(f"{json.dumps(to_plain(document), indent=2) if self.args.json else text}\n")

    @property
    def _places(self) -> Places:
        from engine.checkpoints.library.rows import Places
        from engine.checkpoints.paths import data_dir, hub_cache_dir

        return Places(hub_cache_dir(), data_dir(), self._folders)

    async def _rows(self) -> list[Row]:
        from engine.checkpoints.library.scan import scan

        self.progress.show("looking for checkpoints", 0, 0)
        inventory = await scan(self._places, lambda rows: None)
        self.progress.clear()
        return list(inventory.rows)

    @staticmethod
    def _named(name: str, rows: Sequence[Row]) -> Row:
        """The row that a person means: by alias, name or path. Raises AskedWronglyError."""
        from difflib import get_close_matches

        with suppress(RuntimeError):  # ~nobody
            path = str(Path(name).expanduser().absolute())
            found = [row for row in rows if path == row.key or (row.checkpoint and path == str(row.checkpoint.path))]
            if found:
                return found[0]
        found = [row for row in rows if row.alias == name] or [row for row in rows if row.name == name]
        if len(found) > 1:
            paths = "\n".join(f"  {row.key}" for row in found)
            raise AskedWronglyError(f"{name} means {len(found)} things here. Name one by its path:\n{paths}")
        if found:
            return found[0]
        near = get_close_matches(name, [row.alias or row.name for row in rows], n=3, cutoff=0.5)
        hint = f"Nearest: {', '.join(near)}." if near else "See what is here with: hugchat models ls"
        raise AskedWronglyError(f"Nothing here is called {name}. {hint}")

    async def ls(self) -> int:
        from hugchat_tui.models_text import rows_table

        rows = await self._rows()
        self._answer(rows, rows_table(rows) if rows else "There is nothing here yet. Try: hugchat models search")
        return 0

    async def search(self) -> int:
        from engine.checkpoints.hub_queries.catalogue import catalogue
        from engine.checkpoints.hub_queries.client import HubQueries
        from hugchat_tui.models_text import catalogue_text, search_table

        if not self.args.text:
            self._answer(catalogue(), catalogue_text(catalogue()))
            return 0
        hub = HubQueries()
        try:
            self.progress.show("asking the Hub", 0, 0)
            page = await hub.search(
                " ".join(self.args.text), kind=self.args.kind, sort=self.args.sort, limit=self.args.limit
            )
        finally:
            await hub.close()
        self._answer(page.results, search_table(page.results) if page.results else "Nothing was found.")
        return 0

    async def pull(self) -> int:
        from engine.checkpoints.hub_cache import parse_hub_reference
        from engine.checkpoints.paths import data_dir
        from engine.checkpoints.starter import STARTER, install_starter

        if self.args.reference == STARTER:
            path = await install_starter(data_dir(), self.progress.show)
            self._answer({"reference": STARTER, "path": str(path)}, str(path))
            return 0
        reference = parse_hub_reference(self.args.reference)
        if reference is None:
            raise AskedWronglyError(
                f"{self.args.reference} is no Hub reference. Write org/name, org/name@revision or org/name/file.gguf."
            )
        from hugchat_tui.models_pull import pull

        return await pull(reference, self.args.detach, self.progress, self._answer)

    async def rm(self) -> int:
        from engine.checkpoints.library.removal import plan_removal
        from engine.checkpoints.library.trash import Trash
        from hugchat_tui.models_text import removal_text

        rows = await self._rows()
        chosen = [self._named(name, rows) for name in self.args.names]
        removal = await asyncio.to_thread(plan_removal, chosen, rows, self._places)
        if removal.refuses:
            self.progress.say(removal_text(removal))
            return EXIT_FAILED
        if not self.args.yes:
            if self.args.json or not sys.stdin.isatty():
                plan = removal_text(removal)
                raise AskedWronglyError(f"Nobody can be asked, so nothing was deleted. Add --yes to do this:\n{plan}")
            self.progress.say(removal_text(removal))
            if not await _agreed():
                return EXIT_FAILED
        await asyncio.to_thread(Trash(self._places).delete_for_good, removal)
        document = {
            "deleted": [row.name for row in removal.rows],
            "freed_bytes": removal.freed_bytes,
            "broken": [broken.row.name for broken in removal.breaks],
        }
        self._answer(document, f"{removal.freed_bytes:,} bytes are free again.")
        return 0

    async def verify(self) -> int:
        from engine.checkpoints.library.verify import verify
        from hugchat_tui.models_text import verification_text

        rows = await self._rows()
        everything = [row for row in rows if row.kind not in ("unfinished", "other")]
        chosen = [self._named(name, rows) for name in self.args.names] if self.args.names else everything
        document, texts = [], []
        ok = True
        for row in chosen:
            result = await verify(row, partial(self._show_of, row.name))
            ok &= result.ok or not result.problems
            document.append({"name": row.name, "path": row.key, "ok": result.ok, "result": result})
            texts.append(verification_text(row.name, result))
        self._answer(document, "\n".join(texts))
        return 0 if ok else EXIT_FAILED

    def _show_of(self, name: str, stage: str, done: int, total: int) -> None:
        self.progress.show(f"{name}: {stage}", done, total)

    async def show(self) -> int:
        from engine.checkpoints.library.details import read_details
        from engine.fit import Fit, estimate
        from hugchat_tui.models_text import details_text

        rows = await self._rows()
        row = self._named(self.args.name, rows)
        details = await asyncio.to_thread(read_details, row)
        fit = Fit("unknown")
        if row.checkpoint is not None:
            chosen = self._settings
            base = _base_of(row.checkpoint, rows)
            fit = await asyncio.to_thread(
                estimate,
                row.checkpoint,
                base,
                device=chosen.model.device,
                dtype=chosen.model.dtype,
                ram_budget=chosen.engine.memory_budget_bytes,
            )
        self._answer({"row": row, "details": details, "fit": fit}, details_text(row, details, fit))
        return 0

    async def merge(self) -> int:
        from engine.checkpoints.conversion import merge

        rows = await self._rows()
        adapter = self._named(self.args.adapter, rows).checkpoint
        if adapter is None or adapter.kind != "adapter":
            raise AskedWronglyError(f"{self.args.adapter} is no adapter.")
        base = _base_of(adapter, rows)
        if base is None:
            return self.failed(adapter.problem or f"Its base {adapter.base_name} is not here.", EXIT_FAILED)
        path = await merge(adapter, base, self.args.new, self._places.data_dir, self.progress.show)
        self._answer({"name": self.args.new, "path": str(path)}, str(path))
        return 0

    async def convert(self) -> int:
        from engine.checkpoints.conversion import convert

        checkpoint = self._named(self.args.name, await self._rows()).checkpoint
        if checkpoint is None:
            raise AskedWronglyError(f"{self.args.name} is no checkpoint.")
        path = await convert(checkpoint, self.args.new, self._places.data_dir, self.progress.show)
        self._answer({"name": self.args.new, "path": str(path)}, str(path))
        return 0

    async def export(self) -> int:
        from engine.checkpoints.library.export import export

        row = self._named(self.args.name, await self._rows())
        path = await export(row, self.args.folder, self.progress.show)
        self._answer({"name": row.name, "path": str(path)}, str(path))
        return 0


def _base_of(adapter: Checkpoint, rows: Sequence[Row]) -> Checkpoint | None:
    return next((row.checkpoint for row in rows if row.checkpoint and row.checkpoint.path == adapter.base), None)


async def _agreed() -> bool:
    sys.stderr.write("Delete? [y/N] ")
    sys.stderr.flush()
    line = await asyncio.to_thread(sys.stdin.readline)
    return line.strip().lower() in ("y", "yes")
