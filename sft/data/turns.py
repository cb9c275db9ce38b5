"""What converters make of a record: checked messages, or a RowError that says why not.

Every format comes through here, so that the same things are wrong with a row whatever its format: a conversation is a
system prompt or none, then questions and answers in turn, none of them blank, and an answer ends it.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from sft.data.conversation import Message, Role

Record = Mapping[str, object]

# Notes: how often rows were changed to be kept.
OPEN_QUESTION = "question without an answer left out"
EARLY_ANSWER = "answer before the first question left out"
JOINED = "messages of one role in a row joined"


class RowError(Exception):
    """Nothing can be made of a row. reason: a short fixed phrase; detail: of this row, from outside, not cleaned."""

    def __init__(self, reason: str, detail: str = "") -> None:
        super().__init__(reason, detail)
        self.reason = reason
        self.detail = detail[:300]


class Made(NamedTuple):
    """What a record became; the fields are those of Conversation."""

    messages: tuple[Message, ...]
    text: bool = False
    note: str = ""


class Turn(NamedTuple):
    """One message as a format has it, before it is checked."""

    role: Role
    content: str
    trained: bool = True


def exchange(question: str, answer: str, system: str = "") -> Made:
    """One question and its answer. Raises RowError when either is blank."""
    if not answer or answer.isspace():
        raise RowError("empty answer")
    if not question or question.isspace():
        raise RowError("empty question")
    pair = (Message("user", question), Message("assistant", answer))
    return Made((Message("system", system), *pair) if system and not system.isspace() else pair)


def raw_text(text: str) -> Made:
    """A text that is trained whole. Raises RowError when it is blank."""
    if not text or text.isspace():
        raise RowError("empty text")
    return Made((Message("assistant", text),), text=True)


def dialogue(turns: Sequence[Turn], *, lenient: bool = False) -> Made:
    """Many turns. lenient: the format is known to split messages and to begin with an answer; then messages of one role
    in a row are joined by a blank line, and answers before the first question are left out, with a note.

    A last question that nobody answers, or not in words, is left out with a note, whatever the format.
    Raises RowError.
    """
    notes: list[str] = []
    system, rest = _system(turns)
    if lenient:
        rest = _joined(rest, notes)
        if rest and rest[0].role == "assistant":
            rest = rest[1:]
            notes.append(EARLY_ANSWER)
    if not any(turn.role == "assistant" for turn in rest):
        raise RowError("no answer")
    _check_order(rest)
    rest = _closed(rest, notes)
    for turn in rest:
        if not turn.content or turn.content.isspace():
            raise RowError("empty answer" if turn.role == "assistant" else "empty question")
    messages = tuple(Message(turn.role, turn.content, turn.trained) for turn in rest)
    return Made((Message("system", system), *messages) if system else messages, note=", ".join(dict.fromkeys(notes)))


def _system(turns: Sequence[Turn]) -> tuple[str, list[Turn]]:
    """The system prompt, "" without or with a blank one, and what follows it."""
    if not turns or turns[0].role != "system":
        return "", list(turns)
    return ("" if turns[0].content.isspace() else turns[0].content), list(turns[1:])


def _joined(turns: Sequence[Turn], notes: list[str]) -> list[Turn]:
    joined: list[Turn] = []
    for turn in turns:
        if joined and joined[-1].role == turn.role:
            last = joined.pop()
            both = "\n\n".join(content for content in (last.content, turn.content) if content.strip())
            joined.append(Turn(turn.role, both, last.trained and turn.trained))
            notes.append(JOINED)
        else:
            joined.append(turn)
    return joined


def _check_order(turns: Sequence[Turn]) -> None:
    for number, turn in enumerate(turns):
        if turn.role != ("assistant" if number % 2 else "user"):
            raise RowError("roles out of order", f"message {number + 1} is of the role {turn.role}")


def _closed(turns: list[Turn], notes: list[str]) -> list[Turn]:
    """The turns up to the last answer in words, unless that would leave none."""
    end = len(turns)
    if turns[-1].role == "user":
        end -= 1
    elif len(turns) > 2 and not turns[-1].content.strip():
        end -= 2
    if end < len(turns):
        notes.append(OPEN_QUESTION)
    return turns[:end]


def field(record: Record, *names: str) -> str:
    """The text of the first of these fields that is there. A field may hold {"value": text}, as raw P3 rows do.

    Raises RowError: without any, and when it is no text.
    """
    found = optional(record, *names)
    if found is None:
        raise RowError("missing field", f"no {' or '.join(names)} in it, only {', '.join(map(str, list(record)[:12]))}")
    return found


def optional(record: Record, *names: str) -> str | None:
    """Like `field`, but None without any. Raises RowError when it is no text."""
    for name in names:
        value = record.get(name)
        if value is None:
            continue
        if isinstance(value, str):
            return value
        if isinstance(value, Mapping) and isinstance(value.get("value"), str):
            return str(value["value"])
        raise RowError("wrong type", f"{name} is {kind(value)}, not text")
    return None


_KINDS = {dict: "an object", list: "a list", bool: "true or false", int: "a number", float: "a number", str: "text"}


def kind(value: object) -> str:
    """What JSON calls a value of this type."""
    return "null" if value is None else _KINDS.get(type(value), type(value).__name__)
