r"""OIG, the Open Instruction Generalist data set: "<human>: ...\n<bot>: ...", in some files "\nRosey: ..." for the bot.

What stands before the first mark is what the first question is about. https://huggingface.co/datasets/laion/OIG
"""

from __future__ import annotations

import re

from sft.data.turns import Made, Record, RowError, Turn, dialogue, field

_MARK = re.compile(r"^[ \t]*(?:(<human>)|<bot>|Rosey):", re.MULTILINE)


def is_oig(text: str) -> bool:
    return len({bool(mark[1]) for mark in _MARK.finditer(text)}) == 2


def convert(record: Record) -> Made:
    """Raises RowError."""
    text = field(record, "text")
    marks = list(_MARK.finditer(text))
    if not marks:
        raise RowError("no marker" if text and not text.isspace() else "empty text", text[:80])
    turns: list[Turn] = []
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        content = text[mark.end() : after.start() if after else len(text)].strip()
        turns.append(Turn("user" if mark[1] else "assistant", content))
    before = text[: marks[0].start()].strip()
    if before:
        first = turns[0]
        if first.role == "user":
            turns[0] = Turn("user", f"{before}\n\n{first.content}")
        else:
            turns.insert(0, Turn("user", before))
    return dialogue(turns, lenient=True)
