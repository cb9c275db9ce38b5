"""What is different between two texts, word by word."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from difflib import SequenceMatcher

_WORD = re.compile(r"\S+\s*|\s+")
_MOST = 200  # words that are compared
_MOST_PAIRS = 5_000  # of equal words; matching takes more than the square of them, and a text that loops has many


def marked(before: str, after: str) -> Iterator[tuple[str, str]]:
    """(part, "" or "new" or "gone") of both texts in one, in reading order. Blanks alone make no difference."""
    old, new = _WORD.findall(before), _WORD.findall(after)
    old_keys, new_keys = [word.strip() for word in old[:_MOST]], [word.strip() for word in new[:_MOST]]
    while _pairs(old_keys, new_keys) > _MOST_PAIRS:
        old_keys, new_keys = old_keys[: len(old_keys) // 2], new_keys[: len(new_keys) // 2]
    rest = "".join(new[len(new_keys) :])
    matcher = SequenceMatcher(None, old_keys, new_keys, autojunk=False)
    for kind, old_start, old_end, new_start, new_end in matcher.get_opcodes():
        gone, come = "".join(old[old_start:old_end]), "".join(new[new_start:new_end])
        if kind == "equal":
            yield come, ""
            continue
        if gone:
            apart = " " if come and not gone[-1].isspace() else ""
            yield gone.rstrip() or gone, "gone"
            yield apart or gone[len(gone.rstrip()) :], ""
        if come:
            yield come.rstrip() or come, "new"
            yield come[len(come.rstrip()) :], ""
    if rest:
        yield rest, ""


def _pairs(old: list[str], new: list[str]) -> int:
    counts = Counter(new)
    return sum(counts[word] for word in old)
