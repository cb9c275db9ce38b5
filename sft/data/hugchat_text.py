r"""HugChat's text rows: a whole conversation in one field, its turns told apart by markers at the beginning of a line.

    {"text": "[Human]: question \n [HugChat]: answer \n\n [Human]: question \n [HugChat]: answer \n\n"}

HugNLP's data and code write [Human]: and [HugChat]:, its page Human: and HugChat:, its sample files Input: and Output:.
What stands before the first marker is a system prompt, and so is a row's `prefix`. A blank line ends an answer, so no
content has one: written, it loses them.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from sft.data.conversation import Message
from sft.data.turns import Made, Record, RowError, Turn, dialogue, field, optional

_NAMES = (("[Human]", "[HugChat]"), ("Human", "HugChat"), ("Input", "Output"))
_STYLES = tuple(
    re.compile(rf"^[ \t]*(?:({re.escape(user)})|{re.escape(assistant)}):", re.MULTILINE) for user, assistant in _NAMES
)
_SAMPLE_STYLE = _STYLES[2]
# What LMFlow's archives, from which the sample files were made, have in front of instructions.
_NOISE = re.compile(r"^\s*(?:Defin[i]?tion: More Information Needed\s*)?(?:Instruction: ?)?", re.IGNORECASE)
_MARKER = re.compile(r"^[ \t]*(?:\[Human\]|\[HugChat\]):", re.MULTILINE)


def is_hugchat(text: str) -> bool:
    """Whether a text has a question and an answer in one of the three styles."""
    return _style(text) is not None


def convert(record: Record) -> Made:
    """A row with `text` and perhaps `prefix`. Raises RowError."""
    text = field(record, "text")
    prefix = (optional(record, "prefix") or "").strip()
    if not text or text.isspace():
        raise RowError("empty text")
    style = _style(text)
    if style is None:
        asks = any(match[1] for style in _STYLES for match in style.finditer(text))
        raise RowError(*(("no answer", "no answer's marker") if asks else ("no marker", text[:80])))
    return split(text, style, prefix)


def split(text: str, style: re.Pattern[str] = _STYLES[0], prefix: str = "") -> Made:
    """The turns of a text. Raises RowError."""
    marks = list(style.finditer(text))
    sample = style is _SAMPLE_STYLE
    before = text[: marks[0].start()].strip()
    if sample:
        before = without_noise(before)
    turns = [Turn("system", "\n".join(filter(None, (prefix, before))))]
    for mark, after in zip(marks, [*marks[1:], None], strict=True):
        content = text[mark.end() : after.start() if after else len(text)].strip()
        user = bool(mark[1])
        turns.append(Turn("user" if user else "assistant", without_noise(content) if sample and user else content))
    # In the sample files an instruction and what it is about are two inputs.
    return dialogue(turns, lenient=sample)


def without_noise(text: str) -> str:
    """A question without what LMFlow's archives have in front of it."""
    return _NOISE.sub("", text, count=1)


def render(messages: Sequence[Message]) -> str:
    """A conversation as a row's text, exactly as the template hugchat.jinja renders it."""
    parts: list[str] = []
    for message in messages:
        content = _lines(message.content).strip()
        if message.role == "system":
            parts.append(f"{content} \n\n ")
        elif message.role == "user":
            parts.append(f"[Human]: {content} \n ")
        else:
            parts.append(f"[HugChat]: {content} \n\n")
            if message is not messages[-1]:
                parts.append(" ")
    return "".join(parts)


def _lines(content: str) -> str:
    """A content without empty lines, whatever ends them."""
    return "\n".join(filter(None, content.replace("\r", "\n").split("\n")))


def can_be_written(messages: Sequence[Message]) -> bool:
    """Whether what `render` makes of them says the same: a content may hold a marker itself, and the format cannot say
    that an answer is not to be trained."""
    return all(message.trained and not _MARKER.search(_lines(message.content)) for message in messages)


def _style(text: str) -> re.Pattern[str] | None:
    """The first of the styles in which the text has both a question and an answer."""
    for (user, assistant), style in zip(_NAMES, _STYLES, strict=True):
        if user in text and assistant in text and len({bool(match[1]) for match in style.finditer(text)}) == 2:
            return style
    return None
