"""The text around a match, in one line, with the places of the matched words."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

from hugchat_tui.conversations.text import UNSPACED, index_text, is_unspaced

SNIPPET_CHARACTERS = 160

_BEFORE_MATCH = 50
_LONGEST_TRIMMED_WORD = 20
_HIGHLIGHTED_WORDS = 32
_SPACED_CHARACTER = rf"[^\W_{UNSPACED}]"


class QueryWord(NamedTuple):
    """A word of the query. begins: it may be the beginning of a longer word."""

    text: str
    begins: bool


def highlighter(words: list[QueryWord]) -> re.Pattern[str]:
    """Finds what the words match in a folded text. Of a very long query only the longest words are marked."""
    alternatives = []
    for word in sorted(words, key=lambda word: len(word.text), reverse=True)[:_HIGHLIGHTED_WORDS]:
        tokens = re.findall(r"[^\W_]+", index_text(_fold(unicodedata.normalize("NFC", word.text))))
        before = "" if is_unspaced(tokens[0]) else f"(?<!{_SPACED_CHARACTER})"
        after = f"{_SPACED_CHARACTER}*" if word.begins else f"(?!{_SPACED_CHARACTER})"
        # Ignoring case only here: a set of so many characters takes 10 ms to compile without regard to case.
        inner = r"[\W_]*".join(f"(?i:{re.escape(token)})" for token in tokens)
        alternatives.append(f"{before}{inner}{'' if is_unspaced(tokens[-1]) else after}")
    return re.compile("|".join(alternatives))


def snippet(content: str, marks: re.Pattern[str]) -> tuple[str, tuple[tuple[int, int], ...]]:
    """About SNIPPET_CHARACTERS of `content` around the first match, as (text, ((start, end), ...)).

    White space is collapsed; an ellipsis stands where text was left out. Without a match (the index and the
    regular expression may disagree about rare letters) it is the beginning of the text, and no places.
    """
    match = marks.search(content) or marks.search(_fold(content))
    first, last = match.span() if match else (0, 0)
    start = max(0, first - _BEFORE_MATCH)
    end = min(len(content), max(last, start + SNIPPET_CHARACTERS))
    if start:
        start = _after_space(content, start, min(first, start + _LONGEST_TRIMMED_WORD))
    if end < len(content):
        end = _before_space(content, max(last, end - _LONGEST_TRIMMED_WORD), end)
    before, after = ("…" if start else ""), ("…" if end < len(content) else "")
    text = before + " ".join(content[start:end].split()) + after
    return text, tuple(match.span() for match in marks.finditer(_fold(text)))


class _FoldTable(dict[int, str]):
    """For str.translate: each letter without its accents and width, one for one, so that places stay the
    same.

    Unspaced scripts stay as they are: a Hangul syllable would fall apart and a kana lose its voice.
    """

    def __missing__(self, code: int) -> str:
        character = chr(code)
        folded = character if is_unspaced(character) else unicodedata.normalize("NFKD", character)[0]
        self[code] = folded
        return folded


_fold_table = _FoldTable()


def _fold(text: str) -> str:
    return text if text.isascii() else text.translate(_fold_table)


def _after_space(text: str, start: int, end: int) -> int:
    space = re.compile(r"\s").search(text, start, end)
    return space.end() if space else start


def _before_space(text: str, start: int, end: int) -> int:
    return next((place for place in range(end - 1, start, -1) if text[place].isspace()), end)
