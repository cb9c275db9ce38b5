"""The filter between widgets and terminal."""

from __future__ import annotations

from rich.segment import Segment
from rich.style import Style
from textual.app import App
from textual.color import Color

from hugchat_tui.common.line_filter import ControlFilter, guard

BACKGROUND = Color(0, 0, 0)


def test_control_characters_of_any_widget_become_visible() -> None:
    style = Style(bold=True)
    segments = [Segment("ok "), Segment("\x1b]52;c;aGk=\x07\u202e", style)]
    assert ControlFilter().apply(segments, BACKGROUND) == [Segment("ok "), Segment("␛]52;c;aGk=␇�", style)]


def test_only_plain_addresses_stay_hyperlinks() -> None:
    good, bad = Style(link="https://example.com/a?b=c"), Style(link="https://x\x1b\\\x1b]52;c;aGk=\x07", bold=True)
    kept, dropped = ControlFilter().apply([Segment("a", good), Segment("b", bad)], BACKGROUND)
    assert kept.style is not None and kept.style.link == "https://example.com/a?b=c"
    assert dropped.style is not None and dropped.style.link is None and dropped.style.bold


def test_harmless_lines_pass_untouched() -> None:
    segments = [Segment("plain"), Segment("日本語", Style(color="red"))]
    assert ControlFilter().apply(segments, BACKGROUND) is segments


def test_guarding_twice_installs_one_filter() -> None:
    app: App[None] = App()
    guard(app)
    guard(app)
    assert sum(isinstance(each, ControlFilter) for each in app.get_line_filters()) == 1
