"""Text on its way into the database, and text as the full-text index sees it."""

from __future__ import annotations

import re

# Scripts written without spaces between words, and Hangul, whose particles cling to the word before them.
# Each of their characters is a word of its own in the index, so that any part of a run can be found. A
# constant, not the Unicode database of the running Python: what is taken out of the index must be what was
# once put in.
UNSPACED = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f"  # Myanmar
    "\u1100-\u11ff"  # Hangul Jamo
    "\u1780-\u17ff"  # Khmer
    "\u2e80-\u2fdf\u3005-\u3007"  # radicals, iteration marks, ideographic zero
    "\u3021-\u3029\u3031-\u303c"  # Hangzhou numerals, kana repeat marks
    "\u3040-\u312f\u3130-\u318f\u31a0-\u31bf\u31f0-\u31ff"  # Kana, Bopomofo, Hangul compatibility Jamo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"  # Han
    "\ua960-\ua97f\uac00-\ud7ff"  # Hangul
    "\uff66-\uffdc"  # half-width Kana and Hangul
    "\U00016fe0-\U00018d8f\U0001aff0-\U0001b16f"  # Tangut, Khitan, Nushu, Kana supplements
    "\U00020000-\U0003ffff"  # Han, supplementary planes
)
_UNSPACED_CHARACTER = re.compile(f"([{UNSPACED}])")
# Full-width Latin letters and digits are the plain ones to whoever searches for them.
_FULL_WIDTH = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}


def storable(text: str) -> str:
    """`text` as SQLite can keep it: each lone surrogate becomes U+FFFD, a pair becomes its character.

    Everything else, NUL included, is kept as it is.
    """
    try:
        text.encode()
    except UnicodeEncodeError:
        return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
    return text


def index_text(text: str) -> str:
    """What is indexed for `text`: characters of unspaced scripts stand apart, NUL is a space."""
    if text.isascii():
        return text.replace("\0", " ")
    return _UNSPACED_CHARACTER.sub(r" \1 ", text.translate(_FULL_WIDTH).replace("\0", " "))


def is_unspaced(character: str) -> bool:
    """Whether the index keeps the character as a word of its own."""
    return _UNSPACED_CHARACTER.match(character) is not None
