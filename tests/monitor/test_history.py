"""What is known of a run from its events, however they come."""

from __future__ import annotations

import json
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hugchat_tui.monitor import curves
from hugchat_tui.monitor.batches import Batch, decode
from hugchat_tui.monitor.curves import MOST_POINTS, Points, Table
from hugchat_tui.monitor.history import RunHistory, Sample
from sft.json_lines import Record, read_record
from tests.monitor.records import evaluation, lines, record, step


def history_of(data: bytes) -> RunHistory:
    history = RunHistory()
    history.apply_batch(decode(data, len(data)))
    return history


def losses(history: RunHistory) -> list[tuple[int, float]]:
    points = history.curves["loss"].points
    return [(int(at), float(value)) for at, value in zip(points.step, points.mean, strict=True)]


# What is taken from the records


def test_every_field_of_a_step_has_its_curve() -> None:
    history = RunHistory()
    history.apply([step(3, loss=2.5, grad_norm=0.5, learning_rate=3e-4, tokens=77, memory_bytes=123)])
    found = {name: curve.points for name, curve in history.curves.items()}
    values = {name: points.mean.tolist() for name, points in found.items()}
    assert values == {
        "loss": [2.5],
        "learning_rate": [3e-4],
        "grad_norm": [0.5],
        "tokens_per_s": [900.0],
        "trained_tokens_per_s": [500.0],
        "memory_bytes": [123.0],
        "eval_loss": [],
    }
    assert [float(places[0]) for places in found["loss"][:3]] == [3, 77, 1_790_000_003.0]  # step, tokens, time
    assert history.step is not None and history.step["epoch"] == 0.03


def test_the_newest_record_of_each_type_is_kept_and_an_end_only_until_the_run_goes_on() -> None:
    history = RunHistory()
    history.apply([record("run", name="a", version=1), record("phase", name="loading"), step(1), evaluation(1, 3.0)])
    history.apply([record("end", how="stopped", step=1)])
    assert history.end is not None and history.end["how"] == "stopped"
    history.apply([record("run", name="b", version=1)])
    assert history.end is None
    assert history.run is not None and history.run["name"] == "b"
    assert history.phase is not None and history.phase["name"] == "loading"
    assert history.evaluation is not None and history.evaluation["loss"] == 3.0


def test_a_start_leaves_the_last_step_and_the_alert_of_the_one_before_behind() -> None:
    history = RunHistory()
    history.apply([step(1), record("alert", kind="slow"), record("phase", name="evaluating")])
    assert history.step is not None and history.alert is not None
    history.apply([record("phase", name="starting")])
    assert history.step is None and history.alert is None and len(history.alerts) == 1
    history.apply([step(2)])
    assert history.step is not None and history.step["step"] == 2


def test_an_alert_is_recent_until_fifty_steps_came_behind_it_and_listed_for_good() -> None:
    history = RunHistory()
    history.apply([step(1), record("alert", kind="slow"), *(step(number) for number in range(2, 51))])
    assert history.alert is not None
    history.apply([step(51)])
    assert history.alert is None and len(history.alerts) == 1
    history.apply([record("alert", kind="flat"), step(52)])
    assert history.alert is not None and history.alert["kind"] == "flat"


def test_the_best_evaluation_is_the_lowest_that_still_stands() -> None:
    history = RunHistory()
    history.apply([step(10), evaluation(10, 3.0), step(20), evaluation(20, 1.0), step(30), evaluation(30, 2.0)])
    assert history.best == (20, 1.0)
    history.apply([step(11)])  # resumed from the checkpoint of step 10
    assert history.best == (10, 3.0)


def test_an_evaluation_without_a_number_is_none() -> None:
    history = RunHistory()
    history.apply([evaluation(10, None, nonfinite=["loss"])])
    assert history.best is None


def test_samples_lie_by_prompt_and_only_the_newest_are_kept() -> None:
    history = RunHistory()
    for number in range(60):
        history.apply([record("sample", step=number, index=1, prompt="Why?", answer=f"answer {number}")])
    assert list(history.samples) == [1]
    assert len(history.samples[1]) == 50
    assert history.samples[1][-1] == Sample(59, "Why?", "answer 59")
    history.apply([record("sample", step=40, index=1, prompt="Why?", answer="again")])
    assert [sample.step for sample in history.samples[1]][-2:] == [39, 40]


def test_a_phase_is_an_event_when_it_begins_and_a_heartbeat_never() -> None:
    history = RunHistory()
    history.apply([record("phase", name="reading", done=done, total=3) for done in range(3)])
    history.apply([record("heartbeat", step=1), record("phase", name="training")])
    assert [each["name"] for each in history.notable] == ["reading", "training"]
    assert history.phase is not None and history.phase["name"] == "training"


