"""Text from outside made safe to show: what a terminal would obey becomes something a person can see.

Every string that a model, a file, a network or another program wrote passes `clean` (or `clean_line` where there is
room for one line only) before it is shown. Nothing is removed: each dangerous character becomes one visible glyph.

What is replaced, after the Unicode Standard 16 and ECMA-48:

- C0 controls but newline and tab, DEL, C1 controls: ESC and CSI start escape sequences.
- Bidirectional embeddings, overrides and isolates (U+202A-202E, U+2066-2069): they reorder what is read
  ("Trojan Source", CVE-2021-42574). The marks U+200E, U+200F and U+061C stay: they turn no letter round, and
  Arabic and Hebrew need them. The zero-width joiner stays: emoji and several scripts need it.
- Line and paragraph separators U+2028 and U+2029, the byte order mark, interlinear annotation, lone surrogates.
- Tag characters (U+E0000-E007F): invisible text. Only in the flags of England, Scotland and Wales do they stay.
- More than 16 zero-width characters in a row: a dotted circle after every sixteenth, so that no cell holds more.
"""

from __future__ import annotations

import re

ZERO_WIDTH = (
    "\u00ad\u0300-\u036f\u0483-\u0489\u0591-\u05bd\u0610-\u061a\u061c\u064b-\u065f\u0670\u06d6-\u06dc\u0e31"
    "\u0e34-\u0e3a\u0e47-\u0e4e\u1ab0-\u1aff\u1dc0-\u1dff\u200b-\u200f\u2060-\u2065\u206a-\u206f\u20d0-\u20ff"
    "\u302a-\u302d\u3099\u309a\ufe00-\ufe0f\ufe20-\ufe2f\U000e0100-\U000e01ef"
)
_DANGEROUS = re.compile(
    "(\r\n)"
    "|(\U0001f3f4[\U000e0020-\U000e007e]{2,8}\U000e007f)"
    f"|([{ZERO_WIDTH}]{{16}})(?=[{ZERO_WIDTH}])"
    "|[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff\U000e0000-\U000e007f]"
)
# One character class each, which is ten times faster than the alternation above: nearly all text passes these.
_SUSPECT_ASCII = re.compile("[\x00-\x08\x0b-\x1f\x7f]")
_SUSPECT = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e\u2066-\u2069\ufeff\ufff9-\ufffb\ud800-\udfff"
    f"\U000e0000-\U000e007f{ZERO_WIDTH}]"
)
_LINE_BREAK = re.compile("[\n\t]")
_GLYPHS = {"\x7f": "\u2421", "\u2028": "\u21b5", "\u2029": "\u00b6"}
_DOTTED_CIRCLE = "\u25cc"


def _visible(match: re.Match[str]) -> str:
    found = match[0]
    if match[1]:
        return "\n"
    if match[2]:
        return found
    if match[3]:
        return found + _DOTTED_CIRCLE
    if found < " ":
        return chr(0x2400 + ord(found))
    return _GLYPHS.get(found, "\ufffd")


def clean(text: str) -> str:
    """The text with every character that a terminal would obey made visible; CR LF becomes a newline.

    Newlines and tabs stay. `clean(clean(text)) == clean(text)`.
    """
    suspect = _SUSPECT_ASCII if text.isascii() else _SUSPECT
    return text if suspect.search(text) is None else _DANGEROUS.sub(_visible, text)


def clean_line(text: str) -> str:
    """`clean` for places with room for one line, titles and names: a newline becomes U+21B5, a tab a space."""
    return _LINE_BREAK.sub(lambda match: "\u21b5" if match[0] == "\n" else " ", clean(text))
