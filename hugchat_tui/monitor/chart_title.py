"""A chart's first row: what it shows, and what it says at the cursor or at the end."""

from __future__ import annotations

import math
from collections.abc import Sequence

from rich.cells import cell_len

from hugchat_tui.common.format import grouped, shorten_middle
from hugchat_tui.common.tones import ACCENT, FAINT, MUTED, STRONG
from hugchat_tui.monitor.axes import number, span_of_time
from hugchat_tui.monitor.traces import ChartView, Measure, Reading, Trace

Span = tuple[str, str]
"""A piece of text and its tone."""

_LABEL_CELLS = 24


def title_row(
    traces: Sequence[Trace],
    measure: Measure,
    view: ChartView,
    width: int,
    *,
    log: bool,
    active: bool,
    top: float | None = None,
) -> list[Span]:
    """active: the keys mean this chart. top: of its axis, which decides on the unit of both.

    Values that do not fit are left out, the last ones first.
    """
    readings = [
        (trace, trace.reading(view.axis, view.cursor, view.weight if measure.smooth else 0)) for trace in traces
    ]
    if top is None:
        values = (abs(each.value) for _, each in readings if each is not None and not math.isnan(each.value))
        top = max(values, default=0.0)
    unit = measure.unit_of(top)
    row: list[Span] = [("▌" if active else " ", ACCENT), (measure.title, STRONG if active else MUTED)]
    if unit:
        row.append((f" {unit}", FAINT))
    if log:
        row.append((" log", FAINT))
    room = width - sum(cell_len(text) for text, _ in row)
    several = sum(not trace.marks for trace in traces) > 1
    told = [(trace, each) for trace, each in readings if each is not None and not (several and trace.marks)]
    where = [_where(view, told[0][1])] if active and view.cursor is not None and told else []
    for long in (True, False):
        parts = [*where, *(_words(trace, each, measure, top, several=several, long=long) for trace, each in told)]
        if _cells(parts) <= room:
            break
    for part in parts:
        room -= _cells([part])
        if room < 0:
            break
        row += part
    return row


def _cells(parts: Sequence[Sequence[Span]]) -> int:
    return sum(cell_len(text) for part in parts for text, _ in part)


def _where(view: ChartView, reading: Reading) -> list[Span]:
    """The step under the cursor, and its place on another axis."""
    step = grouped(int(reading.step))
    if reading.steps > 1:
        step += f"–{grouped(int(reading.step + reading.steps - 1))}"
    other = {"step": "", "tokens": f" · {number(reading.x)} tokens", "time": f" · {span_of_time(round(reading.x))}"}
    return [(f"  step {step}{other[view.axis]}", "")]


def _words(trace: Trace, reading: Reading, measure: Measure, top: float, *, several: bool, long: bool) -> list[Span]:
    """long: with names, and with what is behind the smoothed value."""
    scale = measure.scale_of(top)

    def written(value: float) -> str:
        return "none" if math.isnan(value) else number(value / scale)

    if trace.marks:
        name = f"{trace.label} " if long else ""
        return [(f"  ◆ {name}{written(reading.value)}", trace.tone), (f" at {grouped(int(reading.step))}", FAINT)]
    smoothed = not math.isnan(reading.smoothed)
    value = written(reading.smoothed if smoothed else reading.value)
    if several:
        name = f"{shorten_middle(trace.label, _LABEL_CELLS)} " if long else ""
        return [("  ━ ", trace.tone), (name, MUTED), (value, trace.tone)]
    words = [(f"  {value}", f"bold {trace.tone}")]
    return [*words, (f" raw {written(reading.value)}", FAINT)] if smoothed and long else words
