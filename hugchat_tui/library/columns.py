"""The columns of the table of checkpoints: what each shows of a row, and what it sorts by."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from engine.checkpoints.library.rows import Row
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import file_size, grouped, parameter_count
from hugchat_tui.common.fuzzy import Candidate

if TYPE_CHECKING:
    from engine.fit import Fit

_NAME_CHARACTERS = 200
_COMMIT = re.compile(r"(?<=@)([0-9a-f]{8})[0-9a-f]{32}$")
_SHORT_DTYPES = {"bfloat16": "bf16", "float16": "f16", "float32": "f32", "float64": "f64"}
FIT_WORDS = {"fits": "fits", "tight": "tight", "no": "no", "unknown": ""}
_FIT_ORDER = {"fits": 1, "tight": 2, "no": 3}

Value = float | str
"""What a column sorts and compares by; "" and 0 mean unknown and stand last in every order."""


class Listed:
    """A row of the table: what the scan found with what was made of it, each text cleaned and formatted once.

    fit: None until it was estimated.
    """

    def __init__(self, row: Row, fit: Fit | None = None) -> None:
        self.row = row
        self.fit = fit

    @cached_property
    def name(self) -> str:
        """The person's own name for it, else the name it came with, a commit in it cut to what tells it apart."""
        name = self.row.alias or _COMMIT.sub(r"\1", self.row.name)
        return clean_line(name[:_NAME_CHARACTERS])

    @cached_property
    def problem(self) -> str:
        return clean_line(self.row.problem)

    @property
    def usable(self) -> bool:
        """Whether it can be loaded."""
        return self.row.kind in ("model", "adapter", "gguf") and not self.row.problem

    @cached_property
    def candidate(self) -> Candidate:
        return Candidate(self.name)

    @cached_property
    def folded(self) -> str:
        """The name as it is sorted by."""
        return self.name.lower()

    @cached_property
    def words(self) -> str:
        """Every text that a word of the filter is looked for in, in small letters; it is never shown."""
        row, checkpoint = self.row, self.row.checkpoint
        texts = [row.name[:_NAME_CHARACTERS], row.alias, row.kind, row.note, *row.refs]
        if checkpoint is not None:
            texts += [checkpoint.family, checkpoint.quantization, dtype_of(row), checkpoint.dtype, checkpoint.licence]
        return "\n".join(texts).lower()

    @cached_property
    def cells(self) -> tuple[str, ...]:
        """The text of every column, in their order."""
        return tuple(clean_line(column.text(self)) for column in COLUMNS)


@dataclass(frozen=True, slots=True)
class Column:
    """id: its name in a filter ("size>1gb"). right: numbers stand at the right edge. weight: the one that matters
    least goes first on a narrow screen; the name stays. text: what is shown. value: what is sorted and compared.
    largest_first: the order that is asked for first.
    """

    id: str
    title: str
    width: int
    weight: int
    text: Callable[[Listed], str]
    value: Callable[[Listed], Value]
    right: bool = False
    largest_first: bool = False


def kind_of(row: Row) -> str:
    return row.kind


def dtype_of(row: Row) -> str:
    """The number format in a word: "bf16", "Q4_K_M", "gptq 4-bit"."""
    checkpoint = row.checkpoint
    if checkpoint is None:
        return ""
    return checkpoint.quantization or _SHORT_DTYPES.get(checkpoint.dtype, checkpoint.dtype)


