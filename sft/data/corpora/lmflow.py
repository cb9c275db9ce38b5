"""LMFlow's archives of Alpaca, MedMCQA, MedQA-USMLE and PubMedQA: the instances of their JSON files.

    {"text": "Input: Instruction: question \\n Output: answer \\n\\n"} or {"input": ..., "output": ...}

Questions have a literal "Defintion: More Information Needed" and "Instruction: " in front of them.
"""

from __future__ import annotations

import re

from sft.data import hugchat_text
from sft.data.turns import Made, Record, RowError, exchange, field, raw_text

_ASKS = re.compile(r"^\s*Input: ?")
_ANSWERS = re.compile(r"^\s*Output: ?")


def convert(record: Record) -> Made:
    """Raises RowError."""
    if "text" in record:
        text = field(record, "text")
        return hugchat_text.convert(record) if hugchat_text.is_hugchat(text) else _only_text(text)
    question = hugchat_text.without_noise(_ASKS.sub("", field(record, "input")))
    return exchange(question.strip(), _ANSWERS.sub("", field(record, "output")).strip())


def _only_text(text: str) -> Made:
    if _ASKS.match(text):
        raise RowError("no answer", "no Output: in it")
    return raw_text(text)
