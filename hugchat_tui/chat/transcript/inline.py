"""From the tokens inside a paragraph to text with marks."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from hugchat_tui.chat.transcript.blocks import Inline, Mark, Target
from hugchat_tui.chat.transcript.flags import BOLD, CODE, DIM, ITALIC, LINK, STRIKE
from hugchat_tui.common.clean import clean

if TYPE_CHECKING:
    from markdown_it.token import Token

_FLAGS = {"strong": BOLD, "em": ITALIC, "s": STRIKE}
_BARE_URL = re.compile(r"https?://[^\s<>\"'`()\[\]{}|\\]*[^\s<>\"'`()\[\]{}|\\.,;:!?*_]")
_ADDRESS = re.compile(r"(?:https?://|mailto:)[!-~]+")


def read_inline(children: Sequence[Token]) -> Inline:
    """Text, marks and link targets of an inline token's children.

    A link's address is shown behind it unless it is the text itself; an image is its description and address.
    """
    reader = _Reader()
    for token in children:
        reader.read(token)
    return Inline("".join(reader.parts), tuple(reader.marks), tuple(reader.targets))


class _Reader:
    def __init__(self) -> None:
        self.parts: list[str] = []
        self.marks: list[Mark] = []
        self.targets: list[Target] = []
        self._length = 0
        self._depths: Counter[int] = Counter()
        self._flags = 0
        self._links: list[tuple[int, int, str]] = []  # start in the text, start in the parts, address

    def read(self, token: Token) -> None:
        match token.type:
            case "text":
                self._text(token.content)
            case "softbreak" | "hardbreak":
                self._add("\n", 0)
            case "code_inline":
                self._add(token.content, self._flags | CODE)
            case "image":
                self._add(f"[image: {token.content}]", self._flags | ITALIC)
                self._add(f" ({token.attrGet('src')})", DIM)
            case "link_open":
                self._links.append((self._length, len(self.parts), str(token.attrGet("href") or "")))
                self._nest(LINK, 1)
            case "link_close":
                self._close_link(token.markup)
            case _ if token.tag in _FLAGS:
                self._nest(_FLAGS[token.tag], token.nesting)
            case _:  # formulas, escapes, entities, HTML
                self._add(token.content, self._flags)

    def _nest(self, flag: int, by: int) -> None:
        self._depths[flag] += by
        self._flags = self._flags | flag if self._depths[flag] > 0 else self._flags & ~flag

    def _close_link(self, markup: str) -> None:
        start, part, url = self._links.pop()
        self._nest(LINK, -1)
        self._target(start, url)
        if markup != "autolink" and "".join(self.parts[part:]) != url:
            self._add(f" ({url})", DIM)

    def _target(self, start: int, url: str) -> None:
        if self._length > start and _ADDRESS.fullmatch(url):
            self.targets.append(Target(start, self._length, url))

    def _text(self, text: str) -> None:
        position = 0
        if "://" in text and not self._links:
            for match in _BARE_URL.finditer(text):
                self._add(text[position : match.start()], self._flags)
                start = self._length
                self._add(match[0], self._flags | LINK)
                self._target(start, match[0])
                position = match.end()
        self._add(text[position:], self._flags)

    def _add(self, text: str, flags: int) -> None:
        # The source was cleaned, but the parser decodes entities and percent-encoded addresses.
        text = clean(text).replace("\t", "    ")
        if not text:
            return
        start, end = self._length, self._length + len(text)
        if flags:
            last = self.marks[-1] if self.marks else None
            if last is not None and last.flags == flags and last.end == start:
                self.marks[-1] = Mark(last.start, end, flags)
            else:
                self.marks.append(Mark(start, end, flags))
        self.parts.append(text)
        self._length = end
