"""The charts of a run on the screen: which are shown, how they follow, and what the keys do."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from textual.app import App, ComposeResult
from textual.dom import DOMNode
from textual.pilot import Pilot

from hugchat_tui.monitor.chart import Chart
from hugchat_tui.monitor.charts_pane import ChartsLine, ChartsPane
from hugchat_tui.monitor.history import RunHistory
from tests.chat import test_widget_conventions as conventions
from tests.monitor.records import evaluation, record, step

WIDE, NARROW = (116, 40), (80, 20)


class Charts(App[None]):
    def compose(self) -> ComposeResult:
        yield ChartsPane()


class Driven:
    def __init__(self, pilot: Pilot[None]) -> None:
        self.pilot = pilot
        self.pane = pilot.app.query_one(ChartsPane)

    @property
    def text(self) -> str:
        """The whole screen, a row a line."""
        height = self.pilot.app.size.height
        strips = self.pilot.app.screen._compositor.render_strips()
        return "\n".join(strip.text for strip in strips[:height])

    @property
    def shown(self) -> list[str]:
        return [chart.measure.id for chart in self.pane.charts if chart.display]

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.drawn()

    async def drawn(self) -> None:
        await self.pilot.pause()
        while not self.pane.all_drawn:
            await self.pilot.pause(0.01)


@asynccontextmanager
async def driven(*histories: RunHistory, size: tuple[int, int] = WIDE) -> AsyncIterator[Driven]:
    app = Charts()
    async with app.run_test(size=size) as pilot:
        found = Driven(pilot)
        found.pane.show([(f"run-{number}", history) for number, history in enumerate(histories)])
        found.pane.focus()
        await found.drawn()
        yield found


def history_of(steps: int = 100) -> RunHistory:
    history = RunHistory()
    for number in range(steps + 1):
        history.apply([step(number, loss=4 - 3 * number / 100)])
    history.apply([evaluation(steps // 2, 2.75)])
    return history


async def test_a_wide_pane_shows_all_charts_and_a_narrow_one_the_current_one() -> None:
    async with driven(history_of()) as wide:
        assert len(wide.shown) == 5
        for words in ("loss", "learning rate", "gradient norm", "tokens/s", "memory"):
            assert words in wide.text
    async with driven(history_of(), size=NARROW) as narrow:
        assert narrow.shown == ["loss"]
        await narrow.press("down")
        assert narrow.shown == ["learning_rate"]
        await narrow.press("up", "up")
        assert narrow.shown == ["memory_bytes"]


async def test_one_chart_can_fill_the_pane() -> None:
    async with driven(history_of()) as charts:
        await charts.press("down", "f")
        assert charts.shown == ["learning_rate"]
        await charts.press("f")
        assert len(charts.shown) == 5


async def test_a_low_wide_pane_puts_the_small_charts_beside_the_large_one() -> None:
    async with driven(history_of(), size=(116, 20)) as charts:
        assert len(charts.shown) == 5
        loss, rate = charts.pane.charts[0].region, charts.pane.charts[1].region
        assert loss.height > 1.5 * rate.height and rate.x >= loss.right


async def test_without_runs_and_without_steps_it_says_so() -> None:
    async with driven() as charts:
        assert "No run is chosen." in charts.text
        history = RunHistory()
        history.apply([record("phase", name="loading")])
        charts.pane.show([("new", history)])
        await charts.drawn()
        assert "No step has been told yet." in charts.text


async def test_a_new_step_is_drawn() -> None:
    history = history_of()
    async with driven(history) as charts:
        history.apply([step(200, loss=0.125)])
        charts.pane.histories_changed()
        while "raw 0.125" not in charts.text:
            await charts.pilot.pause(0.05)
        assert charts.pane.view.domain == (0, 200)


async def test_charts_are_drawn_a_few_at_a_time_the_one_of_the_keys_first_and_all_in_turn(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    drawn: list[str] = []
    async with driven(history_of()) as charts:
        monkeypatch.setattr(Chart, "redraw", lambda chart: drawn.append(chart.measure.id))
        await charts.press("down", "down", "down")
        assert charts.pane.charts[charts.pane._current].measure.id == "tokens_per_s"
        drawn.clear()
        charts.pane._draw()
        charts.pane._draw_group()
        assert drawn == ["tokens_per_s", "memory_bytes", "loss"]
        charts.pane._draw()  # before the last ones had their turn, which come first now
        await charts.drawn()
        assert drawn[3:] == ["tokens_per_s", "memory_bytes", "learning_rate", "grad_norm", "loss"]


async def test_the_cursor_walks_over_the_points_and_ends_behind_the_last_one() -> None:
    async with driven(history_of()) as charts:
        await charts.press("left")
        assert charts.pane.view.cursor == 100
        assert "step 100" in charts.text
        await charts.press("left")
        assert charts.pane.view.cursor == 99
        await charts.press("right", "right")
        assert charts.pane.view.cursor is None
        await charts.press("right")
        assert charts.pane.view.cursor is None


async def test_the_cursor_stops_at_the_first_point() -> None:
    async with driven(history_of(3)) as charts:
        await charts.press(*["left"] * 8)
        assert charts.pane.view.cursor == 0


async def test_zooming_keeps_the_end_in_view_and_follows_it() -> None:
    history = history_of()
    async with driven(history) as charts:
        await charts.press("plus")
        assert charts.pane.view.window == (50, 100)
        history.apply([step(120)])
        charts.pane.histories_changed()
        while charts.pane.view.window != (70, 120):
            await charts.pilot.pause(0.05)


async def test_a_window_that_was_moved_away_from_the_end_stays_where_it_is() -> None:
    history = history_of()
    async with driven(history) as charts:
        await charts.press("plus", "shift+left")
        window = charts.pane.view.window
        assert window == (37.5, 87.5)
        history.apply([step(120)])
        charts.pane.histories_changed()
        while charts.pane.view.domain[1] != 120:
            await charts.pilot.pause(0.05)
        assert charts.pane.view.window == window


async def test_zooming_happens_around_the_cursor_and_nought_undoes_it_all() -> None:
    async with driven(history_of()) as charts:
        charts.pane.view.cursor = 20.0
        await charts.press("plus", "plus")
        assert charts.pane.view.window == (15, 40)
        await charts.press("minus", "minus")
        assert charts.pane.view.shown == (0, 100)
        await charts.press("plus", "0")
        view = charts.pane.view
        assert view.window is None and view.cursor is None


async def test_zooming_in_ends_at_a_few_points() -> None:
    async with driven(history_of()) as charts:
        await charts.press(*["plus"] * 20)
        window = charts.pane.view.window
        assert window is not None and 3 <= window[1] - window[0] <= 5


async def test_the_cursor_takes_the_window_along() -> None:
    async with driven(history_of()) as charts:
        await charts.press("plus", "plus", "plus", *["left"] * 40)
        view = charts.pane.view
        assert view.window is not None and view.cursor is not None
        assert view.window[0] <= view.cursor <= view.window[1] < 100


async def test_the_axis_changes_and_the_cursor_stays_at_its_step() -> None:
    async with driven(history_of()) as charts:
        await charts.press("left", "left", "X")
        assert (charts.pane.view.axis, charts.pane.view.cursor) == ("tokens", 9900)
        assert "step 99 · 9,900 tokens" in charts.text
        await charts.press("X")
        assert (charts.pane.view.axis, charts.pane.view.cursor) == ("time", 99)
        await charts.press("X")
        assert (charts.pane.view.axis, charts.pane.view.cursor) == ("step", 99)


async def test_smoothing_and_the_logarithm_are_told() -> None:
    async with driven(history_of()) as charts:
        assert "smoothing 0.6" in charts.text
        await charts.press("right_square_bracket")
        assert "smoothing 0.8" in charts.text
        await charts.press("left_square_bracket", "left_square_bracket", "left_square_bracket", "L")
        assert "not smoothed" in charts.text
        assert "loss log" in charts.text


async def test_runs_are_laid_over_each_other_with_their_names() -> None:
    async with driven(history_of(), history_of(50)) as charts:
        assert "run-0" in charts.text and "run-1" in charts.text
        tones = {trace.tone for trace in charts.pane.charts[0].traces if not trace.marks}
        assert len(tones) == 2


async def test_another_run_is_shown_whole_and_an_overlay_leaves_the_window() -> None:
    first, second = history_of(), history_of()
    async with driven(first) as charts:
        await charts.press("plus")
        charts.pane.show([("run-0", first), ("run-1", second)])
        assert charts.pane.view.window is not None
        charts.pane.show([("run-1", second)])
        assert charts.pane.view.window is None


async def test_a_click_puts_the_cursor_on_the_nearest_point_of_that_chart() -> None:
    async with driven(history_of()) as charts:
        rate = charts.pane.charts[1]
        await charts.pilot.click(rate, offset=(rate.size.width - 1, 4))
        assert charts.pane.view.cursor == round(100 * (1 - 0.5 / rate.plot_width))
        assert rate.active


async def test_the_current_chart_is_marked_while_the_keys_mean_it() -> None:
    """The mark came one change of the focus late."""
    async with driven(history_of()) as charts:
        assert "▌loss" in charts.text
        charts.pilot.app.set_focus(None)
        await charts.drawn()
        assert "▌loss" not in charts.text
        charts.pane.focus()
        await charts.drawn()
        assert "▌loss" in charts.text


async def test_a_hostile_name_is_drawn_harmless() -> None:
    async with driven() as charts:
        charts.pane.show([("\x1b]52;c;x\x07[@click=app.bell]", history_of()), ("b", history_of())])
        await charts.drawn()
        assert "\x1b" not in charts.text
        assert "]52;c;x" in charts.text and "[@" in charts.text


@pytest.mark.parametrize("widget", [Chart, ChartsLine, ChartsPane])
def test_the_widgets_keep_to_the_conventions(widget: type[DOMNode]) -> None:
    conventions.test_every_binding_has_an_id_and_no_trap_for_a_key(widget)
    conventions.test_no_attribute_hides_one_of_textuals(widget)


@pytest.mark.parametrize("size", [(1, 1), (10, 3), (30, 5), (70, 26), (200, 60)])
async def test_every_size_can_be_drawn(size: tuple[int, int]) -> None:
    async with driven(history_of(), size=size) as charts:
        assert len(charts.text.split("\n")) == size[1]
