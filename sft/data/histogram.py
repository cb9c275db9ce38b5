"""How long documents are, against the length that a model will be trained with."""

from __future__ import annotations

from typing import Self

import msgspec
import numpy as np
import numpy.typing as npt

_STEPS = 8  # bins up to max_length
_DOUBLINGS = 4  # bins behind it, each twice as wide as the one before; the last takes all that are longer


class Bin(msgspec.Struct, frozen=True):
    """Documents of first to last tokens; last is 0 for the longest ones."""

    first: int
    last: int
    documents: int


class Histogram(msgspec.Struct, frozen=True):
    """bins: from the shortest to the longest. fit: documents of at most max_length tokens. longest: in tokens."""

    max_length: int
    bins: tuple[Bin, ...]
    documents: int
    fit: int
    longest: int

    def __add__(self, other: Self) -> Histogram:
        """The histogram of both sets, for the same max_length."""
        pairs = zip(self.bins, other.bins, strict=True)
        return Histogram(
            self.max_length,
            tuple(Bin(mine.first, mine.last, mine.documents + its.documents) for mine, its in pairs),
            self.documents + other.documents,
            self.fit + other.fit,
            max(self.longest, other.longest),
        )

    def sentence(self, too_long: str = "cut") -> str:
        """As a person reads it: "82 % fit in 512; 18 % would be cut; the longest has 2,310 tokens"."""
        if not self.documents:
            return "There are no documents."
        fit = f"{_percent(self.fit, self.documents)} fit in {self.max_length:,}"
        if self.fit == self.documents:
            return f"{fit}; the longest has {self.longest:,} tokens"
        rest = _percent(self.documents - self.fit, self.documents)
        what = "cut" if too_long == "cut" else "dropped"
        return f"{fit}; {rest} would be {what}; the longest has {self.longest:,} tokens"


def histogram(lengths: npt.NDArray[np.integer], max_length: int) -> Histogram:
    """lengths: of documents before any is cut, in tokens, from 1."""
    edges = [max_length * step // _STEPS for step in range(_STEPS + 1)]
    edges += [max_length << doubling for doubling in range(1, _DOUBLINGS)]
    edges = sorted(set(edges))
    # Bin i holds the lengths behind edges[i] up to edges[i + 1].
    counts = np.bincount(np.searchsorted(edges, lengths, side="left") - 1, minlength=len(edges)).tolist()
    lasts = [*edges[1:], 0]
    return Histogram(
        max_length,
        tuple(Bin(edge + 1, last, count) for edge, last, count in zip(edges, lasts, counts, strict=True)),
        len(lengths),
        int(np.count_nonzero(lengths <= max_length)),
        int(lengths.max()) if len(lengths) else 0,
    )


def _percent(part: int, whole: int) -> str:
    """Never 0 % of some or 100 % of not all."""
    share = 100 * part / whole
    if 0 < share < 1:
        return "under 1 %"
    if 99 < share < 100:
        return "over 99 %"
    return f"{share:.0f} %"
