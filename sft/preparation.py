"""Lays ready what the ranks need, in a process of its own that can be killed and gives its memory back.

    python -m sft.preparation RUN

It tells of itself in the run's events (`phase`, and `end` when it fails) and writes prepared.json, whole:
{"path": of the prepared set, "tokenizer": of the ChatTokenizer, "base": the described checkpoint}.
"""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from engine.checkpoints.children import end_with_parent
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import data_dir
from engine.checkpoints.resolve import resolve
from engine.errors import EngineError
from engine.priority import lower_priority
from sft import config
from sft.data.building import TooManyBadRowsError
from sft.data.journal import problems_of
from sft.data.prepare import Selection, prepare
from sft.data.shards import Meta
from sft.data.sources import Source
from sft.data.tokenizer import kept_chat_tokenizer
from sft.errors import SftError
from sft.events import EventWriter
from sft.recipe_checks import check_base
from sft.recipe_text import write_whole
from sft.runs import RunDirectory

PHASE = "preparing data"
_REPORT_EVERY_S = 1.0


class Ready(msgspec.Struct, frozen=True):
    """prepared.json. path: of the prepared set. tokenizer: of the ChatTokenizer."""

    path: str
    tokenizer: str
    base: Checkpoint


def write_ready(run: RunDirectory, ready: Ready) -> None:
    """Raises OSError."""
    write_whole(run.prepared, msgspec.json.encode(ready, enc_hook=str))


def read_ready(run: RunDirectory) -> Ready:
    """Raises SftError when it is not there or makes no sense."""
    try:
        return msgspec.json.decode(run.prepared.read_bytes(), type=Ready, dec_hook=lambda kind, value: kind(value))
    except (OSError, msgspec.MsgspecError, TypeError) as error:
        raise SftError(f"{run.prepared} cannot be read: {error}.", "Start the run again: it is made anew.") from error


class _Telling:
    """Writes the phase's progress, at most once a second."""

    def __init__(self, events: EventWriter) -> None:
        self._events = events
        self._told = 0.0

    def stage(self, words: str, done: int = 0, total: int = 0) -> None:
        self._told = time.monotonic()
        self._events.write("phase", name=PHASE, done=done, total=total, words=words)

    def rows(self, rows: int, bytes_done: int, bytes_total: int, documents: int, tokens: int) -> None:
        if time.monotonic() - self._told >= _REPORT_EVERY_S:
            self.stage(f"{rows:,} rows read, {documents:,} documents, {tokens:,} tokens", bytes_done, bytes_total)


def main() -> int:
    end_with_parent()
    lower_priority(0)
    run = RunDirectory.at(Path(sys.argv[1]))
    with EventWriter(run.events) as events:
        try:
            lay_ready(run, events)
        except Exception as error:  # noqa: BLE001 - whatever it is, the run says so
            known = isinstance(error, EngineError | OSError)
            if not known:
                traceback.print_exc()
            if isinstance(error, TooManyBadRowsError):
                _log(error.problems.words())
            words = error.message if isinstance(error, EngineError) else f"The data could not be prepared: {error}"
            hint = error.hint if isinstance(error, EngineError) else ""
            if not known or isinstance(error, TooManyBadRowsError):
                hint = f"{hint} More is in {run.log}".lstrip()
            events.write("end", how="failed", step=0, words=words, hint=hint)
            return 1
    return 0


def lay_ready(run: RunDirectory, events: EventWriter) -> None:
    """Everything that the ranks read besides the recipe. Raises EngineError, OSError."""
    recipe = config.load(run.recipe)
    telling = _Telling(events)
    telling.stage("reading the tokenizer")
    base = resolve(recipe.model.base, data_dir=data_dir())
    if problems := check_base(recipe, base):
        raise config.RecipeError(run.recipe.name, problems)
    chat = kept_chat_tokenizer(base, recipe.model.template, data_dir() / "prepared" / "tokenizers")
    place = run.path / "chat_tokenizer.json"
    chat.save(place)
    telling.stage("reading rows")
    prepared = prepare(selection(recipe), chat, data_dir(), bad_share=recipe.data.bad_share, progress=telling.rows)
    meta = prepared.meta
    left_out = [f"{count:,} {what}" for count, what in _left_out(meta) if count]
    told = f"{meta.documents:,} documents, {meta.tokens:,} tokens; {meta.lengths.sentence(meta.too_long)}"
    telling.stage("; ".join([told, *left_out]), 1, 1)
    _log(problems_of(meta.rows, meta.bad, meta.noted).words())
    write_ready(run, Ready(str(prepared.path), str(place), base))


def selection(recipe: config.Recipe) -> Selection:
    """What the recipe says of the data, as sft.data takes it."""
    data = recipe.data
    return Selection(
        sources=tuple(Source(each.path, each.format, each.weight, each.cap) for each in data.sources),
        max_length=data.max_length,
        too_long=data.too_long,
        deduplicate=data.deduplicate,
        held_out=data.held_out,
        evaluation=Source(data.held_out_source) if data.held_out_source else None,
        seed=data.seed,
    )


def _left_out(meta: Meta) -> Iterator[tuple[int, str]]:
    yield meta.bad_rows, "rows cannot be used"
    yield meta.duplicates, "duplicates left out"
    yield meta.dropped, "too long ones dropped"
    yield meta.cut, "cut"


def _log(lines: Iterable[str]) -> None:
    sys.stderr.writelines(f"{line}\n" for line in lines)


if __name__ == "__main__":
    sys.exit(main())
