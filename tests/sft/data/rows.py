"""What the tests of reading share: files of rows, and what was read as plain values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path

from sft.data.conversation import BadRow, Conversation
from sft.data.reading import Row, read_file

ALPACA = {"instruction": "Name a colour.", "input": "", "output": "Blue."}


def write_lines(path: Path, rows: Iterable[object]) -> Path:
    """JSON lines; bytes are written as they are."""
    lines = (row if isinstance(row, bytes) else json.dumps(row, ensure_ascii=False).encode() for row in rows)
    path.write_bytes(b"".join(line + b"\n" for line in lines))
    return path


def alpaca(number: int) -> dict[str, str]:
    return {"instruction": f"Question {number}?", "input": "", "output": f"Answer {number}."}


def said(row: Row) -> list[tuple[str, str]]:
    """(role, content) of each message of a row that must be a good one."""
    assert isinstance(row, Conversation), row
    return [(message.role, message.content) for message in row.messages]


def only(rows: Sequence[Row]) -> Row:
    assert len(rows) == 1, rows
    return rows[0]


def read_one(tmp_path: Path, record: object, format: str = "auto") -> Row:
    """The row that a file of one record has."""
    return only(list(read_file(write_lines(tmp_path / "one.jsonl", [record]), format)))


def reason(row: Row) -> str:
    assert isinstance(row, BadRow), row
    return row.reason


def places(rows: Iterable[Row]) -> list[tuple[int, str]]:
    """(line, its reason, "" for a good one) of each row."""
    return [(row.line, row.reason if isinstance(row, BadRow) else "") for row in rows]
