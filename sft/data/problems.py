"""Counts what is wrong with rows: by reason, with the first few places of each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from sft.data.conversation import BadRow, Conversation

# The reason that stands for more than one row: everything behind it in the file.
UNREAD = "rest of the file unreadable"
PLACES = 5  # kept of each reason


@dataclass(slots=True)
class Tally:
    """count: rows. places: of the first few, with what is wrong there."""

    count: int = 0
    places: list[BadRow] = field(default_factory=list)


class Problems:
    """rows: all that were added, good ones too. bad, noted: by reason, the most frequent ones first."""

    def __init__(self) -> None:
        self.rows = 0
        self._bad: dict[str, Tally] = {}
        self._noted: dict[str, Tally] = {}

    def add(self, row: Conversation | BadRow) -> None:
        """Count a row, a good one too, for the share is one of all."""
        self.rows += 1
        if isinstance(row, BadRow):
            self._count(self._bad, row)
        elif row.note:
            self.note(row.note, row.source, row.line)

    def note(self, reason: str, source: str, line: int) -> None:
        """Count a row that was kept but changed, or left out as asked; it is not added once more."""
        self._count(self._noted, BadRow(source, line, reason))

    @property
    def bad_rows(self) -> int:
        return sum(tally.count for tally in self._bad.values())

    @property
    def share(self) -> float:
        """Bad rows of all rows, 0 to 1."""
        return self.bad_rows / self.rows if self.rows else 0.0

    @property
    def bad(self) -> dict[str, Tally]:
        return _most_frequent_first(self._bad)

    @property
    def noted(self) -> dict[str, Tally]:
        return _most_frequent_first(self._noted)

    def refuses(self, share: float) -> bool:
        """Whether more than this share of the rows is bad, or a file could not be read to its end, however many rows
        that cost."""
        return UNREAD in self._bad or self.share > share

    def words(self) -> Iterator[str]:
        """What a person reads, line by line. It carries text from outside and has not been cleaned."""
        if self._bad:
            yield f"{self.bad_rows:,} of {self.rows:,} rows cannot be used ({self.share:.2%}):"
            for reason, tally in self.bad.items():
                yield f"  {reason}: {tally.count:,}"
                for place in tally.places:
                    yield f"    {place.source}, line {place.line:,}" + (f": {place.detail}" if place.detail else "")
        for reason, tally in self.noted.items():
            first = tally.places[0]
            yield f"{tally.count:,} rows: {reason} (the first: {first.source}, line {first.line:,})"

    @staticmethod
    def _count(tallies: dict[str, Tally], row: BadRow) -> None:
        tally = tallies.setdefault(row.reason, Tally())
        tally.count += 1
        if len(tally.places) < PLACES:
            tally.places.append(row)


def _most_frequent_first(tallies: dict[str, Tally]) -> dict[str, Tally]:
    return dict(sorted(tallies.items(), key=lambda item: (-item[1].count, item[0])))
