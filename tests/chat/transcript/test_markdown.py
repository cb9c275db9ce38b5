"""How Markdown looks as rows of text."""

from __future__ import annotations

import pytest
from rich.cells import cell_len
from rich.style import Style

from hugchat_tui.chat.transcript.entries import EntryRole
from hugchat_tui.chat.transcript.flags import BOLD
from hugchat_tui.chat.transcript.frame import MEASURE
from hugchat_tui.common.clean import clean
from tests.chat.transcript.helpers import PALETTE, rendered, texts


def styles(text: str, word: str, width: int = 60) -> object:
    """The style that a word has."""
    rows = rendered(text, width).rows
    return next(segment.style for row in rows for segment in row.segments if segment.text == word)


def test_headings_stand_apart_and_text_follows_close() -> None:
    assert texts(rendered("# One\ntext\n## Two\n\nmore")) == ["One", "text", "", "Two", "", "more"]


def test_a_line_break_of_the_model_is_kept() -> None:
    assert texts(rendered("roses are red\nviolets are blue")) == ["roses are red", "violets are blue"]


def test_lists_count_nest_and_wrap_under_their_text() -> None:
    source = "3. three\n4. a longer item that wraps\n   - nested\n     - deeper\n\n     with a paragraph\n5. five\n"
    assert texts(rendered(source, 20)) == [
        "3. three",
        "4. a longer item",
        "   that wraps",
        "   ◦ nested",
        "     ▪ deeper",
        "",
        "     with a",
        "     paragraph",
        "5. five",
    ]


def test_tasks_have_boxes() -> None:
    assert texts(rendered("- [x] **done** now\n- [ ] open\n- [y] neither")) == ["☑ done now", "☐ open", "• [y] neither"]
    assert styles("- [x] **done** now", "done") == PALETTE.marked(Style(), BOLD)


def test_quotes_nest_behind_bars() -> None:
    assert texts(rendered("> a promise that is long enough\n>> inner\n", 20)) == [
        "▎ a promise that is",
        "▎ long enough",
        "▎",
        "▎ ▎ inner",
    ]


def test_marks_and_links_are_styled_and_addresses_shown() -> None:
    source = "**b** *i* ~~s~~ `c` [text](https://x.y/z) <https://a.b> https://c.d/e_f_g."
    assert texts(rendered(source, 100)) == ["b i s c text (https://x.y/z) https://a.b https://c.d/e_f_g."]
    row = rendered(source, 100).rows[1]
    assert [(row.text[link.start : link.end], link.url) for link in row.links] == [
        ("text", "https://x.y/z"),
        ("https://a.b", "https://a.b"),
        ("https://c.d/e_f_g", "https://c.d/e_f_g"),
    ]


@pytest.mark.parametrize("url", ["javascript:alert(1)", "file:///etc/passwd", "data:text/html,x", "../x", "ssh://h"])
def test_only_web_and_mail_addresses_can_be_activated(url: str) -> None:
    rendering = rendered(f"[click]({url})")
    assert not any(row.links for row in rendering.rows)
    assert "click" in texts(rendering)[0]


def test_html_images_and_definitions_are_text() -> None:
    source = "<b onclick=x>bold</b> &lt;\n\n![a cat](http://x/cat.png)\n\n[id]: http://x.y\n\n<div>\nblock\n</div>"
    assert texts(rendered(source)) == [
        "<b onclick=x>bold</b> <",
        "",
        "[image: a cat] (http://x/cat.png)",
        "",
        "[id]: http://x.y",
        "",
        "<div>",
        "block",
        "</div>",
    ]


def test_formulas_are_left_as_written() -> None:
    source = "Area $a_1 * b_1 * c$ and \\(x*y*z\\), $5 or *so* $6.\n\n$$\na_1 - b\n- c\n= d\n$$\n\n\\[ *x* \\]"
    assert texts(rendered(source)) == [
        "Area $a_1 * b_1 * c$ and \\(x*y*z\\), $5 or so $6.",
        "",
        "$$",
        "a_1 - b",
        "- c",
        "= d",
        "$$",
        "",
        "\\[ *x* \\]",
    ]


