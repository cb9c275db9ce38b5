"""Drawing only what changed shows what drawing everything shows."""

from __future__ import annotations

from random import Random

import pyte
import pytest
from textual._compositor import Compositor
from textual.app import App, ComposeResult
from textual.containers import Horizontal, VerticalScroll
from textual.geometry import Region
from textual.screen import Screen
from textual.strip import Strip
from textual.widget import Widget
from textual.widgets import Static

from hugchat_tui.common.compositor import PartialCompositor

SIZE = 40, 16


class Layered(Screen[None]):
    """Widgets side by side, scrolled out of sight, with borders, and one floating above the others."""

    DEFAULT_CSS = """
    Layered { layers: below above; }
    #floating { layer: above; offset: 12 5; width: 9; height: 4; border: round red; }
    #left { width: 1fr; height: 1fr; border: round green; }
    #right { width: 15; height: 1fr; }
    #right Static { height: 9; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._compositor = PartialCompositor()

    def compose(self) -> ComposeResult:
        with Horizontal():
            yield Static("left " * 100, id="left")
            with VerticalScroll(id="right"):
                for name in "abc":
                    yield Static(f"{name} " * 100)
        yield Static("floating", id="floating")


class LayeredApp(App[None]):
    def get_default_screen(self) -> Screen[None]:
        return Layered()


def drawn(compositor: Compositor, app: App[None], dirty: set[Region]) -> object:
    """Every cell of a blank terminal on which only the dirty regions are drawn."""
    compositor._dirty_regions = set(dirty)
    update = compositor.render_partial_update()
    assert update is not None
    terminal = pyte.Screen(*SIZE)
    pyte.Stream(terminal).feed(update.render_segments(app.console).replace("\n", ""))
    return [[terminal.buffer[y][x] for x in range(SIZE[0])] for y in range(SIZE[1])]


async def test_the_rows_that_changed_are_drawn_as_textual_draws_them() -> None:
    random = Random(0)
    app = LayeredApp()
    async with app.run_test(size=SIZE) as pilot:
        app.query_one("#right").scroll_to(y=4, animate=False)
        await pilot.pause()
        compositor = app.screen._compositor
        assert app.screen.query_one("#floating").region == Region(12, 5, 9, 4)
        assert app.screen.query_one("#left").region == Region(0, 0, 25, 16)
        assert app.screen.query_one("#right").scroll_offset.y == 4
        for _ in range(300):
            dirty = set()
            for _ in range(random.randint(1, 3)):
                x, y = random.randrange(SIZE[0]), random.randrange(SIZE[1])
                dirty.add(Region(x, y, random.randint(1, SIZE[0] - x), random.randint(1, SIZE[1] - y)))
            assert isinstance(compositor, PartialCompositor)
            ours = drawn(compositor, app, dirty)
            textuals = Compositor()
            textuals.__dict__.update(compositor.__dict__)
            assert ours == drawn(textuals, app, dirty), dirty


async def test_only_what_can_be_seen_of_the_rows_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    render_lines = Widget.render_lines

    def note(widget: Widget, crop: Region) -> list[Strip]:
        asked.append((widget, crop))
        return render_lines(widget, crop)

    app = LayeredApp()
    async with app.run_test(size=SIZE):
        left = app.screen.query_one("#left")
        monkeypatch.setattr(Widget, "render_lines", note)
        app.screen._compositor._dirty_regions = {Region(1, 3, 10, 1)}
        app.screen._compositor.render_partial_update()
        assert asked == [(left, Region(0, 3, left.region.width, 1))]


async def test_what_stands_beside_something_that_changed_is_not_asked(monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[str, Region]] = []
    render_lines = Widget.render_lines

    def note(widget: Widget, crop: Region) -> list[Strip]:
        asked.append((widget.id or type(widget).__name__, crop))
        return render_lines(widget, crop)

    app = LayeredApp()
    async with app.run_test(size=SIZE):
        monkeypatch.setattr(Widget, "render_lines", note)
        app.screen._compositor._dirty_regions = {Region(1, 1, 5, 2), Region(28, 10, 5, 3)}
        app.screen._compositor.render_partial_update()
        assert [name for name, _ in asked] == ["Static", "left"]
        assert {(crop.y, crop.height) for name, crop in asked if name == "left"} == {(1, 2)}
