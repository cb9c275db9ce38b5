"""The Markdown that is read: CommonMark with tables, strikethrough and formulas, and without what hides text.

Against CommonMark: HTML is text, link reference definitions are text (so no block depends on a later one), a newline
inside a paragraph is a line break, and `$...$`, `$$...$$`, `\\(...\\)`, `\\[...\\]` are left exactly as written.
"""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from markdown_it import MarkdownIt
    from markdown_it.rules_block import StateBlock
    from markdown_it.rules_inline import StateInline
    from markdown_it.token import Token

MAX_NESTING = 24
# Emphasis and link parsing is quadratic on hostile input: markup as dense as this is shown as it is written.
_LONG = 4_000
_HUGE = 100_000
_MARKUP = re.compile(r"[\[\]*_`~<&\\!]")

_FORMULA = re.compile(
    r"\\\((?:[^\\]|\\(?!\))){1,400}?\\\)"
    r"|\\\[(?:[^\\]|\\(?!\])){1,400}?\\\]"
    r"|\$\$(?:[^$\\]|\\.){1,400}?\$\$"
    r"|\$(?=[^\s$])(?:[^$\\\n]|\\.){0,200}?(?<=[^\s\\])\$(?!\d)"
)
_OPENS = {"$$": "$$", "\\[": "\\]"}


def _formula_inline(state: StateInline, silent: bool) -> bool:
    if state.src[state.pos] not in "\\$":
        return False
    match = _FORMULA.match(state.src, state.pos, state.posMax)
    if match is None:
        return False
    if not silent:
        state.push("formula", "", 0).content = match[0]
    state.pos = match.end()
    return True


def _formula_block(state: StateBlock, start: int, end: int, silent: bool) -> bool:
    """Lines from one that begins a display formula to the one that ends it, or to the next blank line."""
    if state.is_code_block(start):
        return False

    def line(number: int) -> str:
        return state.src[state.bMarks[number] + state.tShift[number] : state.eMarks[number]].strip()

    first = line(start)
    close = _OPENS.get(first[:2])
    if close is None or (len(first) > 2 and not (first.endswith(close) and len(first) > 4)):
        return False
    if silent:
        return True
    last = start
    if len(first) == 2:
        while last + 1 < end and line(last + 1) and state.sCount[last + 1] >= state.blkIndent:
            last += 1
            if line(last).endswith(close):
                break
    token = state.push("formula_block", "", 0)
    token.content = state.getLines(start, last + 1, state.blkIndent, False)
    token.map = [start, last + 1]
    state.line = last + 1
    return True


@cache
def parser() -> MarkdownIt:
    """The configured parser. The first call imports markdown-it (100 ms)."""
    from markdown_it import MarkdownIt

    markdown = MarkdownIt("gfm-like", {"linkify": False, "html": False, "maxNesting": MAX_NESTING})
    markdown.disable(["reference", "linkify", "html_block", "html_inline"])
    markdown.inline.ruler.before("escape", "formula", _formula_inline)
    markdown.block.ruler.before("fence", "formula_block", _formula_block)
    return markdown


def parse(source: str) -> list[Token]:
    """Block tokens; the children of inline tokens are parsed too. The source is clean: newlines are "\\n"."""
    markdown = parser()
    tokens: list[Token] = []
    markdown.block.parse(source, markdown, {}, tokens)
    for token in tokens:
        if token.type == "inline":
            parse_inline(token)
    return tokens


def parse_inline(token: Token) -> None:
    """Fill in the children of one inline token."""
    text = token.content
    token.children = []
    if len(text) > _LONG and (len(text) > _HUGE or len(_MARKUP.findall(text)) > len(text) // 8):
        from markdown_it.token import Token

        token.children.append(Token("text", "", 0, content=text))
        return
    markdown = parser()
    markdown.inline.parse(text, markdown, {}, token.children)
