"""What is different between two texts, word by word."""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

_WORD = re.compile(r"\S+\s*|\s+")
_MOST = 2_000  # words that are compared; matching takes the square of them at worst


def marked(before: str, after: str) -> Iterator[tuple[str, str]]:
    """(part, "" or "new" or "gone") of both texts in one, in reading order. Blanks alone make no difference."""
    old, new = _WORD.findall(before)[:_MOST], _WORD.findall(after)
    rest = "".join(new[_MOST:])
    new = new[:_MOST]
    keys = [word.strip() for word in old], [word.strip() for word in new]
    for kind, old_start, old_end, new_start, new_end in SequenceMatcher(None, *keys, autojunk=False).get_opcodes():
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
