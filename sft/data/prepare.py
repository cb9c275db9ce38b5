"""Rows to shards of tokens: one pass over the sources, many processes, bounded memory, and nothing done twice.

    prepared/files.json      hashes of data files, by path, size and time
    prepared/NAME.lock       held by whoever makes the set; another one waits and finds it done
    prepared/NAME.partial/   the set while it is made: shards that are finished, and the journal to go on from
    prepared/NAME/           the finished set (sft.data.shards)

The same rows give the same bytes, however many processes encode them and however often the work was interrupted.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from filelock import FileLock, Timeout

from engine.checkpoints.making import put_in_place
from sft.data.building import TooManyBadRowsError
from sft.data.encoding_process import Setup
from sft.data.filling import Filling
from sft.data.identity import hashed_files, set_name
from sft.data.journal import problems_of
from sft.data.reading_position import ReadingPosition
from sft.data.shards import Meta, Prepared, token_dtype
from sft.data.sources import Source
from sft.data.tokenizer import ChatTokenizer
from sft.errors import SftError

PREPARED = "prepared"
Progress = Callable[[int, int, int, int, int], None]
"""rows done, bytes of the sources done, bytes in all, documents, tokens; some four times a second."""

_REPORT_EVERY_S = 0.25
_SPACE_LEFT = 64 << 20


@dataclass(frozen=True, kw_only=True)
class Selection:
    """Which documents a set is to hold.

    max_length: tokens of a document at most. too_long: "cut" keeps the first whole turns that fit (or, where not even
    one does, the first tokens), and splits texts; "drop" leaves such rows out. held_out: the share of the documents
    that is for evaluation; evaluation: a source of its own for that, then held_out is not used. seed: of weights and of
    what is held out.
    """

    sources: tuple[Source, ...]
    max_length: int
    too_long: Literal["cut", "drop"] = "cut"
    deduplicate: bool = True
    held_out: float = 0.0
    evaluation: Source | None = None
    seed: int = 0


def prepare(
    selection: Selection,
    chat: ChatTokenizer,
    data_dir: Path,
    *,
    bad_share: float = 0.01,
    workers: int | None = None,
    progress: Progress | None = None,
) -> Prepared:
    """The set of these documents: opened when it is there, else made, from where an earlier attempt was interrupted.

    bad_share: the share of rows that may be bad. workers: processes that encode, one a core where it is None.

    Raises TooManyBadRowsError, which carries the counts and places, once all rows were read (the set is kept, and a
    larger share takes it at once) or early when more than half of the rows are bad; SftError for everything else.
    KeyboardInterrupt and the death of this process leave what is needed to go on, and no process behind.
    """
    folder = data_dir / PREPARED
    report = _Throttled(progress)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        return _prepare(selection, chat, folder, bad_share, workers or _cores(), report)
    except OSError as error:
        where = f" ({error.filename})" if error.filename else ""
        raise SftError(
            f"The prepared data could not be written below {folder}: {error.strerror or error}{where}.",
            "Check free disk space and permissions. What is finished is kept: start it again.",
        ) from error


def _prepare(
    selection: Selection, chat: ChatTokenizer, folder: Path, bad_share: float, workers: int, report: _Throttled
) -> Prepared:
    sources = (*selection.sources, *((selection.evaluation,) if selection.evaluation else ()))
    if not selection.sources:
        raise SftError("There is no source of rows.", "Name one in the recipe ([data] sources), or with --data.")
    files = hashed_files(sources, folder / "files.json", lambda done, total: report(0, done, total, 0, 0))
    fingerprint = chat.fingerprint()
    name = set_name(
        sources,
        files,
        [
            fingerprint,
            selection.max_length,
            selection.too_long,
            selection.deduplicate,
            0.0 if selection.evaluation else selection.held_out,
            selection.evaluation is not None,
            selection.seed,
        ],
    )
    position = ReadingPosition([[(file.path, file.size) for file in each] for each in files])
    total = position.total
    with _Alone(folder / f"{name}.lock", lambda: report(0, 0, total, 0, 0)):
        if not (folder / name).exists():
            partial = folder / f"{name}.partial"
            partial.mkdir(exist_ok=True)
            _check_space(partial, total, chat)
            setup = Setup(chat, selection.max_length, selection.too_long)
            with Filling(partial, setup, workers, report) as filling:
                filling.fill(
                    sources,
                    position,
                    seed=selection.seed,
                    deduplicate=selection.deduplicate,
                    evaluation=len(sources) - 1 if selection.evaluation else -1,
                    bad_share=bad_share,
                )
                if changed := next((file.path for each in files for file in each if file.changed()), None):
                    shutil.rmtree(partial)
                    raise SftError(f"{changed} was changed while it was read.", "Start it again once it is finished.")
                filling.finish(
                    held_out=selection.held_out,
                    seed=selection.seed,
                    too_long=selection.too_long,
                    fingerprint=fingerprint,
                )
            put_in_place(partial, folder / name)
    prepared = Prepared.open(folder / name)
    _check(prepared.meta, bad_share)
    return prepared


def _check(meta: Meta, bad_share: float) -> None:
    problems = problems_of(meta.rows, meta.bad, meta.noted)
    if problems.refuses(bad_share):
        raise TooManyBadRowsError(problems, bad_share)
    if not meta.documents:
        raise SftError("There is no row to train on.", "See what became of the rows: hugchat sft data preview")


class _Throttled:
    """Calls progress about four times a second, and leaves out what comes in between."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._called = -_REPORT_EVERY_S

    @property
    def due(self) -> bool:
        return self._progress is not None and time.monotonic() - self._called >= _REPORT_EVERY_S

    def __call__(self, rows: int, bytes_done: int, bytes_total: int, documents: int, tokens: int) -> None:
        if self._progress is not None and self.due:
            self._called = time.monotonic()
            self._progress(rows, bytes_done, bytes_total, documents, tokens)


class _Alone:
    """Holds a lock, and can be interrupted while waiting for it. The system frees it when its holder dies."""

    def __init__(self, path: Path, waiting: Callable[[], None]) -> None:
        self._lock = FileLock(path)
        self._waiting = waiting

    def __enter__(self) -> None:
        while True:
            try:
                self._lock.acquire(timeout=_REPORT_EVERY_S)
            except Timeout:
                self._waiting()
            else:
                return

    def __exit__(self, *_: object) -> None:
        self._lock.release()


def _check_space(directory: Path, total: int, chat: ChatTokenizer) -> None:
    """A token is three bytes of text or more, and takes its id and a byte for being trained."""
    there = sum(path.stat().st_size for path in directory.iterdir())
    needed = total * (token_dtype(chat.vocabulary).itemsize + 1) // 3 - there + _SPACE_LEFT
    free = shutil.disk_usage(directory).free
    if free < needed:
        raise SftError(
            f"The prepared data will take about {needed >> 20:,} MiB below {directory.parent}; {free >> 20:,} MiB are"
            " free.",
            "Free some space, or take fewer rows: a smaller weight or a cap.",
        )


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1
