"""Text from outside before it is shown."""

from __future__ import annotations

import sys

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hugchat_tui.common.clean import clean, clean_line


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b]52;c;aGk=\x07", "␛]52;c;aGk=␇"),
        ("\x1b[31mred", "␛[31mred"),
        ("a\x9b31m\x85b", "a�31m�b"),
        ("nul\x00 bell\x07 del\x7f", "nul␀ bell␇ del␡"),
        ("abc\u202etxt.exe\u2066x\u2069", "abc�txt.exe�x�"),
        ("line\u2028paragraph\u2029", "line↵paragraph¶"),
        ("\ufeffstart", "�start"),
        ("\ud83d lone", "� lone"),
        ("hidden\U000e0041\U000e0042", "hidden��"),
    ],
)
def test_what_a_terminal_would_obey_becomes_visible(text: str, shown: str) -> None:
    assert clean(text) == shown


@pytest.mark.parametrize(
    "text",
    [
        "plain text\n\twith a tab",
        "👩‍👩‍👧 family, 👍🏽 skin, ❤️ selector",
        "🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f",
        "نص\u200fعربي\u200e",
        "e\u0301 n\u0303 한글 日本語 हिन्दी",
    ],
)
def test_scripts_and_emoji_stay_as_they_are(text: str) -> None:
    assert clean(text) == text


def test_windows_line_ends_become_newlines_and_a_lone_return_is_seen() -> None:
    assert clean("a\r\nb\rc") == "a\nb␍c"


def test_no_cell_holds_more_than_sixteen_combining_marks() -> None:
    shown = clean("e" + "\u0301" * 100_000)
    assert shown.replace("◌", "") == "e" + "\u0301" * 100_000, "nothing is removed"
    assert max(len(part) for part in shown[1:].split("◌")) == 16


def test_a_line_has_no_newlines() -> None:
    assert clean_line("two\nlines\tand \x1b") == "two↵lines and ␛"


@given(st.text(st.characters(max_codepoint=sys.maxunicode), max_size=200))
def test_cleaning_leaves_nothing_dangerous_and_is_done_once(text: str) -> None:
    shown = clean(text)
    assert clean(shown) == shown
    assert not [each for each in shown if each < " " and each not in "\n\t"]
    assert not set(shown) & set("\x7f\x85\x9b\u2028\u2029\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069\ufeff")
    shown.encode()  # no lone surrogates
