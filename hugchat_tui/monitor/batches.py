"""A run's events decoded many at a time: steps as one array of numbers, all else as records."""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from itertools import chain
from typing import Annotated, Any, NamedTuple, Union

import msgspec
import numpy as np
import numpy.typing as npt
from msgspec.structs import astuple

from hugchat_tui.monitor.curves import Array
from sft.json_lines import Record, read_record

STEP_VALUES = ("loss", "learning_rate", "grad_norm", "tokens_per_s", "trained_tokens_per_s", "memory_bytes")
MOST_STEPS = 1 << 53  # as far as floats count one by one
_NUMBERS = ("step", "time", "tokens", *STEP_VALUES)
_NEWLINE = 10

_WRONG = (msgspec.DecodeError, UnicodeDecodeError, RecursionError)


class Batch(NamedTuple):
    """What some lines say.

    steps: an array of one column a step record: step, time, tokens, then STEP_VALUES; NaN for what is no finite number.
    step: the newest of them, None without any. others: all other records, each behind the number of steps before it.
    torn: lines that are no records.
    """

    steps: Array
    step: Record | None
    others: list[tuple[int, Record]]
    torn: int = 0


class _Step(msgspec.Struct, tag_field="type", tag="step", gc=False):
    """The fields as in _NUMBERS."""

    step: Annotated[int, msgspec.Meta(ge=0, le=MOST_STEPS)]
    time: float
    tokens: float | None = None
    loss: float | None = None
    learning_rate: float | None = None
    grad_norm: float | None = None
    tokens_per_s: float | None = None
    trained_tokens_per_s: float | None = None
    memory_bytes: float | None = None


# Other records are only told from steps here, and decoded anew: there are few. They have as many fields as a step,
# under names that no record has, and the first of them is no step's number.
_NO_STEP = -1
_Other = msgspec.defstruct("_Other", [(f"_{place}", float, _NO_STEP) for place in range(len(_NUMBERS))], gc=False)
_OTHERS = [
    msgspec.defstruct(name, [], bases=(_Other,), tag_field="type", tag=name, gc=False)
    for name in ("run", "phase", "eval", "sample", "checkpoint", "ack", "alert", "heartbeat", "end")
]
_decoder: msgspec.json.Decoder[Any] = msgspec.json.Decoder(Union[_Step, *_OTHERS])


def decode(data: bytes, end: int) -> Batch:
    """The records of the whole lines before `end`. Lines unlike ours are decoded one by one, which takes longer."""
    lines = memoryview(data)[:end]
    try:
        rows = _decoder.decode_lines(lines)
    except _WRONG:
        return decode_lines(data[:end].split(b"\n"))
    numbers = _array(rows)
    is_step = numbers[0] != _NO_STEP
    if is_step.all():
        newest = read_record(data[data.rfind(b"\n", 0, end - 1) + 1 : end])
        return Batch(numbers, newest, []) if newest else decode_lines(data[:end].split(b"\n"))
    ends = np.flatnonzero(np.frombuffer(lines, np.uint8) == _NEWLINE)
    if len(ends) != len(rows):  # empty lines, or two records on one
        return decode_lines(data[:end].split(b"\n"))

    others, torn = [], 0
    strangers = np.flatnonzero(~is_step)
    begins, stops = _lines_at(strangers, ends)
    for before, (row, begin, stop) in enumerate(zip(strangers.tolist(), begins, stops, strict=True)):
        record = read_record(data[begin:stop])
        if record is None:
            torn += 1
        else:
            others.append((row - before, record))
    newest = None
    if len(rows) > len(strangers):
        (begin,), (stop,) = _lines_at(np.flatnonzero(is_step)[-1:], ends)
        newest = read_record(data[begin:stop])
    return Batch(numbers[:, is_step], newest, others, torn)


def _lines_at(rows: npt.NDArray[np.int64], ends: npt.NDArray[np.int64]) -> tuple[list[int], list[int]]:
    """Where these lines begin, and where they end. ends: of all lines."""
    begins = np.where(rows > 0, ends[rows - 1] + 1, 0)
    return begins.tolist(), ends[rows].tolist()


def _array(rows: Sequence[Any]) -> Array:
    """One column a step."""
    try:
        flat = np.fromiter(chain.from_iterable(map(astuple, rows)), np.float64, len(rows) * len(_NUMBERS))
    except TypeError:  # a null somewhere, for what is no finite number
        return np.array(list(map(astuple, rows)), np.float64).T
    return flat.reshape(-1, len(_NUMBERS)).T


def decode_lines(lines: Iterable[bytes]) -> Batch:
    """The records of lines, one by one."""
    gathered = _Gathered()
    newest = b""
    for line in lines:
        try:
            row = _decoder.decode(line)
        except _WRONG:  # perhaps of a type that is not known, or with a strange field
            row = None
        if isinstance(row, _Step):
            gathered.columns.append(astuple(row))
            newest = line
            continue
        record = read_record(line)
        if record is None or not isinstance(record.get("type"), str):
            gathered.torn += bool(line.strip())
        elif gathered.take(record):
            newest = line
    return gathered.batch(read_record(newest))


def batch_of(records: Iterable[Record]) -> Batch:
    """Of records that were decoded already."""
    gathered = _Gathered()
    newest = None
    for record in records:
        if gathered.take(record):
            newest = record
    return gathered.batch(newest)


class _Gathered:
    """A batch that is put together record by record."""

    def __init__(self) -> None:
        self.columns: list[tuple[object, ...]] = []
        self.torn = 0
        self._others: list[tuple[int, Record]] = []

    def take(self, record: Record) -> bool:
        """Whether it is a step. One without a usable number of its own is torn."""
        if record["type"] != "step":
            self._others.append((len(self.columns), record))
            return False
        if usable_step(record.get("step")) is None:
            self.torn += 1
            return False
        self.columns.append(tuple(finite(record.get(name)) for name in _NUMBERS))
        return True

    def batch(self, newest: Record | None) -> Batch:
        steps = np.array(self.columns, np.float64).reshape(-1, len(_NUMBERS)).T  # None is NaN there
        return Batch(steps, newest, self._others, self.torn)


def usable_step(value: object) -> int | None:
    """The number of a step, or another count; None for what cannot be one."""
    if isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MOST_STEPS:
        return value
    return None


def finite(value: object) -> float:
    """A field as a number; NaN where it holds none, or one that is not finite."""
    if not isinstance(value, int | float) or isinstance(value, bool):
        return math.nan
    try:
        number = float(value)
    except OverflowError:
        return math.nan
    return number if math.isfinite(number) else math.nan
