"""Which language a conversation is in, by the scripts of its letters: enough to tell English corpora from Chinese ones.

It is no language identification: German without umlauts passes for English.
"""

from __future__ import annotations

import re
from typing import Literal

from sft.data.conversation import Conversation

Language = Literal["en", "zh", "other"]

_LOOKED_AT = 4000  # characters of a conversation
_HAN = re.compile(r"[\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]+")
_PLAIN = re.compile(r"[A-Za-z]+")
_OTHERS = re.compile(r"[^\W\d_]+")
_KANA_HANGUL = re.compile(r"[\u3040-\u30ff\u31f0-\u31ff\uac00-\ud7af\u1100-\u11ff]+")
# A Chinese answer may be about an English text, and quote all of it.
_HAN_SHARE = 0.2
# French has some 4 % of letters with marks, German and Spanish some 2 %; English has next to none.
_FOREIGN_SHARE = 0.015


def language(conversation: Conversation) -> Language:
    """en: letters without marks. zh: a fifth of them Chinese or more, and hardly any Japanese or Korean ones."""
    text = "\n".join(message.content for message in conversation.messages)[:_LOOKED_AT]
    if text.isascii():
        return "en" if _PLAIN.search(text) else "other"
    letters = _count(_OTHERS, text)
    if not letters:
        return "other"
    han = _count(_HAN, text)
    plain = _count(_PLAIN, text)
    if _count(_KANA_HANGUL, text) > 0.05 * letters:
        return "other"
    if han >= _HAN_SHARE * letters:
        return "zh"
    return "en" if letters - plain <= _FOREIGN_SHARE * letters else "other"


def _count(pattern: re.Pattern[str], text: str) -> int:
    return sum(map(len, pattern.findall(text)))
