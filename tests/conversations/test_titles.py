"""Titles are one clean line that fits the sidebar."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hugchat_tui.conversations.titles import TITLE_CELLS, UNTITLED, title_from


@pytest.mark.parametrize(
    ("question", "title"),
    [
        ("What is the capital of France?", "What is the capital of France?"),
        ("  Explain\tthis   code  \n\n```python\nprint()\n```", "Explain this code"),
        ("\n\n---\n# Heading\ntext", "Heading"),
        ("> - 1. quoted list", "quoted list"),
        ("```python\nprint('hello')\n```", "print('hello')"),
        ("Could you please explain how transformers attend to tokens?", "Could you please explain how transformers…"),
        ("Объясни, пожалуйста, как работает внимание в трансформерах", "Объясни, пожалуйста, как работает внимание в…"),
        (
            "请用简单的语言解释一下什么是注意力机制以及它为什么在变换器模型中如此重要",
            "请用简单的语言解释一下什么是注意力机制以及它为…",
        ),
        ("x" * 100, "x" * 47 + "…"),
        ("evil \x1b]52;c;aGk=\x07 \u202ereversed", "evil ]52;c;aGk= reversed"),
        ("🙂?", "🙂?"),
        ("", UNTITLED),
        ("\0\n \x1b", UNTITLED),
    ],
)
def test_title_from(question: str, title: str) -> None:
    assert title_from(question) == title


def test_a_family_is_not_torn_apart() -> None:
    family = "👩‍👩‍👧‍👦"
    title = title_from("a" * 45 + family * 5)
    assert title == "a" * 45 + family + "…"


@given(st.text(st.characters(exclude_categories=())), st.integers(len(UNTITLED), 80))
def test_any_question_gives_one_line_that_fits(question: str, cells: int) -> None:
    title = title_from(question, cells)
    assert title
    assert cell_len(title) <= cells
    steering = {"Cc", "Cf", "Cs", "Zl", "Zp"}
    assert not steering & {unicodedata.category(character) for character in set(title) - {"\u200c", "\u200d"}}


def test_a_megabyte_is_titled_by_its_beginning() -> None:
    title = title_from("word " * 200_000)
    assert title.startswith("word word")
    assert cell_len(title) <= TITLE_CELLS
