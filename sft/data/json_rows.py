"""Rows of JSON files, however they are laid out: the name says little, HugChat's merged `.json` files are JSON lines.

lines       one value a line
list        [row, row, ...]
instances   {"type": ..., "instances": [row, ...]}, as LMFlow writes
members     {"12345": row, ...}, as the original PubMedQA is written
sequence    objects one after another, each over many lines
"""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Literal, NamedTuple

import msgspec

from sft.data.json_stream import ROW_LIMIT, Payload, rows_in_sequence, rows_of_list, too_long
from sft.data.opening import CHUNK, HEAD
from sft.data.turns import RowError
from sft.errors import SftError

BOM = b"\xef\xbb\xbf"
_SURROGATE = re.compile(rb"\\u[dD][89a-fA-F]")
_KEY = re.compile(rb'[\s,]*"((?:[^"\\]++|\\[\s\S])*+)"\s*:\s*')
_SIMPLE = re.compile(rb'"(?:[^"\\]++|\\[\s\S])*+"|[^\s,"{}\[\]]+')  # a value that is no list and no object
_PMID = re.compile(rb'\s*\{\s*"\d+"\s*:\s*\{')
_decode = msgspec.json.Decoder().decode


class Layout(NamedTuple):
    """start: bytes before the first row of a list, its opening bracket included."""

    name: Literal["lines", "list", "instances", "members", "sequence"]
    start: int = 0


def decode(text: bytes) -> object:
    """The value of a row. Raises RowError.

    What Python writes and JSON does not know, NaN, Infinity and line breaks in strings, is taken.
    """
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return _decode_leniently(text)


def _decode_leniently(text: bytes) -> object:
    try:
        value = json.loads(text.decode(), strict=False)
        if _SURROGATE.search(text):
            json.dumps(value, ensure_ascii=False).encode()  # raises for a half of a surrogate pair
    except UnicodeError as error:
        raise RowError("broken UTF-8", str(error)) from None
    except RecursionError:
        raise RowError("nested too deeply") from None
    except ValueError as error:
        raise RowError("broken JSON", str(error)) from None
    return value


def layout_of(head: bytes, name: str) -> Layout:
    """How a file is laid out. head: its first bytes, at most HEAD. Raises SftError for UTF-16."""
    if head[:2] in (b"\xff\xfe", b"\xfe\xff"):
        raise SftError(f"{name} is written in UTF-16.", "Save it as UTF-8.")
    bom = len(BOM) if head.startswith(BOM) else 0
    text = head[bom:].lstrip()
    start = len(head) - len(text)
    lines = [line for line in text.split(b"\n") if line.strip()]
    if len(head) == HEAD:
        lines = lines[:-1]  # most likely cut
    more = len(lines) > 1 or len(head) == HEAD
    if text.startswith(b"["):
        alone = bool(lines) and _is_json(lines[0])
        objects = (line.startswith(b"{") and _is_json(line) for line in lines[1:100])
        broken_first = bool(lines) and lines[0].strip() != b"[" and _mostly(objects)
        return Layout("lines") if (alone and more) or broken_first else Layout("list", start + 1)
    if not text.startswith(b"{"):
        return Layout("lines")
    instances = _instances(text)
    if instances is not None:
        return Layout("instances", start + instances)
    if _PMID.match(text):
        return Layout("members", start + 1)
    one_a_line = not lines or _is_json(lines[0]) or _mostly(line.startswith(b"{") for line in lines[1:])
    return Layout("lines" if one_a_line else "sequence")


def _is_json(line: bytes) -> bool:
    try:
        decode(line)
    except RowError:
        return False
    return True


def _mostly(answers: Iterable[bool]) -> bool:
    """Whether more than half of the lines behind a broken one are rows: then it is a broken row."""
    both = Counter(answers)
    return both[True] > both[False]


def _instances(text: bytes) -> int | None:
    """Where the list of LMFlow's instances begins, None when there is none among the first keys."""
    at = 1
    while (key := _KEY.match(text, at)) is not None:
        at = key.end()
        if key[1] == b"instances":
            return at + 1 if text[at : at + 1] == b"[" else None
        simple = _SIMPLE.match(text, at)
        if simple is None:
            return None
        at = simple.end()
    return None


def json_rows(stream: BinaryIO, layout: Layout) -> Iterator[tuple[int, Payload]]:
    """(line, JSON of the row) of each row of a file, from its beginning; a RowError where a row cannot be had."""
    if layout.name == "lines":
        return lines_of(stream)
    before = stream.read(layout.start)
    chunks = iter(lambda: stream.read(CHUNK), b"")
    if layout.name == "sequence":
        return rows_in_sequence(itertools.chain([before.removeprefix(BOM)], chunks))
    line = 1 + before.count(b"\n")
    rows = rows_of_list(chunks, line, last=layout.name != "instances")
    return _values(rows) if layout.name == "members" else rows


def _values(rows: Iterator[tuple[int, Payload]]) -> Iterator[tuple[int, Payload]]:
    """Of `"key": value` the value."""
    for line, payload in rows:
        key = _KEY.match(payload) if isinstance(payload, bytes) else None
        yield line, payload[key.end() :] if isinstance(payload, bytes) and key is not None else payload


def lines_of(stream: BinaryIO) -> Iterator[tuple[int, Payload]]:
    """(number, line) of every line that is not blank; one that is too long is never held whole."""
    for number in itertools.count(1):
        line = stream.readline(ROW_LIMIT + 1)
        if not line:
            return
        if number == 1:
            line = line.removeprefix(BOM)
        if len(line) > ROW_LIMIT and not line.endswith(b"\n"):
            while line and not line.endswith(b"\n"):
                line = stream.readline(CHUNK)
            yield number, too_long()
        elif not line.isspace() and line:
            yield number, line
