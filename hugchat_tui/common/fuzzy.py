"""Fuzzy search over short names: a few typed letters find "HuggingFaceTB/SmolLM2-135M-Instruct".

Textual's own matcher tries every combination of positions, which takes exponential time for a query like
"aaaa" against a name with many a's; this one is bounded: for each place where the first letter occurs, one
pass over the name.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

_WORD_START = re.compile(r"(?<![^\W_])[^\W_]|(?<=[a-z])[A-Z]|(?<=[^\W\d_])\d|(?<=\d)[^\W\d_]")
_MAX_STARTS = 12  # more occurrences of a first letter than this change no ranking a person would notice


@dataclass(frozen=True, slots=True)
class Match:
    """score: higher is better, comparable among candidates of one query.

    positions: matched characters, ascending.
    """

    score: float
    positions: tuple[int, ...]


class Candidate:
    """A name prepared for many queries."""

    __slots__ = ("folded", "starts", "text")

    def __init__(self, text: str) -> None:
        self.text = text
        # Some characters grow when lowered ("İ"); positions must stay those of the text.
        lowered = text.lower()
        self.folded = lowered if len(lowered) == len(text) else "".join(map(_lower_one, text))
        self.starts = frozenset(match.start() for match in _WORD_START.finditer(text))

    def match(self, query: str) -> Match | None:
        """How well the query matches; None when it does not. Words of the query may match in any order."""
        score = 0.0
        positions: set[int] = set()
        for word in query.split():
            found = self._match_word("".join(map(_lower_one, word)))
            if found is None:
                return None
            score += found.score
            positions.update(found.positions)
        # Among equals the shorter name is the closer one.
        return Match(score - len(self.text) / 1000, tuple(sorted(positions)))

    def _match_word(self, word: str) -> Match | None:
        folded = self.folded
        best: Match | None = None
        begin = folded.find(word)
        if begin >= 0:
            while begin >= 0:
                best = self._better(best, tuple(range(begin, begin + len(word))))
                if begin in self.starts:
                    break
                begin = folded.find(word, begin + 1)
            return best
        begin = folded.find(word[0])
        for _ in range(_MAX_STARTS):
            if begin < 0:
                break
            positions = self._subsequence(word, begin)
            if positions is None:
                break  # what does not fit from here fits even less from further right
            best = self._better(best, positions)
            begin = folded.find(word[0], begin + 1)
        return best

    def _subsequence(self, word: str, begin: int) -> tuple[int, ...] | None:
        """The word's letters in order from `begin`: found greedily, then pulled together from the right."""
        folded = self.folded
        end = begin
        for letter in word[1:]:
            end = folded.find(letter, end + 1)
            if end < 0:
                return None
        positions = [end]
        for letter in reversed(word[:-1]):
            positions.append(folded.rfind(letter, 0, positions[-1]))
        return tuple(reversed(positions))

    def _better(self, best: Match | None, positions: tuple[int, ...]) -> Match:
        runs = 1 + sum(right != left + 1 for left, right in pairwise(positions))
        at_starts = sum(position in self.starts for position in positions)
        whole = 2.0 if len(positions) == len(self.folded) else 0.0
        score = len(positions) * 2.0 / runs + at_starts + whole - (positions[-1] - positions[0]) / 50
        return best if best is not None and best.score >= score else Match(score, positions)


def _lower_one(character: str) -> str:
    lowered = character.lower()
    return lowered if len(lowered) == 1 else character


def rank(query: str, candidates: Sequence[Candidate]) -> list[tuple[int, Match]]:
    """(index, match) of the candidates that match, best first; equals keep their order.

    A blank query matches all.
    """
    if not query.strip():
        return [(index, Match(0.0, ())) for index in range(len(candidates))]
    found = [
        (index, match) for index, candidate in enumerate(candidates) if (match := candidate.match(query)) is not None
    ]
    found.sort(key=lambda pair: -pair[1].score)
    return found
