"""English and Chinese told apart by their letters."""

from __future__ import annotations

import pytest

from sft.data.conversation import Conversation, Message
from sft.data.language import Language, language


@pytest.mark.parametrize(
    ("question", "answer", "expected"),
    [
        ("What is a beaver?", "A rodent.", "en"),
        ("Write a naïve café story – “quoted” … 😀", "Once upon a time there was a small house by the sea. " * 5, "en"),
        ("你是谁？", "我是HugChat。", "zh"),
        ("把下面的英文翻译成中文: The quick brown fox jumps.", "敏捷的棕色狐狸跳跃。", "zh"),
        ("請介紹自己", "我是助手", "zh"),
        ("これは何ですか。", "これは本です。", "other"),
        ("이것은 무엇입니까?", "책입니다.", "other"),
        ("Что это?", "Книга.", "other"),
        ("Où êtes-vous né ?", "Je suis né à Besançon, près de la forêt.", "other"),
        ("1 + 1 = ?", "2", "other"),
        ("𠀀𠀁𠀂？", "𠀃。", "zh"),
    ],
)
def test_language(question: str, answer: str, expected: Language) -> None:
    assert language(Conversation((Message("user", question), Message("assistant", answer)), "x", 1)) == expected
