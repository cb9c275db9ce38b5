"""What the readers make of a row, and what preparing makes tokens of."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Role = Literal["system", "user", "assistant"]


@dataclass(frozen=True, slots=True)
class Message:
    """One turn. trained: whether loss is taken on it; it matters for the assistant's alone."""

    role: Role
    content: str
    trained: bool = True


@dataclass(frozen=True, slots=True)
class Conversation:
    """The messages of a row.

    source: the file, as the person named it, or the corpus. line: of that file, or the row's number where it has no
    lines; from 1. text: it is no conversation but a text; one message of the assistant holds it, and it is trained
    whole, without a template. note: what was changed about the row to keep it, a short fixed phrase by which such rows
    are counted; mostly empty.
    """

    messages: tuple[Message, ...]
    source: str
    line: int
    text: bool = False
    note: str = ""


@dataclass(frozen=True, slots=True)
class BadRow:
    """A row of which nothing can be made. reason: a short fixed phrase, by which such rows are counted."""

    source: str
    line: int
    reason: str
    detail: str = ""
