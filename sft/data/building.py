"""Builds one file of rows from many sources: HugChat's three merged corpora, or a mix of one's own.

    instruction_en_corpora.json    the English rows
    instruction_zh_corpora.json    the Chinese rows
    instruction_corpora.json       both

They are JSON lines in spite of their names, {"text": ...} a line, as HugNLP's are. A file is whole or absent: it is
written beside its name, and renamed when all of it is on the disk.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO, Literal

import msgspec

from sft.data import hugchat_text
from sft.data.conversation import Conversation
from sft.data.duplicates import Duplicates
from sft.data.language import language
from sft.data.mixing import check, draw
from sft.data.problems import Problems
from sft.data.sources import Source, corpus_of, files_of
from sft.errors import SftError

ENGLISH = "instruction_en_corpora.json"
CHINESE = "instruction_zh_corpora.json"
BOTH = "instruction_corpora.json"

Form = Literal["text", "messages"]
_EVERY = 2000  # rows between two reports
_encode = msgspec.json.Encoder().encode

# Why rows are left out.
DUPLICATE = "duplicate left out"
OTHER_LANGUAGE = "neither English nor Chinese, left out"
UNWRITABLE = "left out, it cannot be written as HugChat's text"


class TooManyBadRowsError(SftError):
    """More rows are bad than were to be borne. problems: which."""

    code = "bad-rows"

    def __init__(self, problems: Problems, share: float) -> None:
        worst = next(iter(problems.bad), "")
        super().__init__(
            f"{problems.bad_rows:,} of {problems.rows:,} rows cannot be used ({problems.share:.2%}), "
            f"more than the {share:.2%} allowed; the commonest reason: {worst}.",
            "Mend the rows, or allow a larger share.",
        )
        self.problems = problems


@dataclass(slots=True)
class Progress:
    """source: the one that is read. rows: read of all sources. written: rows of all files."""

    source: str
    rows: int
    written: int


@dataclass(slots=True)
class Built:
    """rows: written to each file. problems: all that was read, left out or changed."""

    rows: dict[Path, int] = field(default_factory=dict)
    problems: Problems = field(default_factory=Problems)


Report = Callable[[Progress], None]


def build(
    out_dir: Path,
    sources: Sequence[Source],
    *,
    seed: int = 0,
    deduplicate: bool = True,
    bad_share: float = 0.01,
    report: Report | None = None,
) -> Built:
    """Write HugChat's three files to a folder.

    A corpus is in its own language, whatever a row of it looks like; the rows of other sources are looked at. Those of
    neither language are left out and counted. What `report` raises ends the build without a trace.
    Raises SftError, among others TooManyBadRowsError, and then writes none of the files.
    """
    names = {"en": (out_dir / ENGLISH, out_dir / BOTH), "zh": (out_dir / CHINESE, out_dir / BOTH)}

    def places(source: Source, row: Conversation) -> tuple[Path, ...]:
        corpus = corpus_of(source)
        return names.get(corpus.language if corpus is not None else language(row), ())

    files = (out_dir / ENGLISH, out_dir / CHINESE, out_dir / BOTH)
    return _write(files, places, sources, "text", seed, deduplicate, bad_share, report)


def mix(
    path: Path,
    sources: Sequence[Source],
    *,
    form: Form = "text",
    seed: int = 0,
    deduplicate: bool = True,
    bad_share: float = 0.01,
    report: Report | None = None,
) -> Built:
    """Write the rows of all sources, whatever their language, to one file.

    form: "text", HugChat's, in which contents have no blank lines; "messages" keeps everything. Raises SftError.
    """
    return _write((path,), lambda source, row: (path,), sources, form, seed, deduplicate, bad_share, report)


def _write(
    files: Sequence[Path],
    places: Callable[[Source, Conversation], tuple[Path, ...]],
    sources: Sequence[Source],
    form: Form,
    seed: int,
    deduplicate: bool,
    bad_share: float,
    report: Report | None,
) -> Built:
    if not sources:
        raise SftError("There is nothing to build from.", "Name a file, a folder or a corpus.")
    for source in sources:
        check(source)
        clash = set(map(Path.absolute, files)) & set(map(Path.absolute, files_of(source)))
        if clash:
            raise SftError(f"{clash.pop()} would be read and written.", "Write to another folder.")
    built = Built(dict.fromkeys(files, 0))
    seen = Duplicates() if deduplicate else None
    with _written_together(files) as streams:
        for source, row, count in _rows(sources, seed, built, report):
            why = _left_out(row, form, seen)
            targets = () if why else places(source, row)
            if not targets:
                built.problems.note(why or OTHER_LANGUAGE, row.source, row.line)
                continue
            line = (_text(row) if form == "text" else _messages(row)) * count
            for path in targets:
                streams[path].write(line)
                built.rows[path] += count
        if built.problems.refuses(bad_share):
            raise TooManyBadRowsError(built.problems, bad_share)
    return built


def _rows(
    sources: Sequence[Source], seed: int, built: Built, report: Report | None
) -> Iterator[tuple[Source, Conversation, int]]:
    for source in sources:
        for drawn in draw(source, seed):
            built.problems.add(drawn.row)
            if report is not None and built.problems.rows % _EVERY == 0:
                report(Progress(source.path, built.problems.rows, sum(built.rows.values())))
            if isinstance(drawn.row, Conversation):
                yield source, drawn.row, drawn.times


def _left_out(row: Conversation, form: Form, seen: Duplicates | None) -> str:
    if form == "text" and (row.text or not hugchat_text.can_be_written(row.messages)):
        return UNWRITABLE
    return DUPLICATE if seen is not None and seen.seen(row) else ""


def _text(row: Conversation) -> bytes:
    return _encode({"text": hugchat_text.render(row.messages)}) + b"\n"


def _messages(row: Conversation) -> bytes:
    if row.text:
        return _encode({"text": row.messages[0].content}) + b"\n"
    messages: list[dict[str, object]] = []
    for message in row.messages:
        said: dict[str, object] = {"role": message.role, "content": message.content}
        messages.append(said if message.trained else {**said, "weight": 0})
    return _encode({"messages": messages}) + b"\n"


@contextmanager
def _written_together(files: Sequence[Path]) -> Iterator[dict[Path, BinaryIO]]:
    """Streams to write files to, which appear under their names when the block ends well, and not at all otherwise."""
    from filelock import FileLock, Timeout

    folder = files[0].parent
    temporary = {path: path.with_name(f".{path.name}.tmp") for path in files}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with FileLock(folder / ".build.lock", timeout=0):
            try:
                with ExitStack() as stack:
                    streams = {path: stack.enter_context(temporary[path].open("wb", 1 << 20)) for path in files}
                    yield streams
                    for stream in streams.values():
                        stream.flush()
                        os.fsync(stream.fileno())
                for path in files:
                    temporary[path].replace(path)
                _sync(folder)
            finally:
                for path in temporary.values():
                    path.unlink(missing_ok=True)
    except Timeout as error:
        raise SftError(f"Another build writes to {folder}.", "Wait for it, or write to another folder.") from error
    except OSError as error:
        raise SftError(
            f"{folder} cannot be written to: {error.strerror or error}.", "Free some space, or name another folder."
        ) from error


def _sync(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
