r"""BELLE's multi-turn rows: all turns before the last answer lie inside `instruction`.

    {"instruction": "Human:...\nAssistant:...\nHuman:...\nAssistant:", "input": "", "output": "..."}

https://huggingface.co/datasets/BelleGroup/multiturn_chat_0.8M
"""

from __future__ import annotations

import re

from sft.data.turns import Made, Record, Turn, dialogue, field, optional

_MARK = re.compile(r"^[ \t]*(?:(Human)|Assistant)[:：]", re.MULTILINE)


def is_multiturn(record: Record) -> bool:
    history = record.get("instruction")
    if not isinstance(history, str) or "output" not in record:
        return False
    roles = [bool(mark[1]) for mark in _MARK.finditer(history)]
    return len(roles) > 1 and roles[0] and not roles[-1]


def multiturn(record: Record) -> Made:
    """Raises RowError."""
    history = field(record, "instruction")
    answer = field(record, "output").strip()
    marks = list(_MARK.finditer(history))
    turns: list[Turn] = []
    before = history[: marks[0].start()].strip() if marks else history.strip()
    if before:
        turns.append(Turn("user" if not marks else "system", before))
    for mark, after in zip(marks, [*marks[1:], None], strict=True) if marks else ():
        content = history[mark.end() : after.start() if after else len(history)].strip()
        turns.append(Turn("user" if mark[1] else "assistant", content))
    about = (optional(record, "input") or "").strip()
    if about:
        turns.append(Turn("user", about))
    if turns and turns[-1].role == "assistant" and not turns[-1].content:
        turns.pop()  # the mark behind which the answer belongs
    turns.append(Turn("assistant", answer))
    return dialogue(turns)
