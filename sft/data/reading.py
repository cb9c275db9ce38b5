"""Rows of files as conversations: opened, taken apart, recognised, converted, each with its place."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from pathlib import Path

from sft.data.conversation import BadRow, Conversation
from sft.data.formats import FORMATS, Convert, format_named, recognise
from sft.data.json_rows import Layout, decode, json_rows, layout_of
from sft.data.opening import DAMAGED, Part, Skip, parts_of
from sft.data.problems import UNREAD
from sft.data.tables import parquet_rows, table_rows, text_rows
from sft.data.turns import Record, RowError, kind
from sft.errors import SftError

AUTO = "auto"
_WINDOW = 64  # rows by which a file's format is recognised
_WINDOW_AT_MOST = 1000  # where none of those is an object
_WINDOW_BYTES = 32 * 1024 * 1024

Row = Conversation | BadRow
_Raw = Iterator[tuple[int, bytes | Record | RowError]]


def read_file(path: Path | str, format: str = AUTO, *, skip: int = 0) -> Iterator[Row]:
    """Every row of a file or an archive, from the one after `skip` on. Raises SftError."""
    yield from read_parts(parts_of(Path(path), str(path)), format, None, Skip(skip))


def read_parts(parts: Iterator[Part], format: str, usual: str | None, skip: Skip) -> Iterator[Row]:
    """Every row of some files. usual: the format that "auto" means, None to recognise it by each file's first rows.

    Raises SftError for a format or a kind of file that is not known, and when a file cannot be opened.
    """
    if format != AUTO and format not in FORMATS:
        raise SftError(f"There is no format {format}.", f"The formats: {', '.join(FORMATS)}; {AUTO} recognises them.")
    for part in parts:
        yield from _read_part(part, format, usual, skip)


def _read_part(part: Part, format: str, usual: str | None, skip: Skip) -> Iterator[Row]:
    layout = Layout("lines")
    if part.kind == "json":
        head = _head(part)
        if isinstance(head, BadRow):
            if skip.left:
                skip.left -= 1
            else:
                yield head
            return
        layout = layout_of(head, part.name)
    if format == AUTO:
        if layout.name == "instances":
            format = "lmflow"
        elif usual is not None:
            format = usual
    skipped = skip.left
    rows = _raw_rows(part, layout, skip)
    window, first = _window(rows)
    if not window:
        return
    if skipped:
        _, first = _window(_raw_rows(part, layout, Skip()))
    converter = _converter(part, format, first)
    source = part.name
    for line, raw in itertools.chain(window, rows):
        try:
            record = _value(raw)
            if not isinstance(record, Mapping):
                raise RowError("not an object", f"it is {kind(record)}")
            made = converter(record)
        except RowError as error:
            yield BadRow(source, line, error.reason, error.detail)
        else:
            yield Conversation(made.messages, source, line, made.text, made.note)


def _window(rows: _Raw) -> tuple[list[tuple[int, bytes | Record | RowError]], list[Record]]:
    """The first rows, and the objects among them: some, if there are any for a long way."""
    window: list[tuple[int, bytes | Record | RowError]] = []
    records: list[Record] = []
    size = 0
    for line, raw in rows:
        window.append((line, raw))
        size += len(raw) if isinstance(raw, bytes) else 0
        record = _record(raw)
        if record is not None:
            records.append(record)
        if len(window) >= (_WINDOW if records else _WINDOW_AT_MOST) or size > _WINDOW_BYTES:
            break
    return window, records


def _head(part: Part) -> bytes | BadRow:
    try:
        return part.head()
    except DAMAGED as error:
        return BadRow(part.name, 1, UNREAD, _why(error))


def _raw_rows(part: Part, layout: Layout, skip: Skip) -> _Raw:
    """The rows behind those to be skipped; what breaks reading becomes the last one."""
    line = 0
    try:
        with part.open() as stream:
            if part.kind == "parquet":
                rows: _Raw = parquet_rows(stream, part.name, skip)
            elif part.kind == "table":
                rows = table_rows(stream, part.name)
            elif part.kind == "text":
                rows = text_rows(stream)
            else:
                rows = json_rows(stream, layout)
            for line, raw in rows:
                if skip.left:
                    skip.left -= 1
                else:
                    yield line, raw
    except DAMAGED as error:
        if skip.left:
            skip.left -= 1
        else:
            yield line + 1, RowError(UNREAD, _why(error))


def _why(error: BaseException) -> str:
    return (error.strerror if isinstance(error, OSError) else "") or str(error) or type(error).__name__


def _value(raw: bytes | Record | RowError) -> object:
    if isinstance(raw, bytes):
        return decode(raw)
    if isinstance(raw, RowError):
        raise raw
    return raw


def _record(raw: bytes | Record | RowError) -> Record | None:
    try:
        value = _value(raw)
    except RowError:
        return None
    return value if isinstance(value, Mapping) else None


def _converter(part: Part, format: str, first: list[Record]) -> Convert:
    if format == AUTO:
        # Without a single object among the first rows nothing tells; then all rows are reported, one by one.
        name = recognise(first) if first else "text"
        if name is None:
            raise SftError(
                f"The rows of {part.name} are of no format that is known; the first has the fields "
                f"{', '.join(map(str, list(first[0])[:12])) or 'of an empty object'}.",
                f"Rename the fields, or name one of the formats: {', '.join(FORMATS)}.",
            )
        format = name
    return format_named(format).converter(first)