def test_acknowledgements_are_found_by_the_id_of_their_command() -> None:
    history = RunHistory()
    history.apply([record("ack", id=str(number), command="save", words="done") for number in range(300)])
    assert "299" in history.acks and "100" in history.acks and "99" not in history.acks


# What can be wrong with them


def test_nan_is_a_gap() -> None:
    history = history_of(lines([step(1), step(2, loss=None, nonfinite=["loss"]), step(3)]))
    assert [value for _, value in losses(history)] == pytest.approx([2.0, math.nan, 2.0], nan_ok=True)
    assert history.torn == 0


def test_lines_that_are_no_records_are_counted_and_the_rest_is_read() -> None:
    data = lines([step(1)]) + b'{"type": "step", "ti\n' + b"\x00\xff\n\n[]\n" + lines([step(2)])
    history = history_of(data)
    assert losses(history) == [(1, 2.0), (2, 2.0)]
    assert history.torn == 3


@pytest.mark.parametrize("field", ["loss", "tokens", "memory_bytes", "tokens_per_s"])
@pytest.mark.parametrize("value", ["much", True, [], {}, 10**400])
def test_a_field_of_a_wrong_type_is_a_gap_in_its_own_curve_alone(field: str, value: Any) -> None:
    history = history_of(lines([step(1), step(2, **{field: value}), step(3)]))
    assert len(history.curves["loss"]) == 3
    assert history.torn == 0
    assert not math.isnan(history.curves["grad_norm"].points.mean[1])
    if field in history.curves:
        assert math.isnan(history.curves[field].points.mean[1])


@pytest.mark.parametrize("value", [None, "5", -1, 2**60, 10**400, 1.5, True])
def test_a_step_without_a_number_of_its_own_is_torn(value: Any) -> None:
    history = history_of(lines([step(1), step(2) | {"step": value}]))
    assert losses(history) == [(1, 2.0)]
    assert history.torn == 1


def test_huge_values_do_no_harm() -> None:
    history = RunHistory()
    many = [step(number, loss=1e308 * (-1) ** number, grad_norm=1e308) for number in range(1, MOST_POINTS + 2000)]
    history.apply(many)
    points = history.curves["grad_norm"].points
    assert points.mean.max() == pytest.approx(1e308)
    assert np.isfinite(history.curves["loss"].points.mean).all()


def test_a_newer_run_is_told_and_read_as_far_as_it_is_understood() -> None:
    data = lines([record("run", version=7), step(1, entropy=0.5), record("gpu", watts=300), step(2)])
    history = history_of(data)
    assert history.newer == 7
    assert len(history.curves["loss"]) == 2
    assert history.notable[-1]["watts"] == 300
    assert history.torn == 0


def test_two_writers_at_once_leave_one_ascending_curve() -> None:
    first, second = ([step(number, loss=loss) for number in range(1, 40)] for loss in (1.0, 2.0))
    mixed = [each for pair in zip(first, second, strict=True) for each in pair]
    history = history_of(lines(mixed))
    assert losses(history) == [(number, 2.0) for number in range(1, 40)]


def test_steps_done_again_replace_what_lies_behind_them() -> None:
    records = [step(number) for number in range(1, 11)] + [step(number, loss=1.0) for number in range(5, 8)]
    expected = [(number, 2.0) for number in range(1, 5)] + [(number, 1.0) for number in range(5, 8)]
    assert losses(history_of(lines(records))) == expected


def test_a_clock_that_jumps_changes_nothing_but_the_times() -> None:
    times = [100.0, 1e12, 5.0, -3.0, 101.0]
    history = history_of(lines([step(number, time=time) for number, time in enumerate(times)]))
    assert history.curves["loss"].points.time.tolist() == times
    assert (history.first_time, history.last_time) == (100.0, 101.0)


numbers = st.one_of(
    st.none(), st.floats(allow_nan=False), st.integers(-(10**320), 10**320), st.booleans(), st.text(max_size=3)
)
times = st.floats(-1e9, 1e10)
steps = st.builds(
    lambda number, time, fields: step(number) | {"time": time} | fields,
    st.integers(-1, 12),
    times,
    st.dictionaries(st.sampled_from(["loss", "tokens", "grad_norm", "step", "nonfinite", "odd"]), numbers, max_size=2),
)
others = st.builds(
    lambda type, time, fields: {"type": type, "time": time} | fields,
    st.sampled_from(["run", "phase", "eval", "sample", "checkpoint", "ack", "alert", "heartbeat", "end", "strange"]),
    times,
    st.fixed_dictionaries(
        {"step": st.integers(0, 12) | numbers, "loss": st.floats(0, 9) | numbers, "name": st.text(max_size=2)},
        optional={"version": numbers, "id": st.text(max_size=1), "index": st.integers(0, 2) | numbers}
        | {"prompt": st.text(max_size=2), "answer": st.text(max_size=2) | numbers, "how": numbers},
    ),
)
garbage = st.binary(max_size=12).map(lambda data: data.replace(b"\n", b" "))
written = st.lists(
    st.one_of(*[each.map(lambda found: json.dumps(found).encode()) for each in (steps, steps, others)], garbage),
    max_size=40,
)


