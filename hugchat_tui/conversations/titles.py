"""A conversation's title, made from its first question."""

from __future__ import annotations

import re
import unicodedata

from hugchat_tui.conversations.text import is_unspaced

TITLE_CELLS = 48
UNTITLED = "New conversation"

_ELLIPSIS = "…"
_LINE = re.compile(r"[^\r\n\v\f\x85\u2028\u2029]+")
# Of a pasted line of a megabyte no more than this is looked at.
_ENOUGH = 1000
_FENCE = re.compile(r"^(```|~~~)")
_MARKDOWN_LEAD = re.compile(r"^(?:#{1,6}\s+|>\s*|[-*+]\s+|\d{1,3}[.)]\s+)+")
# A cut is moved back to a space only this far: a longer last word is cut instead.
_LONGEST_BACKTRACK = 16


def title_from(question: str, cells: int = TITLE_CELLS) -> str:
    """The question's first line that says something, without control characters, at most `cells` wide on
    screen.

    A longer line is cut at a word's end where one is near, never inside a character a person sees as one,
    and ends in an ellipsis. A question that says nothing is UNTITLED.
    """
    for line in _LINE.finditer(question):
        text = _clean(line[0][:_ENOUGH])
        if _FENCE.match(text) or not any(character.isalnum() for character in text):
            continue
        return _cut(text, cells)
    text = _clean(question[:_ENOUGH])
    return _cut(text, cells) if text else UNTITLED


def _clean(line: str) -> str:
    """Spaces collapsed, Markdown's line marks gone, and nothing that is invisible or steers a terminal."""
    # Cc: control; Cf: format, bidi controls among them (but joiners make emoji and words); Cs: surrogates.
    kept = (
        character if character in "\u200c\u200d" or unicodedata.category(character) not in ("Cc", "Cf", "Cs") else " "
        for character in line
    )
    text = " ".join("".join(kept).split())
    return _MARKDOWN_LEAD.sub("", text) or text


def _cut(text: str, cells: int) -> str:
    from rich.cells import cell_len, split_graphemes

    if cell_len(text) <= cells:
        return text
    spans, _ = split_graphemes(text)
    width, end = cell_len(_ELLIPSIS), 0
    for _start, stop, span_width in spans:
        if width + span_width > cells:
            break
        width += span_width
        end = stop
    space = text.rfind(" ", max(0, end - _LONGEST_BACKTRACK), end + 1)
    # Chinese and Japanese may be cut anywhere; a space there separates phrases, not words.
    if space > 0 and text[end] != " " and not is_unspaced(text[end - 1]):
        end = space
    return text[:end].rstrip(" ,;:.-") + _ELLIPSIS