def test_code_shows_its_language_and_marks_wrapped_lines() -> None:
    assert texts(rendered("```python\nx = 'a long line of code'\n\ty\n```\n\n    indented", 20)) == [
        "  python",
        "  x = 'a long line",
        "↪ of code'",
        "      y",
        "",
        "  code",
        "  indented",
    ]


def test_code_is_coloured_by_its_language() -> None:
    assert styles("```python\nreturn 1\n```", "return") == PALETTE["keyword"]
    assert styles("```nosuchlanguage\nreturn 1\n```", "return 1") != PALETTE["keyword"]


def test_tables_align_and_wrap_into_the_width() -> None:
    source = "| name | text | n |\n|:--|:-:|--:|\n| a | mid | 1 |\n| b | words that go on for a while | 22 |\n"
    assert texts(rendered(source, 32)) == [
        "name │         text         │  n",
        "─────┼──────────────────────┼───",
        "a    │         mid          │  1",
        "b    │ words that go on for │ 22",
        "     │       a while        │",
    ]


def test_a_table_with_more_columns_than_fit_is_stacked() -> None:
    heads = [f"column{number}" for number in range(8)]
    source = f"|{'|'.join(heads)}|\n{'|---' * 8}|\n|{'|'.join(f'value {number}' for number in range(8))}|\n"
    rows = texts(rendered(source, 30))
    assert rows[:3] == ["column0: value 0", "column1: value 1", "column2: value 2"]
    assert all(cell_len(row) <= 30 for row in rows)


def test_cells_beyond_the_head_are_not_dropped() -> None:
    assert texts(rendered("|a|b|\n|-|-|\n|1|2|3|4 \\| 5|\n"))[-1] == "1 │ 2 | 3 | 4 | 5"


def test_text_nested_too_deeply_is_shown_as_written() -> None:
    source = ">" * 200 + " still here\n"
    assert "still here" in " ".join(texts(rendered(source, 300)))
    nested = "\n".join(" " * (2 * depth) + f"- level {depth}" for depth in range(40))
    shown = " ".join(texts(rendered(nested, 200)))
    assert all(f"level {depth}" in shown for depth in range(40))


def test_prose_keeps_to_the_measure_on_wide_screens_and_tables_may_not() -> None:
    prose = rendered("word " * 100, 200)
    assert max(row.width for row in prose.rows) <= MEASURE
    table = rendered(f"|a|b|\n|-|-|\n|{'x ' * 40}|{'y ' * 40}|\n", 200)
    assert MEASURE < max(row.width for row in table.rows) <= 200


@pytest.mark.parametrize("role", ["user", "system", "notice", "error"])
def test_what_others_wrote_is_shown_as_it_was_written(role: EntryRole) -> None:
    rendering = rendered("# not *a* heading\n\n  - x\ty\n", 60, role)
    assert texts(rendering) == ["# not *a* heading", "", "  - x   y"]


def test_title_detail_and_footer_are_around_the_text() -> None:
    rendering = rendered("text", 40, title="model\x1b", detail="2/3", footer="done · 3 tokens")
    assert [row.text.rstrip() for row in rendering.rows] == [
        "model␛" + " " * 31 + "2/3",
        "text",
        "done · 3 tokens",
        "",
    ]


@pytest.mark.parametrize("width", [14, 40, 77, 200])
def test_no_row_is_wider_than_the_room(width: int) -> None:
    source = "\n".join(
        [
            "# 标题 that wraps around when the room is narrow 👩\u200d👩\u200d👧 ❤\ufe0f",
            "- item\n  > quote 中文字符一直写下去没有空格没有空格",
            "  > ```c\n  > long_line_of_code(中文, argument);\n",
            "| 表头 | b |\n|---|---|\n| 👍🏽👍🏽👍🏽 | e\u0301e\u0301 word |\n",
            "1. https://example.com/a/very/long/address/that/does/not/break/anywhere\n\n---\n",
        ]
    )
    rendering = rendered(source, width)
    for row in rendering.rows:
        assert cell_len(row.text) == row.width
        assert row.width <= width


def test_what_the_parser_decodes_is_cleaned_again() -> None:
    source = "&#x202e;turned &#12; <http://a.b/%E2%80%AEx> [t](http://a.b/%C2%9B 'x')"
    shown = " ".join(texts(rendered(source, 100)))
    assert "\ufffdturned" in shown
    assert clean(shown) == shown
