"""What is streamed in pieces is what is read whole: rows, colours, links, and what would be copied."""

from __future__ import annotations

import math

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from rich.style import Style

from hugchat_tui.chat.transcript import Entry
from hugchat_tui.chat.transcript.document import Document
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.lexers import LEXERS
from hugchat_tui.chat.transcript.rendering import Rendering
from tests.chat.transcript.helpers import PALETTE, drawn, rendered, streamed, texts

LEXERS.load("python")
LEXERS.load("c")

# Lines that change what came before them, or look as if they did until the next one comes.
LINES = [
    *("- a", "* b", "+ c", "- ", "-", "1. one", "2) two", "10. ten", "1.", "- - x", "- ```", "- a | b", "-\ttab"),
    *("  - nested", " - one in", "  * two in", "   text", "    deep", "\t- tabbed", "     deeper", "- [ ] task", "[x]"),
    *("", "", "", "", "```python", "```c", "```", "~~~", "  ```", "````", "x = 1", "/* a", "b */", '"""', "`", "***"),
    *("| a | b |", "|---|---|", "|:-:|--:|", "| 1 | 2 | 3 |", "|", "a|b", "-|-", "--|--", "| `c\\|d` | 中文 |", "||"),
    *("> quote", ">", "> - q", "> ```", ">> deeper", "# head", "## ", "===", "---", "--", "- - -", "$$", "\\[", "\\]"),
    *("**bold**", "*open", "text [l](http://x.y) `c`", "[a]: http://b.c", "[a]", "<b>", "&#x202e;", "![i](j)", "$a_1$"),
    *("a \\", "b  ", "e\u0301👩\u200d👩\u200d👧", "\x1b[31m", "\r", "http://x.y/z_w.", "中文，标点。", "~~s~~ __u__"),
]
SOURCES = st.tuples(
    st.lists(st.sampled_from(LINES), min_size=1, max_size=16), st.sampled_from(["\n", "\r\n"]), st.booleans()
).map(lambda parts: parts[1].join(parts[0]) + parts[1] * parts[2])


@st.composite
def pieces(draw: st.DrawFn) -> list[str]:
    source = draw(SOURCES)
    cuts = sorted(draw(st.sets(st.integers(1, max(1, len(source) - 1)), max_size=12)))
    return [source[start:end] for start, end in zip([0, *cuts], [*cuts, len(source)], strict=True)]


@given(pieces(), st.sampled_from([14, 60, 130]))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_streaming_in_pieces_draws_what_the_whole_draws(parts: list[str], width: int) -> None:
    assert drawn(streamed(parts, width)) == drawn(rendered("".join(parts), width))


@given(SOURCES)
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_streaming_by_the_character_draws_what_the_whole_draws(source: str) -> None:
    assert drawn(streamed(list(source))) == drawn(rendered(source))


@given(pieces(), st.sampled_from([14, 60]))
@settings(max_examples=400, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_row_above_the_first_changed_one_looks_as_it_did(parts: list[str], width: int) -> None:
    """Only the rows from there on are drawn again."""
    entry = Entry(1, "assistant", "model", "", streaming=True)
    rendering = Rendering(entry, Frame.of(PALETTE, width))
    rendering.advance(math.inf)
    before = seen(rendering)
    for part in parts:
        entry.text += part
        rendering.take_text()
        rendering.advance(math.inf)
        after = seen(rendering)
        assert after[: rendering.changed] == before[: rendering.changed]
        before = after


def test_another_word_changes_the_last_row_of_its_paragraph_only() -> None:
    entry = Entry(1, "assistant", "model", "word " * 40, streaming=True)
    rendering = Rendering(entry, Frame.of(PALETTE, 60))
    rendering.advance(math.inf)
    entry.text += "more"
    rendering.take_text()
    rendering.advance(math.inf)
    assert rendering.changed == rendering.body.stop - 1 > 3


def test_a_long_line_of_code_widens_the_panel_behind_the_lines_above() -> None:
    entry = Entry(1, "assistant", "model", "```python\nx = 1\ny = 2\n", streaming=True)
    rendering = Rendering(entry, Frame.of(PALETTE, 130))
    rendering.advance(math.inf)
    before = seen(rendering)
    entry.text += "z" * 120
    rendering.take_text()
    rendering.advance(math.inf)
    assert seen(rendering)[rendering.body.start] != before[rendering.body.start]
    assert rendering.changed == rendering.body.start


def seen(rendering: Rendering) -> list[object]:
    """What is drawn of every row while it streams, the caret included."""
    return [
        (
            [(segment.text, segment.style or Style()) for segment in (*row.prefix, *row.segments) if segment.text],
            row.panel and row.panel.width,
            number == rendering.body.stop - 1,
        )
        for number, row in enumerate(rendering.rows)
    ]


def test_a_stream_is_read_from_its_last_unit_on_and_not_again() -> None:
    """A list, a table or a fence of any length must not cost more with each line."""
    for line in ("- item number {n}\n", "| a | {n} |\n", "x = {n}\n", "paragraph {n}\n\n"):
        document = Document()
        opening = {"|": "| a | b |\n|---|---|\n", "x": "```python\n"}.get(line[0], "")
        document.feed(opening)
        for number in range(300):
            document.feed(line.format(n=number))
            while document.read():
                pass
            assert len(document._source) < 150, "the unread rest stays as short as a unit or two"


def test_an_open_fence_is_code_from_its_first_line_on() -> None:
    rows = texts(streamed(["Look:\n\n```py", "thon\ndef f():\n", "    return 1"]))
    assert rows == ["Look:", "", "  python", "  def f():", "      return 1"]


def test_a_comment_that_ends_late_colours_what_is_above() -> None:
    lines = ["int a;", "/* a comment", *(f"word {number}" for number in range(60)), "ends here */", "int b;"]
    source = "```c\n" + "\n".join(lines) + "\n```\n"
    late = streamed([source[at : at + 7] for at in range(0, len(source), 7)])
    assert drawn(late) == drawn(rendered(source))
    comment = next(row for row in late.rows if "word 3" in row.text)
    assert comment.segments[1].style == PALETTE["comment"]


def test_half_a_line_end_waits_for_the_other_half() -> None:
    assert texts(streamed(["one\r", "\ntwo\r", "three"])) == ["one", "two␍three"]
    assert texts(streamed(["a flag 🏴\U000e0067\U000e0062", "\U000e0065\U000e006e\U000e0067\U000e007f"])) == [
        "a flag 🏴\U000e0067\U000e0062\U000e0065\U000e006e\U000e0067\U000e007f"
    ]
