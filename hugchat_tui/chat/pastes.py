"""Large pastes held beside the draft: a chip stands for each in the editor, so that editing stays light.

In a stored draft the text of a chip lies between two control characters, STX and ETX. They cannot occur in
the text itself, which has been cleaned, so a draft is plain text that anything may read and the chips come
back where they were.
"""

from __future__ import annotations

import re

from hugchat_tui.common.format import counted
from hugchat_tui.common.plain_editor import normalise

CHIP_CHARACTERS = 10_000
CHIP_LINES = 200

_CHIP = re.compile(r"\[pasted #\d+: [\d,]+ characters?, [\d,]+ lines?\]")
_STORED = re.compile("\x02([^\x03]*)\x03")


def is_large(text: str) -> bool:
    """Whether the text is better held beside the editor than in it."""
    return len(text) > CHIP_CHARACTERS or text.count("\n") >= CHIP_LINES


class PasteShelf:
    """The texts behind the chips of one draft."""

    def __init__(self) -> None:
        self._texts: dict[str, str] = {}
        self._number = 0

    def __len__(self) -> int:
        return len(self._texts)

    def clear(self) -> None:
        self._texts.clear()
        self._number = 0

    def add(self, text: str) -> str:
        """Hold the text and return the chip that stands for it."""
        self._number += 1
        lines = text.count("\n") + 1
        chip = f"[pasted #{self._number}: {counted(len(text), 'character')}, {counted(lines, 'line')}]"
        self._texts[chip] = text
        return chip

    def spans(self, line: str) -> list[tuple[int, int]]:
        """Where chips of this draft stand in a line, as (start, end). What only looks like a chip is none."""
        if not self._texts:
            return []
        return [found.span() for found in _CHIP.finditer(line) if found.group() in self._texts]

    def expand(self, text: str) -> str:
        """The text with every chip replaced by what it stands for."""
        return self._replace(text, "", "")

    def pack(self, text: str) -> str:
        """Like `expand`, with the pasted parts marked so that `unpack` finds them."""
        return self._replace(text, "\x02", "\x03")

    def unpack(self, draft: str) -> str:
        """Start over with the chips of a stored draft, and return its text with the chips in place.

        An unmarked part too large for the editor becomes a chip as well: a draft may come from an external
        editor.
        """
        self.clear()
        parts = _STORED.split(draft)
        return "".join(
            self.add(part) if index % 2 or is_large(part) else part for index, part in enumerate(map(normalise, parts))
        )

    def _replace(self, text: str, before: str, after: str) -> str:
        if not self._texts:
            return text
        return _CHIP.sub(lambda found: self._original(found.group(), before, after), text)

    def _original(self, chip: str, before: str, after: str) -> str:
        text = self._texts.get(chip)
        return chip if text is None else f"{before}{text}{after}"
