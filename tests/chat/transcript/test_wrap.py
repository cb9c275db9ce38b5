"""Where lines break."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from rich.cells import cell_len

from hugchat_tui.chat.transcript.wrap import chop, expand_tabs, wrap

FAMILY = "👩\u200d👩\u200d👧"
GRAPHEMES = [
    *"ab cd  efghijk“—é 中文，。（日本語）ーﾊ한글\u200b",
    FAMILY,
    "👍🏽",
    "❤\ufe0f",
    "e\u0301\u0301",
    " \u0301",
]
WORDS = st.lists(st.sampled_from(GRAPHEMES), max_size=60).map("".join)


def pieces(text: str, width: int) -> list[str]:
    return [text[start:end] for start, end in wrap(text, width)]


def test_rows_break_at_spaces_which_belong_to_no_row() -> None:
    assert pieces("the quick brown fox", 9) == ["the quick", "brown fox"]
    assert pieces("two  spaces", 5) == ["two", "space", "s"]


def test_a_word_wider_than_the_row_is_cut() -> None:
    assert pieces("a verylongword b", 6) == ["a", "verylo", "ngword", "b"]


def test_ideographs_break_anywhere_but_not_before_a_full_stop() -> None:
    assert pieces("你好世界。再见", 8) == ["你好世", "界。再见"]
    assert pieces("说「你好」吧", 4) == ["说", "「你", "好」", "吧"]


def test_graphemes_stay_whole() -> None:
    assert pieces(FAMILY * 3, 4) == [FAMILY * 2, FAMILY]
    accented = "e\u0301x e\u0301x"
    assert [accented[start:end] for start, end in chop(accented, 2)] == ["e\u0301x", " e\u0301", "x"]


def test_tabs_go_to_the_next_stop_in_cells() -> None:
    assert expand_tabs("a\tb\t中\tc") == "a   b   中  c"


@given(WORDS, st.integers(2, 20))
def test_rows_fit_and_only_spaces_are_left_out(text: str, width: int) -> None:
    rows = wrap(text, width)
    position = 0
    for start, end in rows:
        assert not text[position:start].strip(" ")
        assert start <= end
        assert cell_len(text[start:end]) <= width
        position = end
    assert not text[position:].strip(" ")


@given(WORDS, st.integers(2, 20))
def test_code_is_cut_without_losing_a_space(text: str, width: int) -> None:
    rows = chop(text, width)
    assert "".join(text[start:end] for start, end in rows) == text
    assert all(cell_len(text[start:end]) <= width for start, end in rows)
