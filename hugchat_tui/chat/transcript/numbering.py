"""Which code blocks get a number, so that one key copies one."""

from __future__ import annotations

from typing import NamedTuple

from hugchat_tui.chat.transcript.stack import Anchor, Stack

MOST_NUMBERS = 9


class CodeBlock(NamedTuple):
    """A code block: the entry's index, and which of its blocks."""

    entry: int
    number: int


def blocks_to_number(stack: Stack, selected: int | None, view: range) -> list[CodeBlock]:
    """Those of the selected entry, from the first in view on where there are too many; else those in view.

    view: the rows that are seen.
    """
    if selected is not None and (blocks := _blocks(stack, selected)):
        every = [block for _, block in blocks]
        below = [block for row, block in blocks if stack.start(selected) + row >= view.start]
        return (below if below and len(every) > MOST_NUMBERS else every)[:MOST_NUMBERS]
    return [
        block
        for index in range(stack.at(view.start).entry, stack.at(view.stop - 1).entry + 1)
        for row, block in _blocks(stack, index)
        if stack.start(index) + row in view
    ][:MOST_NUMBERS]


def block_at(stack: Stack, place: Anchor) -> CodeBlock | None:
    """The block whose label stands in a row."""
    return next((block for row, block in _blocks(stack, place.entry) if row == place.row), None)


def code_of(stack: Stack, block: CodeBlock) -> str:
    """The code of a block, whole."""
    stack.ensure(block.entry)
    rendering = stack.slots[block.entry].rendering
    assert rendering is not None
    return rendering.fences()[block.number][1].text


def _blocks(stack: Stack, index: int) -> list[tuple[int, CodeBlock]]:
    """The blocks of an entry, each with the row of the entry that its label is in."""
    stack.ensure(index)
    rendering = stack.slots[index].rendering
    assert rendering is not None
    return [(row, CodeBlock(index, number)) for number, (row, _) in enumerate(rendering.fences())]
