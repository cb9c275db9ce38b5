"""Rows of CSV and TSV files, of parquet files, and lines of text files."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from typing import TYPE_CHECKING, BinaryIO

if TYPE_CHECKING:
    import pyarrow

from sft.data.json_rows import BOM, lines_of
from sft.data.json_stream import ROW_LIMIT, too_long
from sft.data.opening import CHUNK, Skip
from sft.data.problems import UNREAD
from sft.data.turns import Record, RowError
from sft.errors import SftError

_DELIMITERS = (",", ";", "\t")
_BATCH = 256  # rows of a parquet file decoded at a time


def table_rows(stream: BinaryIO, name: str) -> Iterator[tuple[int, Record | RowError]]:
    """(line on which it begins, record) of each row of a table whose first row names the columns.

    Its delimiter is looked up in that row. Raises SftError without one.
    """
    csv.field_size_limit(ROW_LIMIT)  # a process has one; a quote that is never closed reads on up to it
    lines = _Lines(stream)
    delimiter = max(_DELIMITERS, key=lines.peek().count)
    reader = csv.reader(lines, delimiter=delimiter, strict=True)
    columns: list[str] = []
    while True:
        line = lines.number + 1
        try:
            cells = next(reader)
            "".join(cells).encode()
        except StopIteration:
            return
        except (csv.Error, RowError, UnicodeEncodeError) as error:
            if not columns:
                raise SftError(f"{name}: the row with the columns' names is broken: {error}.", "Mend it.") from error
            yield line, _row_error(error)
            continue
        if cells and not columns:
            columns = [cell.strip() for cell in cells]
        elif cells and len(cells) != len(columns):
            yield line, RowError("wrong number of columns", f"{len(cells)} instead of {len(columns)}")
        elif cells:
            yield line, dict(zip(columns, cells, strict=True))


def _row_error(error: Exception) -> RowError:
    if isinstance(error, RowError):
        return error
    return RowError("broken UTF-8" if isinstance(error, UnicodeEncodeError) else "broken CSV", str(error))


class _Lines:
    """Lines as text; bytes that are no UTF-8 become surrogates, to be reported with their row. number: of the last one.

    Raises RowError for a line that is too long, and goes on behind it.
    """

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._peeked: bytes | None = None
        self.number = 0

    def __iter__(self) -> _Lines:
        return self

    def peek(self) -> str:
        """The first line."""
        self._peeked = self._stream.readline(ROW_LIMIT + 1).removeprefix(BOM)
        return self._peeked.decode("utf-8", "surrogateescape")

    def __next__(self) -> str:
        line = self._stream.readline(ROW_LIMIT + 1) if self._peeked is None else self._peeked
        self._peeked = None
        if not line:
            raise StopIteration
        self.number += 1
        if len(line) > ROW_LIMIT and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = self._stream.readline(CHUNK)
            raise too_long()
        return line.decode("utf-8", "surrogateescape")


def text_rows(stream: BinaryIO) -> Iterator[tuple[int, Record | RowError]]:
    """(number, {"text": line}) of each line that is not blank."""
    for number, line in lines_of(stream):
        if isinstance(line, RowError):
            yield number, line
            continue
        try:
            yield number, {"text": line.decode().rstrip("\r\n")}
        except UnicodeDecodeError as error:
            yield number, RowError("broken UTF-8", str(error))


def parquet_rows(stream: BinaryIO, name: str, skip: Skip) -> Iterator[tuple[int, Record | RowError]]:
    """(number, record) of each row; row groups that are to be skipped are not read, and counted in `skip`.

    Raises SftError when it is no parquet file.
    """
    import pyarrow.parquet  # slow to import

    try:
        file = pyarrow.parquet.ParquetFile(stream, pre_buffer=False, buffer_size=CHUNK)
    except (pyarrow.ArrowException, OSError) as error:
        raise SftError(f"{name} is no parquet file, or is damaged: {_line(error)}.", "Fetch it again.") from error
    number = 0
    for group in range(file.num_row_groups):
        rows = file.metadata.row_group(group).num_rows
        if rows <= skip.left:
            skip.left -= rows
            number += rows
            continue
        try:
            for batch in file.iter_batches(batch_size=_BATCH, row_groups=[group], use_threads=False):
                for row in _records(batch):
                    number += 1
                    yield number, row
        except (pyarrow.ArrowException, OSError) as error:
            yield number + 1, RowError(UNREAD, _line(error))
            return


def _records(batch: pyarrow.RecordBatch) -> Iterator[Record | RowError]:
    import pyarrow

    try:
        yield from batch.to_pylist()
        return
    except (UnicodeDecodeError, ValueError, OverflowError, pyarrow.ArrowException):
        pass  # one of the rows cannot be had: which?
    for index in range(batch.num_rows):
        try:
            yield batch.slice(index, 1).to_pylist()[0]
        except UnicodeDecodeError as error:
            yield RowError("broken UTF-8", str(error))
        except (ValueError, OverflowError, pyarrow.ArrowException) as error:
            yield RowError("unreadable value", _line(error))


def _line(error: Exception) -> str:
    return " ".join(str(error).split()).rstrip(".")
