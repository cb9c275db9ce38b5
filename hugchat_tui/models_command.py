"""`hugchat models`: the library from the shell. Results on stdout; words and progress on stderr."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import shutil
import signal
import sys
from collections.abc import Awaitable, Callable, Sequence
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
from hugchat_tui.common.format import sentences
from hugchat_tui.models_parser import add_parser

if TYPE_CHECKING:
    from engine.checkpoints.library.rows import Places, Row
    from engine.checkpoints.model import Checkpoint
    from hugchat_tui.settings.schema import Settings


__all__ = ["add_parser", "main"]


class AskedWronglyError(Exception):
    """The command line names something that does not exist, or needs another word. Says which."""


class _Telling(Progress):
    """Remembers what was said last, which is why something failed where no error says it."""

    said = ""

    def say(self, text: str) -> None:
        self.said = text
        super().say(text)


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
        code = await actions[args.action]()
        return code if not code or command.answered else command.unanswered(code)
    except AskedWronglyError as error:
        return command.failed(str(error), EXIT_ASKED_WRONGLY, name="asked-wrongly")
    except EngineError as error:
        return command.failed(error.message, EXIT_FAILED, error.hint, name=error.code)
    except OSError as error:
        return command.failed(str(error), EXIT_FAILED, name="system")
    except asyncio.CancelledError:
        command.progress.clear()
        return EXIT_INTERRUPTED


class Command:
    """One call of `hugchat models`. Each action returns its exit code."""

    def __init__(self, settings: Settings, args: argparse.Namespace) -> None:
        self.args = args
        self.progress = _Telling()
        self.answered = False  # on stdout
        from engine.checkpoints.paths import full_path

        self._folders = tuple(full_path(Path(folder)) for folder in settings.model.folders)
        self._settings = settings

    def failed(self, message: str, code: int, hint: str = "", *, name: str = "failed") -> int:
        """Say why, on stderr; where JSON was asked for, on stdout as well. name: of the kind of error."""
        self.progress.clear()
        if self.args.json and not self.answered:
            self._answer({"error": {"code": name, "message": clean(message), "hint": clean(hint)}}, "")
        return fail(clean(sentences(message, hint)), code)

    def unanswered(self, code: int) -> int:
        """It failed and has said why; where JSON was asked for it is there, too."""
        if self.args.json:
            self._answer({"error": {"code": "failed", "message": clean(self.progress.said), "hint": ""}}, "")
        return code

    @property
    def _width(self) -> int | None:
        """Cells that a line of stdout has; None where it is no terminal."""
        return shutil.get_terminal_size().columns if sys.stdout.isatty() else None

    def _answer(self, document: object, text: str) -> None:
        """The result: as JSON when that was asked for, else as text."""
        from engine.checkpoints.library.rows import to_plain

        self.progress.clear()
        self.answered = True
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

        from engine.checkpoints.hub_cache import parse_hub_reference
        from engine.checkpoints.paths import full_path

        path = str(full_path(Path(name)))
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
        if parse_hub_reference(name) is not None and "/" in name:
            hint += f"\nFrom the Hub: hugchat models pull {name}"
        raise AskedWronglyError(f"Nothing here is called {name}. {hint}")

    async def ls(self) -> int:
        from hugchat_tui.models_text import rows_table

        rows = await self._rows()
        self._answer(
            rows, rows_table(rows, self._width) if rows else "There is nothing here yet. Try: hugchat models search"
        )
        return 0

    async def search(self) -> int:
        from engine.checkpoints.hub_queries.catalogue import catalogue
        from engine.checkpoints.hub_queries.client import HubQueries
        from hugchat_tui.models_text import catalogue_text, entry_document, model_document, search_table

        kind, sort, limit = self.args.kind, self.args.sort, self.args.limit
        if not self.args.text and kind is sort is limit is None:
            document = [entry_document(entry, group) for group in catalogue() for entry in group.entries]
            self._answer(document, catalogue_text(catalogue(), self._width))
            return 0
        hub = HubQueries()
        try:
            self.progress.show("asking the Hub", 0, 0)
            page = await hub.search(
                " ".join(self.args.text), kind=kind or "models", sort=sort or "downloads", limit=limit or 20
            )
        finally:
            await hub.close()
        text = search_table(page.results, self._width) if page.results else "Nothing was found."
        self._answer([model_document(model) for model in page.results], text)
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
        from hugchat_tui.library.breaking import told_apart
        from hugchat_tui.models_text import removal_text

        rows = await self._rows()
        chosen = [self._named(name, rows) for name in self.args.names]
        removal = await asyncio.to_thread(plan_removal, chosen, rows, self._places)
        if removal.refuses:
            raise AskedWronglyError(f"Nothing was deleted.\n{removal_text(removal)}")
        if not self.args.yes:
            if self.args.json or not sys.stdin.isatty():
                plan = removal_text(removal)
                why = "With --json nothing is asked" if self.args.json else "Nobody can be asked"
                raise AskedWronglyError(f"{why}, so nothing was deleted. Add --yes to do this:\n{plan}")
            self.progress.say(removal_text(removal))
            if not await _agreed():
                self.progress.say("Nothing was deleted.")
                return EXIT_FAILED
        await asyncio.to_thread(Trash(self._places).delete_for_good, removal)
        document = {
            "deleted": [row.name for row in removal.rows],
            "freed_bytes": removal.freed_bytes,
            "broken": [each.row.name for each in told_apart(removal.breaks)[0]],
            "not_to_be_made_again": [each.row.name for each in told_apart(removal.breaks)[1]],
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
        from hugchat_tui.library.measuring import counted_context
        from hugchat_tui.models_text import details_text

        rows = await self._rows()
        row = self._named(self.args.name, rows)
        details = await asyncio.to_thread(read_details, row)
        fit, context = Fit("unknown"), 0
        if row.checkpoint is not None:
            context = counted_context(row.checkpoint)
            chosen = self._settings
            base = _base_of(row.checkpoint, rows)
            fit = await asyncio.to_thread(
                estimate,
                row.checkpoint,
                base,
                device=chosen.model.device,
                dtype=chosen.model.dtype,
                ram_budget=chosen.engine.memory_budget_bytes,
                context=context,
            )
        self._answer({"row": row, "details": details, "fit": fit}, details_text(row, details, fit, context))
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
        from engine.errors import CheckpointRefusedError

        checkpoint = self._named(self.args.name, await self._rows()).checkpoint
        if checkpoint is None:
            raise AskedWronglyError(f"{self.args.name} is no checkpoint.")
        try:
            path = await convert(checkpoint, self.args.new, self._places.data_dir, self.progress.show)
        except CheckpointRefusedError as error:
            raise AskedWronglyError(str(error)) from error
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
    try:
        line = await asyncio.to_thread(sys.stdin.readline)
    except asyncio.CancelledError:
        sys.stderr.write("\n")  # what the shell says next begins a line of its own
        sys.stderr.flush()
        raise
    return line.strip().lower() in ("y", "yes")
