"""The filter of the table: words that are looked for everywhere, and conditions on columns.

qwen instruct            both words, in any order; in a name their letters need not stand together
kind:adapter size>1gb    only what is an adapter and larger than a gigabyte
params<3b context>=32k
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hugchat_tui.common.fuzzy import Match
from hugchat_tui.library.columns import BY_ID, Column, Listed

_CONDITION = re.compile(r"([a-z]+)(:|=|<=|>=|<|>)(.+)")
_NUMBER = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgtb]?)(i?b)?")
_SCALES = {"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "b": 1e9, "t": 1e12}
_COMPARE: dict[str, Callable[[float, float], bool]] = {
    "<": lambda left, right: left < right,
    "<=": lambda left, right: left <= right,
    ">": lambda left, right: left > right,
    ">=": lambda left, right: left >= right,
}


@dataclass(frozen=True, slots=True)
class Condition:
    """limit: of a comparison; None: the column's text holds `text`."""

    column: Column
    text: str
    compare: Callable[[float, float], bool] | None = None
    limit: float = 0.0

    def holds(self, listed: Listed) -> bool:
        value = self.column.value(listed)
        if self.compare is None:
            return self.text in f"{self.column.text(listed)}".lower()
        return isinstance(value, int | float) and bool(value) and self.compare(value, self.limit)


@dataclass(frozen=True, slots=True)
class Query:
    """What was typed, understood. A condition that makes no sense is a word like any other."""

    words: tuple[str, ...]
    conditions: tuple[Condition, ...]

    def match(self, listed: Listed) -> Match | None:
        """How well a row matches; None when it does not. positions: matched characters of the name."""
        if not all(condition.holds(listed) for condition in self.conditions):
            return None
        score, positions = 0.0, set[int]()
        for word in self.words:
            if (found := listed.candidate.match(word)) is not None:
                score += found.score
                positions.update(found.positions)
            elif word not in listed.words:
                return None
        return Match(score, tuple(sorted(positions)))


def parse_query(text: str) -> Query:
    words, conditions = [], []
    for word in text.lower().split():
        condition = _condition(word)
        if condition is not None:
            conditions.append(condition)
        else:
            words.append(word)
    return Query(tuple(words), tuple(conditions))


def _condition(word: str) -> Condition | None:
    match = _CONDITION.fullmatch(word)
    column = BY_ID.get(match[1]) if match is not None else None
    if match is None or column is None:
        return None
    if match[2] in (":", "="):
        return Condition(column, match[3])
    number = _NUMBER.fullmatch(match[3])
    if number is None or not column.largest_first:
        return None
    return Condition(column, "", _COMPARE[match[2]], float(number[1]) * _SCALES[number[2]])


def matching(query: Query, listed: Sequence[Listed]) -> list[tuple[Listed, Match]]:
    """The rows that match: the best first where words were typed, else in the order given."""
    found = [(each, match) for each in listed if (match := query.match(each)) is not None]
    if query.words:
        found.sort(key=lambda pair: -pair[1].score)
    return found
