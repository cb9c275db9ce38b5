"""One chart as rows of coloured text. No widgets here."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from rich.cells import cell_len

from hugchat_tui.common.format import shorten
from hugchat_tui.common.tones import BAD, FAINT, MUTED
from hugchat_tui.monitor.axes import log_ticks, number, round_step, short, span_of_time, ticks, time_step
from hugchat_tui.monitor.chart_title import Span, title_row
from hugchat_tui.monitor.curves import Array
from hugchat_tui.monitor.plot import BRAILLE, DOTS_ACROSS, DOTS_DOWN, Cells, raster
from hugchat_tui.monitor.traces import ChartView, Measure, Trace, logarithm

GRID = "grid"
"""A tone of charts alone, as those of `behind` are: the widget knows their colours."""

MARK = "◆"
MISSING = "×"
_LABEL_CELLS = 9  # of the numbers at the left, "1.6165e-4": charts that stand one over the other are in line
_LEAST_WIDTH, _LEAST_HEIGHT = 24, 4
_AXIS_HEIGHT = 6  # from which there is room for the numbers below
_MARGIN = 0.04  # of the height, above and below the curves


def behind(tone: str) -> str:
    """The tone of values behind their smoothed line."""
    return f"behind {tone}"


class Picture(NamedTuple):
    """rows: of spans. left, width: the columns of the plot, to know what a click means; 0 wide where there is none."""

    rows: list[list[Span]]
    left: int = 0
    width: int = 0


class _Layer(NamedTuple):
    """What is drawn in one tone: columns of dots, or single places (x, y)."""

    tone: str
    found: Array
    marks: bool = False


def draw(
    traces: Sequence[Trace],
    measure: Measure,
    view: ChartView,
    width: int,
    height: int,
    *,
    log: bool = False,
    active: bool = False,
    words: str = "",
) -> Picture:
    """The first trace lies on top. words: said where there is nothing to draw."""
    if width < _LEAST_WIDTH or height < _LEAST_HEIGHT:
        return Picture([[(shorten(measure.title, width), MUTED)]])
    across = width - _LABEL_CELLS - 1
    layers = _layers(traces, measure, view, across * DOTS_ACROSS, log=log)
    reach = _reach(layers)
    top = None if reach is None or log else reach[1]
    title = title_row(traces, measure, view, width, log=log, active=active, top=top)
    if reach is None:
        return Picture([title, *_said(words, width, height - 1)])
    down = height - (3 if height >= _AXIS_HEIGHT else 2)
    canvas = _Canvas(width, height - 1)
    _draw_axes(canvas, measure, view, reach, across, down, log=log)
    _draw_layers(canvas, layers, view, reach, across, down)
    _draw_missing(canvas, traces[0], view, across, down)
    _draw_cursor(canvas, view, across, down)
    return Picture([title, *canvas.rows()], _LABEL_CELLS + 1, across)


def _layers(traces: Sequence[Trace], measure: Measure, view: ChartView, count: int, *, log: bool) -> list[_Layer]:
    """From the one that lies at the back to the one in front."""
    left, right = view.shown
    values, lines, marks = [], [], []
    for trace in reversed(traces):
        if trace.marks:
            x, y = trace.x(view.axis), logarithm(trace.points.mean) if log else trace.points.mean
            seen = (x >= left) & (x <= right) & np.isfinite(y)
            marks.append(_Layer(trace.tone, np.stack((x[seen], y[seen])), marks=True))
            continue
        smooth = measure.smooth and view.weight > 0
        found = trace.columns(view.axis, left, right, count, log=log)
        values.append(_Layer(behind(trace.tone) if smooth else trace.tone, found))
        if smooth:
            found = trace.columns(view.axis, left, right, count, log=log, weight=view.weight)
            lines.append(_Layer(trace.tone, found))
    return [*values, *lines, *marks]


def _reach(layers: Sequence[_Layer]) -> tuple[float, float] | None:
    """(bottom, top) of what is drawn, with some room around; None without anything."""
    parts = [each.found[1:].ravel() if each.marks else each.found.ravel() for each in layers]
    values = np.concatenate([np.empty(0), *parts])
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = float(values.min()), float(values.max())
    margin = (high - low) * _MARGIN or abs(high) * 0.1 or 1.0
    bottom, top = low - margin, high + margin
    if not (math.isfinite(top - bottom) and top > bottom):  # as far as numbers go
        return None
    return bottom, top


def _said(words: str, width: int, height: int) -> list[list[Span]]:
    """Words in the middle."""
    text = shorten(words, width - 4)
    line: list[Span] = [(" " * ((width - cell_len(text)) // 2) + text, MUTED)]
    return [line if row == (height - 1) // 2 else [] for row in range(height)]


# The parts of a picture


class _Canvas:
    """Characters, each with a tone."""

    def __init__(self, width: int, height: int) -> None:
        self.characters: npt.NDArray[np.uint32] = np.full((height, width), ord(" "), np.uint32)
        self._tones: npt.NDArray[np.uint8] = np.zeros((height, width), np.uint8)
        self._names = [""]

    def write(self, row: int, column: int, text: str, tone: str) -> None:
        """Text of characters that are one cell wide."""
        self.characters[row, column : column + len(text)] = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        self._tones[row, column : column + len(text)] = self._tone(tone)

    def draw(self, cells: Cells, column: int, tone: str) -> None:
        """Put dots over what is there."""
        area = np.s_[: cells.shape[0], column : column + cells.shape[1]]
        drawn = cells > 0
        self.characters[area][drawn] = cells[drawn].astype(np.uint32) + BRAILLE
        self._tones[area][drawn] = self._tone(tone)

    def rows(self) -> list[list[Span]]:
        rows: list[list[Span]] = []
        for characters, tones in zip(self.characters, self._tones, strict=True):
            text = characters.tobytes().decode("utf-32-le")
            edges = [0, *(np.flatnonzero(np.diff(tones)) + 1).tolist(), len(text)]
            rows.append([(text[a:b], self._names[tones[a]]) for a, b in pairwise(edges)])
        return rows

    def _tone(self, name: str) -> int:
        if name not in self._names:
            self._names.append(name)
        return self._names.index(name)


def _draw_axes(
    canvas: _Canvas,
    measure: Measure,
    view: ChartView,
    reach: tuple[float, float],
    across: int,
    down: int,
    *,
    log: bool,
) -> None:
    edge = _LABEL_CELLS
    for row in range(down):
        canvas.write(row, edge, "│", GRID)
    canvas.write(down, edge, "╰" + "─" * across, GRID)
    for value, text in _heights(measure, reach, max(2, down // 3 + (down < 12)), log=log):
        row = _row_of(value, reach, down)
        canvas.write(row, edge, "┤" + "┈" * across, GRID)
        label = text if len(text) <= edge else short(value)[:edge]
        canvas.write(row, 0, label.rjust(edge), FAINT)
    left, right = view.shown
    free = 0
    step, text_of = _steps_of_axis(view, across)
    for value in ticks(left, right, step):
        column = edge + 1 + round((value - left) / (right - left) * (across - 1))
        canvas.write(down, column, "┬", GRID)
        text = text_of(value, step)
        begin = min(max(0, column - len(text) // 2), edge + 1 + across - len(text))
        if down + 1 < canvas.characters.shape[0] and begin >= free:
            canvas.write(down + 1, begin, text, FAINT)
            free = begin + len(text) + 2


def _heights(measure: Measure, reach: tuple[float, float], most: int, *, log: bool) -> list[tuple[float, str]]:
    """(where on the axis, its label) of round numbers."""
    bottom, top = reach
    if log:
        found = log_ticks(10 ** max(bottom, -300), 10 ** min(top, 300), most)
        labels = [short(tick) for tick in found]
        if len(set(labels)) < len(found):  # so near to each other that they are told as on a linear axis
            step = min(after - before for before, after in pairwise(found))
            labels = [number(tick, step) for tick in found]
        return [(math.log10(tick), label) for tick, label in zip(found, labels, strict=True)]
    unit = measure.scale_of(top)
    step = round_step((top - bottom) / unit, most)
    found = ticks(bottom / unit, top / unit, step)
    if len(found) < 2:
        step = round_step((top - bottom) / unit, 2 * most)
        found = ticks(bottom / unit, top / unit, step)
    return [(tick * unit, number(tick, step)) for tick in found]


def _steps_of_axis(view: ChartView, across: int) -> tuple[float, Callable[[float, float], str]]:
    left, right = view.shown
    most = max(2, across // 12)
    if view.axis == "time":
        return time_step(right - left, most), lambda value, _: span_of_time(value)
    return max(1.0, round_step(right - left, most)), number


def _draw_layers(
    canvas: _Canvas, layers: Sequence[_Layer], view: ChartView, reach: tuple[float, float], across: int, down: int
) -> None:
    left, right = view.shown
    for layer in layers:
        if not layer.marks:
            canvas.draw(raster(layer.found, *reach, down), _LABEL_CELLS + 1, layer.tone)
            continue
        for x, y in layer.found.T[np.isfinite(layer.found[1])].tolist():
            column = min(across - 1, int((x - left) / (right - left) * across))
            canvas.write(_row_of(y, reach, down), _LABEL_CELLS + 1 + column, MARK, layer.tone)


def _draw_missing(canvas: _Canvas, trace: Trace, view: ChartView, across: int, down: int) -> None:
    """A sign at the bottom where a value is no finite number: a gap of one step cannot be seen among thousands."""
    left, right = view.shown
    x = trace.x(view.axis)[np.isnan(trace.points.mean)]
    x = x[(x >= left) & (x <= right)]
    for column in np.unique(np.minimum(across - 1, ((x - left) / (right - left) * across).astype(int))).tolist():
        canvas.write(down - 1, _LABEL_CELLS + 1 + column, MISSING, BAD)


def _draw_cursor(canvas: _Canvas, view: ChartView, across: int, down: int) -> None:
    left, right = view.shown
    if view.cursor is None or not left <= view.cursor <= right:
        return
    column = _LABEL_CELLS + 1 + min(across - 1, int((view.cursor - left) / (right - left) * across))
    for row in range(down):
        if canvas.characters[row, column] < BRAILLE and chr(canvas.characters[row, column]) not in (MARK, MISSING):
            canvas.write(row, column, "│", MUTED)
    canvas.write(down, column, "┴", MUTED)


def _row_of(y: float, reach: tuple[float, float], down: int) -> int:
    """The row of characters that a height lies in, as `raster` has it."""
    bottom, top = reach
    return min(down - 1, max(0, round((top - y) / (top - bottom) * (down * DOTS_DOWN - 1)) // DOTS_DOWN))
