"""Markdown read into blocks, free of tokens, widths and colours."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import NamedTuple


class Mark(NamedTuple):
    """Characters [start, end) and their look, a sum of the flags in `flags`."""

    start: int
    end: int
    flags: int


class Target(NamedTuple):
    """Characters [start, end) that lead to a web or mail address."""

    start: int
    end: int
    url: str


@dataclass(slots=True)
class Inline:
    """Text with marks; line breaks are newlines in the text. Marks and targets are sorted and disjoint."""

    text: str
    marks: tuple[Mark, ...] = ()
    targets: tuple[Target, ...] = ()


@dataclass(slots=True)
class Block:
    """gap: a blank row stands before it."""

    gap: bool = field(default=False, kw_only=True)


@dataclass(slots=True)
class Paragraph(Block):
    inline: Inline


@dataclass(slots=True)
class Heading(Block):
    level: int
    inline: Inline


@dataclass(slots=True)
class Rule(Block):
    pass


@dataclass(slots=True)
class Verbatim(Block):
    """Text without markup: a formula, or Markdown nested deeper than anyone reads."""

    text: str


@dataclass(slots=True)
class Fence(Block):
    """Code. lines: those that are complete; partial: the one still being written, None when there is none."""

    language: str
    lines: list[str]
    partial: str | None = None
    closed: bool = True

    @property
    def text(self) -> str:
        """The code whole, as it is copied."""
        return "\n".join(self.lines if self.partial is None else [*self.lines, self.partial])


@dataclass(slots=True)
class Table(Block):
    """alignments: "left", "center" or "right" a column. Each row has as many cells as the head.

    pending: rows that the next words may still change.
    """

    alignments: list[str]
    head: list[Inline]
    rows: list[list[Inline]]
    pending: list[list[Inline]] = field(default_factory=list)


@dataclass(slots=True)
class Item(Block):
    """A list item. marker: "•", "3." or a task's box."""

    marker: str
    blocks: list[Block]
    done: bool = False  # a task that is ticked


@dataclass(slots=True)
class Quote(Block):
    blocks: list[Block]
