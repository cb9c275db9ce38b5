"""A chart shows what the points say: spikes, gaps, round numbers, and the same values at the cursor."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hugchat_tui.common.tones import BAD
from hugchat_tui.monitor.axes import log_ticks, number, round_step, short, span_of_time, ticks, time_step
from hugchat_tui.monitor.curves import Array
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.picture import MARK, MISSING, Picture, behind, draw
from hugchat_tui.monitor.plot import columns, raster
from hugchat_tui.monitor.run_tones import TONES, run_tones
from hugchat_tui.monitor.traces import ChartView, Measure, RunPlaces, Trace
from tests.monitor.records import evaluation, step

LOSS = Measure("loss", "loss")


def array(*values: float) -> Array:
    return np.array(values, np.float64)


def spread(x: Array, y: Array, count: int, left: float = 0.0, right: float = 10.0) -> Array:
    return columns(x, y, (y, y), left, right, count)


# Many points in few columns


def test_a_spike_among_a_hundred_thousand_points_is_seen() -> None:
    y = np.ones(100_000)
    y[61_234] = 50.0
    found = spread(np.arange(100_000.0), y, 100, 0.0, 100_000.0)
    assert found[1].argmax() == 61
    assert found[1].max() == 50.0
    assert (found[0] == 1.0).all()


def test_few_points_are_joined_by_straight_lines() -> None:
    found = spread(array(0, 10), array(0, 10), 10)
    assert found[0] == pytest.approx(np.arange(10.0))
    assert found[1] == pytest.approx(np.arange(1.0, 11.0))


def test_a_line_is_interrupted_where_a_value_is_missing() -> None:
    found = spread(array(0, 2, 4, 6, 8, 9.9), array(1, 1, math.nan, 1, 1, 1), 10)
    drawn = np.isfinite(found[0])
    assert drawn.tolist() == [True, True, True, False, False, False, True, True, True, True]


def test_a_line_comes_from_outside_of_the_window_and_leads_there() -> None:
    found = spread(array(-10, 20), array(-10, 20), 10)
    assert np.isfinite(found).all()
    assert (found.min(), found.max()) == pytest.approx((0, 10))


@given(
    st.lists(st.tuples(st.floats(0.001, 3), st.floats(-50, 50) | st.just(math.nan)), max_size=80),
    st.floats(-5, 40),
    st.floats(0.1, 60),
    st.integers(1, 60),
)
@settings(deadline=None)
def test_every_point_lies_in_its_column(
    points: list[tuple[float, float]], left: float, span: float, count: int
) -> None:
    x = np.cumsum(array(*(gap for gap, _ in points)))
    y = array(*(value for _, value in points))
    right = left + span
    found = spread(x, y, count, left, right)
    for at, value in zip(x, y, strict=True):
        if left <= at < right and not math.isnan(value):
            near = found[:, max(0, int((at - left) / span * count) - 1) : int((at - left) / span * count) + 2]
            assert (near[0] <= value + 1e-9).any() and (near[1] >= value - 1e-9).any()
    known = y[~np.isnan(y)]
    drawn = found[np.isfinite(found)]
    if len(drawn):
        assert drawn.min() >= known.min() - 1e-6 and drawn.max() <= known.max() + 1e-6


@given(st.lists(st.floats(-50, 50), min_size=1, max_size=80), st.integers(1, 40))
@settings(deadline=None)
def test_a_smoothed_line_goes_through_the_means_of_its_columns(values: list[float], count: int) -> None:
    x, y = np.arange(len(values)) / len(values), array(*values)
    found = columns(x, y, None, 0.0, 1.0, count)
    for column in range(count):
        inside = y[np.digitize(x, np.linspace(0.0, 1.0, count + 1)) - 1 == column]
        if len(inside):
            assert found[0, column] - 1e-6 <= inside.mean() <= found[1, column] + 1e-6


def test_dots_fill_their_characters() -> None:
    found = np.array([[0.0, 0.0, math.nan, 7.0], [7.0, 0.0, math.nan, 7.0]])
    cells = raster(found, 0.0, 7.0, 2)
    assert [[chr(0x2800 + bits) for bits in row] for row in cells.tolist()] == [["⡇", "⠈"], ["⣇", "⠀"]]


# Round numbers


@pytest.mark.parametrize(
    ("span", "most", "step_size"), [(10, 5, 2), (1, 3, 0.5), (0.0007, 4, 2e-4), (123_456, 6, 50_000), (0, 4, 1)]
)
def test_steps_of_an_axis_are_one_two_or_five(span: float, most: int, step_size: float) -> None:
    assert round_step(span, most) == pytest.approx(step_size)


@given(st.floats(-1e6, 1e6), st.floats(1e-6, 1e12), st.integers(1, 12))
def test_ticks_are_few_and_inside(spans: float, span: float, most: int) -> None:
    low = spans * span
    found = ticks(low, low + span, round_step(span, most))
    assert len(found) <= most + 1
    assert all(low - span * 1e-6 <= tick <= low + span * (1 + 1e-6) for tick in found)


@given(st.floats(1e-12, 1e12), st.floats(1.001, 1e9), st.integers(2, 12))
def test_logarithmic_ticks_are_few_and_inside(low: float, times: float, most: int) -> None:
    found = log_ticks(low, low * times, most)
    assert len(found) <= most + 1
    assert all(low * 0.999 <= tick <= low * times * 1.001 for tick in found)


@pytest.mark.parametrize(
    ("value", "step_size", "text"),
    [
        (0, 1, "0"),
        (2, 0.5, "2.0"),
        (1200, 200, "1,200"),
        (20_000, 20_000, "20k"),
        (12_500, 500, "12.5k"),
        (2_500_000, 500_000, "2.5M"),
        (2e-4, 1e-4, "2e-4"),
        (1.5e-4, 5e-5, "1.5e-4"),
        (-3, 1, "-3"),
    ],
)
def test_numbers_on_an_axis(value: float, step_size: float, text: str) -> None:
    assert number(value, step_size) == text


def test_numbers_alone() -> None:
    assert [number(value) for value in (1.23456, 123.456, 0.5, 1e-5, 98_765)] == [
        "1.235",
        "123.5",
        "0.500",
        "1.0e-5",
        "98.77k",
    ]
    assert [short(value) for value in (0.5, 200, 20_000, 1e-5, 1.25)] == ["0.5", "200", "20k", "1e-5", "1.25"]


def test_times_on_an_axis_are_whole_minutes_hours_and_days() -> None:
    assert [time_step(span, 4) for span in (60, 3600, 40_000, 5 * 86_400)] == [15, 900, 10_800, 2 * 86_400]
    texts = [span_of_time(seconds) for seconds in (0, 45, 300, 90, 5400, 7200, 2 * 86_400, 93_600)]
    assert texts == ["0", "45 s", "5 min", "1 min 30", "1 h 30", "2 h", "2 d", "1 d 2 h"]


# The picture


def history_of(values: Sequence[float | None], evaluations: dict[int, float] | None = None) -> RunHistory:
    history = RunHistory()
    history.apply([step(place, loss=value) for place, value in enumerate(values)])
    history.apply([evaluation(at, loss) for at, loss in (evaluations or {}).items()])
    return history


def traces_of(history: RunHistory) -> list[Trace]:
    places = RunPlaces(history)
    return [
        Trace("run", "tone", history.curves["loss"], places),
        Trace("evaluation", "other", history.curves["eval_loss"], places, marks=True),
    ]


def picture_of(history: RunHistory, *, log: bool = False, width: int = 60, height: int = 12, **view: object) -> Picture:
    last = float(history.curves["loss"].points.step[-1]) if len(history.curves["loss"]) else 1.0
    shown = ChartView(domain=(0.0, last), **view)  # type: ignore[arg-type]
    return draw(traces_of(history), LOSS, shown, width, height, log=log, words="Nothing yet.")


def text_of(picture: Picture) -> list[str]:
    return ["".join(text for text, _ in row) for row in picture.rows]


def toned(picture: Picture, tone: str) -> str:
    """Everything in a tone that is no blank."""
    return "".join(text.strip() for row in picture.rows[1:] for text, each in row if each == tone)


def test_a_chart_has_axes_with_round_numbers() -> None:
    rows = text_of(picture_of(history_of([place / 100 for place in range(301)])))
    assert [row[:9].strip() for row in rows[1:10] if row[:9].strip()] == ["3", "2", "1", "0"]
    assert rows[-1].split() == ["0", "100", "200", "300"]
    assert all(len(row) <= 60 for row in rows)


def test_values_lie_faint_behind_their_smoothed_line_and_evaluations_on_top() -> None:
    noisy = history_of([2 + (-1) ** place for place in range(200)], {50: 2.5, 100: 1.5})
    picture = picture_of(noisy, weight=0.9)
    assert toned(picture, behind("tone"))
    assert toned(picture, "tone")
    assert toned(picture, "other") == MARK * 2
    rough = picture_of(noisy, weight=0.0)
    assert not toned(rough, behind("tone"))
    assert toned(rough, "tone")


def test_what_the_title_says_is_in_the_unit_of_the_axis() -> None:
    history = RunHistory()
    history.apply([step(place, memory_bytes=(1.25 - place / 20) * (1 << 30)) for place in range(11)])
    trace = Trace("run", "tone", history.curves["memory_bytes"], RunPlaces(history))
    picture = draw([trace], Measure("memory_bytes", "memory", "bytes", smooth=False), ChartView(domain=(0, 10)), 60, 12)
    title, *rows = text_of(picture)
    assert title.split() == ["memory", "GiB", "0.750"]
    assert [row[:9].strip() for row in rows if row[:9].strip()] == ["1.2", "1.0", "0.8"]


def test_words_stand_where_there_is_nothing_to_draw() -> None:
    assert "Nothing yet." in "".join(text_of(picture_of(history_of([]))))
    assert "Nothing yet." in "".join(text_of(picture_of(history_of([None, None]))))


def test_a_single_missing_value_among_thousands_is_marked() -> None:
    values: list[float | None] = [2.0] * 5000
    values[2500] = None
    picture = picture_of(history_of(values))
    assert toned(picture, BAD) == MISSING
    assert text_of(picture)[-3].index(MISSING) == 10 + (60 - 10) // 2


def test_a_single_point_is_drawn() -> None:
    assert toned(picture_of(history_of([None, 2.0])), "tone")


def test_labels_of_a_narrow_range_tell_their_lines_apart_and_are_whole() -> None:
    for values in ([2.8e-5, 3e-5], [1.6161e-4, 1.6171e-4]):
        for log in (False, True):
            rows = text_of(picture_of(history_of([*values]), log=log, height=20))
            labels = [row[:9].strip() for row in rows[1:] if "┤" in row]
            assert len(set(labels)) == len(labels) >= 2 and all("e-" in label[-3:] for label in labels), labels


def test_values_below_nought_are_left_out_of_a_logarithmic_chart() -> None:
    rows = text_of(picture_of(history_of([0.0, -1.0, *(10.0**place for place in range(5))]), log=True))
    labels = [row[:9].strip() for row in rows[1:10] if row[:9].strip()]
    assert {"1", "100", "10k"} <= set(labels)
    assert "log" in rows[0]


def test_the_cursor_tells_the_values_of_its_step() -> None:
    history = history_of([place / 100 for place in range(301)], {100: 1.25, 200: 2.25})
    title = text_of(draw(traces_of(history), LOSS, ChartView(domain=(0, 300), cursor=150.0), 90, 12, active=True))[0]
    assert "step 150" in title
    assert "raw 1.500" in title
    assert "evaluation 1.250 at 100" in title


def test_without_a_cursor_the_newest_values_are_told() -> None:
    title = text_of(picture_of(history_of([3.0, 2.0, 1.5], {1: 1.25})))[0]
    assert "raw 1.500" in title
    assert "evaluation 1.250 at 1" in title


def test_evaluations_lie_at_their_steps_on_every_axis() -> None:
    history = RunHistory()
    history.apply([step(place, tokens=place * place, time=1000.0 + 2 * place) for place in range(101)])
    history.apply([evaluation(50, 1.0, tokens=9, time=5.0)])
    mark = traces_of(history)[1]
    assert [mark.x(axis).tolist() for axis in ("step", "tokens", "time")] == [[50.0], [2500.0], [100.0]]


def test_a_clock_that_was_set_back_does_not_turn_the_line_around() -> None:
    history = RunHistory()
    history.apply([step(place, time=time) for place, time in enumerate([100.0, 110.0, 50.0, 60.0])])
    assert RunPlaces(history).of_steps("time").tolist() == [0.0, 10.0, 10.0, 20.0]


@given(
    st.lists(st.none() | st.floats(allow_nan=False), max_size=40),
    st.integers(1, 90),
    st.integers(1, 30),
    st.booleans(),
    st.sampled_from(["step", "tokens", "time"]),
)
@settings(deadline=None, max_examples=200)
def test_whatever_is_told_can_be_drawn(
    values: list[float | None], width: int, height: int, log: bool, axis: str
) -> None:
    picture = picture_of(history_of(values), log=log, width=width, height=height, axis=axis)
    assert len(picture.rows) <= height
    assert all(len(row) <= width for row in text_of(picture))


def test_points_that_are_added_are_smoothed_as_if_they_had_been_there() -> None:
    values = [math.sin(place / 5) for place in range(300)]
    grown = history_of(values[:200])
    trace = traces_of(grown)[0]
    trace.smoothed(0.9)
    grown.apply([step(place, loss=values[place]) for place in range(200, 300)])
    np.testing.assert_allclose(trace.smoothed(0.9), traces_of(history_of(values))[0].smoothed(0.9))
    grown.apply([step(100, loss=5.0)])
    assert len(trace.smoothed(0.9)) == 101


def test_runs_have_colours_of_their_own_by_their_names() -> None:
    names = [f"run-{number}" for number in range(len(TONES))]
    tones = run_tones(names)
    assert sorted(tones.values()) == sorted(TONES)
    assert run_tones(["run-3"])["run-3"] == run_tones(["run-3", "run-5"])["run-3"]
    assert len(run_tones([f"run-{number}" for number in range(20)])) == 20