def age(seconds: float) -> str:
    """How long ago, in one number: "now", "12 min", "3 h", "5 d", "7 mo", "2 y"."""
    for limit, size, unit in ((3600, 60, "min"), (86_400, 3600, "h"), (60 * 86_400, 86_400, "d")):
        if seconds < limit:
            return f"{int(seconds // size)} {unit}" if seconds >= 60 else "now"
    months = int(seconds // (30.44 * 86_400))
    return f"{months} mo" if months < 24 else f"{months // 12} y"


def _used(listed: Listed) -> str:
    return age(max(0.0, time.time() - listed.row.used)) if listed.row.used else ""


def _number(read: Callable[[Row], float]) -> Callable[[Listed], Value]:
    return lambda listed: read(listed.row)


def _text(read: Callable[[Row], str]) -> Callable[[Listed], Value]:
    return lambda listed: read(listed.row).lower()


def _family(row: Row) -> str:
    return row.checkpoint.family if row.checkpoint is not None else ""


def _parameters(row: Row) -> int:
    return row.checkpoint.parameters if row.checkpoint is not None else 0


def _context(row: Row) -> int:
    return row.checkpoint.context_length if row.checkpoint is not None else 0


def _size_text(listed: Listed) -> str:
    return file_size(listed.row.size_bytes) if listed.row.size_bytes else ""


def _parameters_text(listed: Listed) -> str:
    return parameter_count(_parameters(listed.row))


def _context_text(listed: Listed) -> str:
    return grouped(_context(listed.row)) if _context(listed.row) else ""


def _fit_text(listed: Listed) -> str:
    return FIT_WORDS[listed.fit.verdict] if listed.fit is not None else ""


def _fit_value(listed: Listed) -> Value:
    return _FIT_ORDER.get(listed.fit.verdict, 0) if listed.fit is not None else 0


NAME = Column("name", "name", 0, 99, lambda listed: listed.name, lambda listed: listed.folded)
# The size stands beside the name, where the reason why something cannot be used finds room behind it.
COLUMNS: tuple[Column, ...] = (
    NAME,
    Column("size", "size", 7, 9, _size_text, _number(lambda row: row.size_bytes), True, True),
    Column("params", "params", 6, 6, _parameters_text, _number(_parameters), True, True),
    Column("kind", "kind", 7, 4, lambda listed: listed.row.kind, _text(kind_of)),
    Column("family", "family", 9, 3, lambda listed: _family(listed.row), _text(_family)),
    Column("dtype", "dtype", 8, 1, lambda listed: dtype_of(listed.row), _text(dtype_of)),
    Column("context", "context", 9, 2, _context_text, _number(_context), True, True),
    Column("fit", "fit", 5, 7, _fit_text, _fit_value),
    Column("used", "used", 6, 5, _used, _number(lambda row: row.used), True, True),
)
BY_ID: Mapping[str, Column] = {column.id: column for column in COLUMNS}
_GAP = 2
_NARROWEST_NAME = 28


def shown_columns(width: int, sorted_by: Column = NAME) -> list[int]:
    """Indices of the columns there is room for beside the name, which takes what is left.

    sorted_by: the one that goes last of all.
    """
    shown = list(range(1, len(COLUMNS)))
    while shown and name_width(width, shown) < _NARROWEST_NAME:
        shown.remove(min(shown, key=lambda index: (COLUMNS[index] is sorted_by, COLUMNS[index].weight)))
    return shown


def name_width(width: int, shown: Sequence[int]) -> int:
    """Cells of the name beside these columns; three more stand before it."""
    return width - 3 - sum(COLUMNS[index].width + _GAP for index in shown)


def in_order(listed: Sequence[Listed], column: Column, *, reverse: bool) -> list[Listed]:
    """Sorted by a column, in the order in which it is usually wanted or the other way round.

    Unknown values stand last either way, and among names what cannot be used; equals keep the order of their names.
    """
    by_name = sorted(listed, key=lambda each: each.folded, reverse=column is NAME and reverse)
    if column is NAME:
        return sorted(by_name, key=lambda each: not each.usable)
    known, unknown = [], []
    for each in by_name:
        value = column.value(each)
        if value:
            known.append((value, each))
        else:
            unknown.append(each)
    known.sort(key=lambda pair: pair[0], reverse=column.largest_first != reverse)
    return [each for _, each in known] + unknown
