"""Looks at a recipe's data in a process of its own, which can be killed and gives its memory back.

    python -m hugchat_tui.monitor.form_data_process RECIPE.toml BYTES

It reports JSON lines: "stage" with "done" and "total"; "rows", the first ones, as the JSON of Shown; "large", the size
of sources that are larger than BYTES, which are not counted; "counted", the JSON of Counted; or "error", in words,
with the "place" of the recipe that it is about.
What is counted is kept: the run finds it prepared.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import msgspec
import numpy as np

from engine.checkpoints.children import Report, connect_to_parent
from engine.checkpoints.paths import data_dir
from engine.checkpoints.resolve import resolve
from engine.errors import EngineError
from engine.priority import lower_priority
from hugchat_tui.common.format import counted
from sft import config
from sft.data.building import TooManyBadRowsError
from sft.data.conversation import BadRow, Conversation
from sft.data.journal import problems_of
from sft.data.packing import plan_packs
from sft.data.prepare import prepare
from sft.data.preview import Shown, preview
from sft.data.shards import Meta
from sft.data.sources import Source, files_of, read
from sft.data.tokenizer import ChatTokenizer, kept_chat_tokenizer
from sft.preparation import selection

_NICENESS = 10
_FIRST_ROWS = 5
_MOST_READ = 200  # rows of a source, while they are bad


class Counted(msgspec.Struct, frozen=True):
    """What becomes of all rows. packs: input rows of an epoch."""

    meta: Meta
    packs: int


class _WrongError(Exception):
    """Something is wrong at a place of the recipe."""

    def __init__(self, place: str, message: str) -> None:
        super().__init__(message)
        self.place = place


@contextmanager
def _at(place: str) -> Iterator[None]:
    """What cannot be read in here is wrong at this place."""
    try:
        yield
    except (EngineError, OSError) as error:
        raise _WrongError(place, str(error)) from error


def main() -> int:
    report = connect_to_parent()
    lower_priority(_NICENESS)  # the person goes on typing meanwhile
    try:
        _look(config.load(Path(sys.argv[1])), int(sys.argv[2]), report)
    except _WrongError as error:
        report({"error": str(error), "place": error.place})
    return 0


def _look(recipe: config.Recipe, most: int, report: Report) -> None:
    report({"stage": "reading the tokenizer", "done": 0, "total": 0})
    with _at("model.base"):
        base = resolve(recipe.model.base, data_dir=data_dir())
    template = "model.template" if recipe.model.template else "model.base"
    with _at(template):
        chat = kept_chat_tokenizer(base, recipe.model.template, data_dir() / "prepared" / "tokenizers")
    report({"stage": "reading the first rows", "done": 0, "total": 0})
    with _at(template):
        rows = _first_rows(recipe, chat)
    report({"rows": msgspec.json.encode(rows).decode()})
    with _at("data.sources" if len(recipe.data.sources) > 1 else "data.sources[0].path"):
        _count(recipe, chat, most, report)


def _count(recipe: config.Recipe, chat: ChatTokenizer, most: int, report: Report) -> None:
    sources = selection(recipe).sources
    size = sum(path.stat().st_size for source in sources for path in files_of(source))
    if size > most:
        report({"large": size})
        return

    def show(rows: int, done: int, total: int, documents: int, tokens: int) -> None:
        report({"stage": f"{counted(rows, 'row')}, {counted(tokens, 'token')}", "done": done, "total": total})

    prepared = prepare(selection(recipe), chat, data_dir(), bad_share=1.0, progress=show)
    lengths = prepared.lengths[np.flatnonzero(~prepared.held_out)]
    packs = plan_packs(lengths, recipe.data.max_length, recipe.training.seed, epoch=0, packing=recipe.data.packing)
    report({"counted": msgspec.json.encode(Counted(prepared.meta, len(packs.offsets) - 1)).decode()})
    problems = problems_of(prepared.meta.rows, prepared.meta.bad, prepared.meta.noted)
    if problems.refuses(recipe.data.bad_share):
        raise TooManyBadRowsError(problems, recipe.data.bad_share)


def _first_rows(recipe: config.Recipe, chat: ChatTokenizer) -> list[Shown]:
    """Some of each source, those that cannot be used among them, in the order of the sources."""
    sources = recipe.data.sources
    shown: list[Shown] = []
    for index, source in enumerate(sources):
        wanted = max(1, _FIRST_ROWS // len(sources))
        good: list[Conversation] = []
        with _at(f"data.sources[{index}].path"):
            for number, row in enumerate(read(Source(source.path, source.format))):
                if isinstance(row, BadRow):
                    if number < wanted:
                        reason = f"{row.reason}: {row.detail}".removesuffix(": ")
                        shown.append(Shown(row.source, row.line, refused=reason))
                else:
                    good.append(row)
                if len(good) >= wanted or number >= _MOST_READ:
                    break
        shown += preview(good, chat, wanted, recipe.data.max_length, recipe.data.too_long)
        if len(shown) >= _FIRST_ROWS:
            break
    return shown


if __name__ == "__main__":
    sys.exit(main())
