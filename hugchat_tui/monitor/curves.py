"""What a run measured at its steps, in bounded memory: old neighbours are merged, spikes and all."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float64]

MOST_POINTS = 131_072
_RECENT = 32_768  # rows that are kept one by one at most; half of them always are
_MERGED = MOST_POINTS - _RECENT
_STEP, _TIME, _TOKENS, _SIZE = range(4)  # rows of a table's arrays; the values follow
_PLACES = 3


class Points(NamedTuple):
    """One curve, a point an entry, by ascending step. Not to be written to.

    step, tokens, time: where the point begins; tokens since the run's beginning, time in seconds since the epoch.
    size: steps that the point stands for. mean, low, high: of its values; NaN where none of them was a finite number.
    """

    step: Array
    tokens: Array
    time: Array
    size: Array
    mean: Array
    low: Array
    high: Array


class Table:
    """The values of several curves that are measured together, by ascending step.

    Recent rows are kept as they came; older ones in groups of `_size` neighbours, which doubles when room runs out.
    """

    def __init__(self, names: Sequence[str]) -> None:
        self.names = tuple(names)
        self.version = 0  # counts changes
        self.rewritten = 0  # counts those that are more than new points at the end
        self._values = len(self.names)
        self._size = 1
        self._merged: Array = np.empty((_PLACES + 1 + 3 * self._values, 0))
        self._merged_count = 0
        self._recent: Array = np.empty((_PLACES + self._values, 0))
        self._recent_count = 0
        self._places: tuple[Array, Array, Array, Array] = (np.empty(0),) * 4  # what the points of all curves share
        self._places_version = -1

    def __len__(self) -> int:
        return self._merged_count + self._recent_count

    def add(self, rows: Array) -> None:
        """Rows as columns of an array: step, time, tokens, then the values; by ascending step, none of which is there.

        What lies at or behind the first one is replaced: those steps were done again.
        """
        self.cut(rows[_STEP, 0] if rows.shape[1] else math.inf)
        self.version += 1
        while rows.shape[1]:
            free = _RECENT - self._recent_count
            if not free:
                self._fold()
                continue
            part, rows = rows[:, :free], rows[:, free:]
            end = self._recent_count + part.shape[1]
            self._recent = _with_room(self._recent, end, _RECENT)
            self._recent[:, self._recent_count : end] = part
            self._recent_count = end

    def cut(self, step: float) -> None:
        """Forget the points that begin at this step or behind it."""
        recent = int(np.searchsorted(self._recent[_STEP, : self._recent_count], step))
        merged = self._merged_count
        if not recent:
            # A merged point that only ends behind the step stays: it is mostly right.
            merged = int(np.searchsorted(self._merged[_STEP, :merged], step))
        if (recent, merged) == (self._recent_count, self._merged_count):
            return
        self.version += 1
        self.rewritten += 1
        self._recent_count, self._merged_count = recent, merged
        if not merged:
            self._size = 1

    def points(self, name: str) -> Points:
        place = self.names.index(name)
        merged, recent = self._merged[:, : self._merged_count], self._recent[:, : self._recent_count]
        values = recent[_PLACES + place]
        means, lows, highs = (
            np.concatenate((merged[_PLACES + 1 + part * self._values + place], values)) for part in range(3)
        )
        if self._places_version != self.version:
            self._places_version = self.version
            sizes = np.concatenate((merged[_SIZE], np.ones(len(values))))
            step, tokens, time = (np.concatenate((merged[row], recent[row])) for row in (_STEP, _TOKENS, _TIME))
            self._places = step, tokens, time, sizes
        return Points(*self._places, means, lows, highs)

    def _fold(self) -> None:
        """Merge the older half of the recent rows."""
        self.rewritten += 1
        half = _RECENT // 2
        rows = self._recent[:, :half]
        block = np.concatenate((rows[:_PLACES], np.ones((1, half)), *[rows[_PLACES:]] * 3))
        size = 1
        while size < self._size:
            block = _halved(block, self._values)
            size *= 2
        while self._merged_count + block.shape[1] > _MERGED:
            kept = _halved(self._merged[:, : self._merged_count], self._values)
            self._merged_count = kept.shape[1]
            self._merged[:, : self._merged_count] = kept
            block = _halved(block, self._values)
            self._size *= 2
        end = self._merged_count + block.shape[1]
        self._merged = _with_room(self._merged, end, _MERGED)
        self._merged[:, self._merged_count : end] = block
        self._merged_count = end
        self._recent[:, : _RECENT - half] = self._recent[:, half:].copy()
        self._recent_count = _RECENT - half


class Curve:
    """One of a table's curves."""

    def __init__(self, table: Table, name: str) -> None:
        self.name = name
        self._table = table
        self._points: Points | None = None
        self._points_version = -1

    def __len__(self) -> int:
        return len(self._table)

    @property
    def version(self) -> int:
        """Another number whenever the curve has changed."""
        return self._table.version

    @property
    def rewritten(self) -> int:
        """Another number whenever more has changed than that points were added at the end."""
        return self._table.rewritten

    @property
    def points(self) -> Points:
        """As it stands now; the same object as long as nothing changes."""
        if self._points is None or self._points_version != self.version:
            self._points, self._points_version = self._table.points(self.name), self.version
        return self._points


def _with_room(array: Array, wanted: int, most: int) -> Array:
    """The array, or a longer copy with room for `wanted` columns."""
    if wanted <= array.shape[1]:
        return array
    longer = np.empty((array.shape[0], min(most, max(wanted, 2 * array.shape[1], 256))))
    longer[:, : array.shape[1]] = array
    return longer


def _halved(block: Array, values: int) -> Array:
    """Each point merged with its neighbour; one without any stays as it is."""
    pairs = block.shape[1] // 2
    left, right = block[:, : 2 * pairs : 2], block[:, 1 : 2 * pairs : 2]
    first = _PLACES + 1
    low, high = first + values, first + 2 * values
    merged = np.empty((block.shape[0], block.shape[1] - pairs))
    merged[:, pairs:] = block[:, 2 * pairs :]
    into = merged[:, :pairs]
    into[:_PLACES] = left[:_PLACES]
    np.add(left[_SIZE], right[_SIZE], out=into[_SIZE])
    into[first:low] = _mean(left[first:low], left[_SIZE], right[first:low], right[_SIZE])
    np.fmin(left[low:high], right[low:high], out=into[low:high])
    np.fmax(left[high:], right[high:], out=into[high:])
    return merged


def _mean(left: Array, left_count: Array, right: Array, right_count: Array) -> Array:
    """The mean of both by their counts; of the finite one where the other is NaN."""
    share = left_count / (left_count + right_count)
    mean = left * share + right * (1 - share)  # in shares: a sum of huge values would be infinite
    if np.isnan(mean).any():
        mean = np.where(np.isnan(left), right, np.where(np.isnan(right), left, mean))
    return mean