def told(history: RunHistory) -> dict[str, Any]:
    """All that a history says, to compare."""
    fields = {name: value for name, value in vars(history).items() if not name.startswith("_") and name != "curves"}
    return fields | {
        name: [array.tolist() for array in curve.points] for name, curve in history.curves.items() if len(curve)
    }


@given(written, st.integers(1, 7))
@settings(deadline=None, max_examples=150)
def test_it_does_not_matter_how_the_lines_are_cut_into_batches(parts: list[bytes], size: int) -> None:
    data = b"".join(part + b"\n" for part in parts)
    whole, cut, single = history_of(data), RunHistory(), RunHistory()
    for place in range(0, len(parts), size):
        piece = b"".join(part + b"\n" for part in parts[place : place + size])
        cut.apply_batch(decode(piece, len(piece)))
    for part in parts:
        found = read_record(part)
        if found is None or not isinstance(found.get("type"), str):
            single.torn += bool(part.strip())
        else:
            single.apply([found])
    expected = told(single)
    for each in (whole, cut):
        np.testing.assert_equal(told(each), expected)
    at = whole.curves["loss"].points.step
    assert (np.diff(at) > 0).all()


# Bounded memory


@pytest.fixture
def small_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "_RECENT", 16)
    monkeypatch.setattr(curves, "_MERGED", 24)


def rows_of(values: list[float], first: int = 0) -> np.ndarray[Any, np.dtype[np.float64]]:
    places = np.arange(first, first + len(values), dtype=np.float64)
    return np.stack((places, places, places, np.array(values)))


@pytest.mark.usefixtures("small_tables")
@given(st.lists(st.tuples(st.integers(0, 40), st.integers(1, 90)), max_size=12))
@settings(deadline=None, max_examples=100)
def test_a_table_stays_small_and_ascending_whatever_is_done_again(parts: list[tuple[int, int]]) -> None:
    """parts: how many steps back the run begins again, and how many it does then."""
    table, end = Table(("loss",)), 0
    for back, count in parts:
        table.cut(end - back // 2)
        end = max(0, end - back)
        table.cut(end)
        assert not len(table) or table.points("loss").step[-1] < end
        table.add(rows_of([float(end + each) for each in range(count)], end))
        end += count
        points = table.points("loss")
        assert len(points.step) <= 40
        assert (np.diff(points.step) > 0).all()
        assert (points.low <= points.mean).all() and (points.mean <= points.high).all()
        assert points.step[-1] == points.mean[-1] == end - 1
    table.cut(-math.inf)
    assert len(table) == 0


@pytest.mark.usefixtures("small_tables")
@given(st.lists(st.floats(-1e6, 1e6) | st.just(math.nan), min_size=1, max_size=400))
@settings(deadline=None, max_examples=100)
def test_merged_points_keep_peaks_and_means(values: list[float]) -> None:
    table = Table(("loss",))
    table.add(rows_of(values))
    points = table.points("loss")
    assert points.size.sum() == len(values)
    known = np.array(values)[~np.isnan(values)]
    if not len(known):
        assert np.isnan(points.mean).all()
        return
    assert (np.nanmin(points.low), np.nanmax(points.high)) == (known.min(), known.max())
    if len(known) == len(values):
        assert (points.mean * points.size).sum() == pytest.approx(known.sum(), abs=1e-3)


def test_a_million_steps_take_no_more_room_than_a_hundred_thousand_and_lose_no_spike() -> None:
    history = RunHistory()
    total, part = 1_000_000, 10_000
    for first in range(0, total, part):
        rows = np.zeros((9, part))
        rows[0] = np.arange(first, first + part)
        rows[3] = 1.0
        if first == 300_000:
            rows[3, 77] = 99.0
        history.apply_batch(Batch(rows, None, []))
    points: Points = history.curves["loss"].points
    assert len(points.step) <= MOST_POINTS
    spike = int(np.argmax(points.high))
    assert points.high[spike] == 99.0
    assert points.step[spike] <= 300_077 < points.step[spike + 1]
    assert points.size.sum() == total
    assert points.size[-10_000:].tolist() == [1.0] * 10_000  # the newest ones are there one by one


def test_forgetting_leaves_nothing_behind() -> None:
    history = RunHistory()
    history.apply([record("run", version=9), step(1), evaluation(1, 2.0), record("alert", kind="slow")])
    history.clear()
    fresh: Record = told(RunHistory())
    assert told(history) == fresh
