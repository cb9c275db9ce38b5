"""The smoothed line is TensorBoard's, however the values come."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hugchat_tui.monitor.smoothing import Smoother

weights = st.sampled_from([0.0, 0.3, 0.6, 0.9, 0.99, 0.999])
values = st.lists(st.floats(-100, 100) | st.sampled_from([math.nan, math.inf]), max_size=300)


def tensorboard(values: list[float], weight: float) -> list[float]:
    """As its own source has it: tensorboard/components/vz_line_chart2/line-chart.ts, resmoothDataset."""
    last, count, smoothed = 0.0, 0, []
    for value in values:
        if not math.isfinite(value):
            smoothed.append(math.nan)
            continue
        last = last * weight + (1 - weight) * value
        count += 1
        smoothed.append(last / (1 - weight**count if weight != 1 else 1))
    return smoothed


def smoothed(values: list[float], weight: float) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    array = np.array(values, np.float64)
    return Smoother(weight).add(array, np.ones(len(array)))


@given(values, weights)
@settings(deadline=None)
def test_it_is_tensorboards(values: list[float], weight: float) -> None:
    np.testing.assert_allclose(smoothed(values, weight), tensorboard(values, weight), rtol=1e-9, atol=1e-9)


@given(values, weights, st.integers(1, 40))
@settings(deadline=None)
def test_values_that_come_later_are_smoothed_as_if_they_had_come_at_once(
    values: list[float], weight: float, size: int
) -> None:
    smoother = Smoother(weight)
    parts = [np.array(values[at : at + size], np.float64) for at in range(0, len(values), size)]
    found = [smoother.add(part, np.ones(len(part))) for part in parts]
    np.testing.assert_allclose(np.concatenate([np.empty(0), *found]), smoothed(values, weight), rtol=1e-9, atol=1e-9)


@given(st.lists(st.tuples(st.floats(-100, 100), st.sampled_from([1, 2, 4, 16])), max_size=60), weights)
@settings(deadline=None)
def test_a_merged_point_weighs_as_much_as_its_steps(points: list[tuple[float, int]], weight: float) -> None:
    sizes = np.array([size for _, size in points], np.float64)
    merged = Smoother(weight).add(np.array([value for value, _ in points], np.float64), sizes)
    single = smoothed([value for value, size in points for _ in range(size)], weight)
    np.testing.assert_allclose(merged, single[np.cumsum(sizes).astype(int) - 1], rtol=1e-9, atol=1e-9)


def test_long_curves_are_smoothed_to_their_end() -> None:
    count = 131_072
    wave = np.sin(np.arange(count) / 1000)
    assert smoothed(wave.tolist(), 0.99)[-1] == pytest.approx(tensorboard(wave.tolist(), 0.99)[-1])
