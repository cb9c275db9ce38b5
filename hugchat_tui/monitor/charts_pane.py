"""The charts of a run, and of those that are laid over it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Sequence
from typing import ClassVar

import numpy as np
from textual import on
from textual.app import ComposeResult, RenderResult
from textual.binding import BindingType
from textual.containers import Container
from textual.content import Content
from textual.widget import Widget

from hugchat_tui.actions import bindings
from hugchat_tui.common.alarm import Alarm
from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.tones import FAINT
from hugchat_tui.monitor.axes import short, span_of_time
from hugchat_tui.monitor.chart import Chart
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.picture import MISSING
from hugchat_tui.monitor.run_tones import next_tone, run_tones
from hugchat_tui.monitor.traces import AXES, ChartView, Measure, RunPlaces, Trace

MEASURES = (
    Measure("loss", "loss"),
    Measure("learning_rate", "learning rate", smooth=False),
    Measure("grad_norm", "gradient norm"),
    Measure("tokens_per_s", "tokens/s"),
    Measure("memory_bytes", "memory", "bytes", smooth=False),
)
WEIGHTS = (0.0, 0.6, 0.8, 0.9, 0.95, 0.98, 0.99, 0.995, 0.999)
_EVALUATION = "$foreground"  # of the selected run, where no other one is shown
_DRAW_EVERY_S = 0.2
# Charts that are drawn in one frame. All five at once hold up keys for long where training has taken every core.
_GROUPS = ((0,), (1, 2), (3, 4))
_NEXT_GROUP_S = 0.02
_PAN = 0.25  # of what is shown
_FROM_ZERO = 0.1  # of the end: where an axis that begins before that much begins with 0
_BELOW = (70, 26)  # cells across and down from which the small charts stand below the large one
_BESIDE = (110, 12)


class ChartsLine(Widget):
    """One line below the charts: what of them is shown, and how."""

    DEFAULT_CSS = """
    ChartsLine { height: 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.words = ""

    def show(self, words: str) -> None:
        if words != self.words:
            self.words = words
            self.refresh()

    def render(self) -> RenderResult:
        return Content.styled(f" {self.words}", FAINT).truncate(self.size.width, ellipsis=True)


class ChartsPane(Container, can_focus=True):
    """One chart large, the others small where there is room. They share their axis, its window, and the cursor."""

    BINDINGS: ClassVar[list[BindingType]] = [*bindings("charts")]

    SCOPED_CSS = False
    DEFAULT_CSS = """
    ChartsPane {
        height: 1fr;
        & > .charts { layout: grid; grid-size: 1 1; height: 1fr; grid-gutter: 0 1; }
        & > ChartsLine { height: 1; }
        &.-below > .charts { grid-size: 2 3; grid-rows: 5fr 3fr 3fr; }
        &.-below > .charts > .-first { column-span: 2; }
        &.-beside > .charts { grid-size: 3 2; grid-columns: 2fr 1fr 1fr; }
        &.-beside > .charts > .-first { row-span: 2; }
    }
    """

    jump_label = "c"
    help_title = "Charts"

    def __init__(self) -> None:
        super().__init__()
        self.view = ChartView()
        self.charts = [Chart(measure, self.view) for measure in MEASURES]
        self.line = ChartsLine()
        self._current = 0
        self._large = False
        self._runs: list[tuple[str, RunHistory]] = []
        self._places: list[RunPlaces] = []
        self._drawn_at = 0.0
        self._drawing = Alarm(self, self._draw)
        self._groups: list[tuple[int, ...]] = []  # that are still to be drawn
        self._next_group = Alarm(self, self._draw_group)

    def compose(self) -> ComposeResult:
        with Container(classes="charts"):
            yield from self.charts
        yield self.line

    def on_mount(self) -> None:
        self.charts[0].add_class("-first")
        self._arrange()
        self._draw()

    # What is shown

    def show(self, runs: Sequence[tuple[str, RunHistory]]) -> None:
        """Show these runs, the selected one first. Zoom and cursor end where another one is selected than before."""
        runs = list(runs)
        if [id(history) for _, history in runs] == [id(history) for _, history in self._runs]:
            return
        if not runs or not self._runs or runs[0][1] is not self._runs[0][1]:
            self.view.window = self.view.cursor = None
        self._runs = runs
        self._places = [RunPlaces(history) for _, history in runs]
        tones = run_tones(name for name, _ in runs)
        for chart in self.charts:
            chart.traces = list(self._traces(chart.measure, tones))
        self._draw()

    def histories_changed(self) -> None:
        """Something was told by a run that is shown; drawn soon, not at once."""
        if self.is_attached:
            self._drawing.set(self._drawn_at + _DRAW_EVERY_S - time.monotonic())

    def _traces(self, measure: Measure, tones: dict[str, str]) -> Iterable[Trace]:
        several = len(self._runs) > 1
        for (name, history), places in zip(self._runs, self._places, strict=True):
            tone, label = tones[name], clean_line(name)
            own = measure.id == "tokens_per_s" and not several
            yield Trace("all" if own else label, tone, history.curves[measure.id], places)
            if own:
                yield Trace("trained", next_tone(tone), history.curves["trained_tokens_per_s"], places)
            if measure.id == "loss":
                mark = tone if several else _EVALUATION
                yield Trace("evaluation", mark, history.curves["eval_loss"], places, marks=True)

    @property
    def all_drawn(self) -> bool:
        """Nothing that was told or done is still to be drawn."""
        return not self._groups and not self._drawing.is_set

    def _draw(self) -> None:
        """Draw everything anew, what the keys mean first."""
        self._drawn_at = time.monotonic()
        before, self.view.domain = self.view.domain, self._domain()
        if self.view.window is not None and self.view.window[1] >= before[1]:
            self._show_window(*(edge + self.view.domain[1] - before[1] for edge in self.view.window))
        for place, chart in enumerate(self.charts):
            chart.active = place == self._current and (self.has_focus or not self._all_shown)
            chart.words = self._words(chart)
        self.line.show(self._line_words())
        first = next(group for group in _GROUPS if self._current in group)
        waiting = [group for group in self._groups if group != first]
        # Those that wait go before those that were just drawn: a key that repeats must not starve the last ones.
        self._groups = [first, *waiting, *(each for each in _GROUPS if each != first and each not in waiting)]
        self._draw_group()

    def _draw_group(self) -> None:
        if not self._groups:  # drawn meanwhile, between a ring and this
            return
        for place in self._groups.pop(0):
            self.charts[place].redraw()
        if self._groups:
            self._next_group.set(_NEXT_GROUP_S)

    def _words(self, chart: Chart) -> str:
        """What to say where there is nothing to draw."""
        if not self._runs:
            return "No run is chosen."
        if not len(self._runs[0][1].curves["loss"]):
            return "No step has been told yet." if chart is self.charts[0] else ""
        return "None of this was told." if self.view.window is None else "Nothing here: 0 shows everything."

    def _line_words(self) -> str:
        view = self.view
        words = [f"by {'steps' if view.axis == 'step' else view.axis}"]
        if view.window is not None:
            written = span_of_time if view.axis == "time" else short
            words.append(f"{written(round(view.window[0]))} to {written(round(view.window[1]))}")
        measure = self.charts[self._current].measure
        if measure.smooth:
            words.append(f"smoothing {view.weight:g}" if view.weight else "not smoothed")
        traces = self.charts[self._current].traces
        if traces and 0 < np.isnan(traces[0].points.mean).sum() < len(traces[0].points.mean):
            words.append(f"{MISSING} no finite number")
        if not self._all_shown:
            words.append(f"chart {self._current + 1} of {len(self.charts)}")
        return " · ".join(words)

    def _domain(self) -> tuple[float, float]:
        """Where any of the runs has steps."""
        places = [each.of_steps(self.view.axis) for each in self._places]
        places = [each for each in places if len(each)]
        if not places:
            return 0.0, 1.0
        left, right = min(float(each[0]) for each in places), max(float(each[-1]) for each in places)
        if left <= right * _FROM_ZERO or left == right:
            left = 0.0
        return left, max(right, left + 1)

    # How they are arranged

    @property
    def _all_shown(self) -> bool:
        return not self._large and (self.has_class("-below") or self.has_class("-beside"))

    def on_resize(self) -> None:
        self._arrange()

    def watch_has_focus(self, has_focus: bool) -> None:
        super().watch_has_focus(has_focus)
        self._draw()

    def _arrange(self) -> None:
        width, height = self.size
        below = width >= _BELOW[0] and height >= _BELOW[1]
        self.set_class(below and not self._large, "-below")
        self.set_class(not below and not self._large and width >= _BESIDE[0] and height >= _BESIDE[1], "-beside")
        for place, chart in enumerate(self.charts):
            chart.display = self._all_shown or place == self._current
        self._draw()

    # What the person does

    def action_step_chart(self, step: int) -> None:
        self._current = (self._current + step) % len(self.charts)
        self._arrange()

    def action_toggle_large(self) -> None:
        self._large = not self._large
        self._arrange()

    def action_toggle_log(self) -> None:
        chart = self.charts[self._current]
        chart.logarithmic = not chart.logarithmic
        self._draw()

    def action_step_smoothing(self, step: int) -> None:
        place = WEIGHTS.index(self.view.weight) + step
        self.view.weight = WEIGHTS[min(max(0, place), len(WEIGHTS) - 1)]
        self._draw()

    def action_next_axis(self) -> None:
        """Cursor and window stay at the steps where they are."""
        view = self.view
        before = view.axis
        view.axis = AXES[(AXES.index(before) + 1) % len(AXES)]
        if self._places:
            old, new = (self._places[0].of_steps(axis) for axis in (before, view.axis))
            if len(old) > 1:
                if view.cursor is not None:
                    view.cursor = float(np.interp(view.cursor, old, new))
                if view.window is not None:
                    left, right = np.interp(view.window, old, new).tolist()
                    view.window = (left, right) if right > left else None
        view.domain = self._domain()
        self._draw()

    def action_show_everything(self) -> None:
        self.view.window = self.view.cursor = None
        self._draw()

    def action_zoom(self, direction: int) -> None:
        left, right = self.view.shown
        cursor = self.view.cursor
        self._zoom(direction, right if cursor is None else min(max(cursor, left), right))

    def _zoom(self, direction: int, around: float) -> None:
        """Half or twice as much, with the same place under a column of the plot."""
        left, right = self.view.shown
        share = 0.5**direction
        self._show_window(around - (around - left) * share, around + (right - around) * share)
        self._draw()

    def action_pan(self, direction: int) -> None:
        if self.view.window is not None:
            left, right = self.view.window
            self._show_window(left + direction * _PAN * (right - left), right + direction * _PAN * (right - left))
            self._draw()

    def _show_window(self, left: float, right: float) -> None:
        """Show this much, moved to where there is something; everything where it is as much as that."""
        first, last = self.view.domain
        span = max(right - left, self._least_span())
        if span >= last - first:
            self.view.window = None
            return
        left = min(max(left, first), last - span)
        self.view.window = (left, left + span)

    def _least_span(self) -> float:
        """About four points."""
        first, last = self.view.domain
        points = max((len(each.of_steps(self.view.axis)) for each in self._places), default=0)
        return 4 * (last - first) / max(points, 4)

    def action_move_cursor(self, direction: int) -> None:
        """To the next point that lies in another column; behind the last one there is no cursor."""
        view = self.view
        places = self._places[0].of_steps(view.axis) if self._places else np.empty(0)
        if not len(places):
            return
        left, right = view.shown
        column = (right - left) / max(1, self.charts[self._current].plot_width)
        if view.cursor is None:
            if direction > 0:
                return
            place = int(np.searchsorted(places, right, "right")) - 1
        else:
            wanted = view.cursor + direction * column
            place = int(np.searchsorted(places, wanted, "left" if direction > 0 else "right")) - (direction < 0)
        if place >= len(places):
            view.cursor = None
        else:
            view.cursor = float(places[max(0, place)])
            if view.window is not None and not left <= view.cursor <= right:
                moved = view.cursor - (left if view.cursor < left else right)
                self._show_window(left + moved, right + moved)
        self._draw()

    @on(Chart.Pointed)
    def _pointed(self, event: Chart.Pointed) -> None:
        event.stop()
        if event.turned:
            self._zoom(event.turned, event.x)
            return
        self._current = self.charts.index(event.chart)
        places = self._places[0].of_steps(self.view.axis) if self._places else np.empty(0)
        if len(places):
            self.view.cursor = float(places[np.argmin(np.abs(places - event.x))])
        self._arrange()
