"""TensorBoard's smoothing: an exponential average without the bias of its beginning; what is not finite is skipped."""

from __future__ import annotations

import math
from itertools import pairwise

import numpy as np

from hugchat_tui.monitor.curves import Array

_NOTHING = 1e-17  # what is less than that is lost beside 1


class Smoother:
    """Smooths values that come one after the other, as many at a time as there are.

    weight: of all that was before, 0 to less than 1, at each step.
    """

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._average = 0.0  # with the bias
        self._steps = 0.0

    def add(self, values: Array, sizes: Array) -> Array:
        """The running average behind each value; NaN where the value is.

        sizes: steps that a value stands for. It weighs as much as if it had come so many times: the line stays where
        it is when points are merged.
        """
        finite = np.isfinite(values)
        known, steps = (values, sizes) if finite.all() else (values[finite], sizes[finite])
        if not len(known):
            return np.full(len(values), np.nan)
        averages = np.empty(len(known))
        for start, end in pairwise([0, *(np.flatnonzero(np.diff(steps)) + 1).tolist(), len(known)]):
            averages[start:end] = _decayed(known[start:end], self._weight ** float(steps[start]), self._average)
            self._average = float(averages[end - 1])
        passed = self._steps + np.cumsum(steps)
        self._steps = float(passed[-1])
        if self._weight > 0:
            biased = int(np.searchsorted(passed, math.log(_NOTHING) / math.log(self._weight)))
            averages[:biased] /= 1 - self._weight ** passed[:biased]
        if len(known) == len(values):
            return averages
        smoothed = np.full(len(values), np.nan)
        smoothed[finite] = averages
        return smoothed


def _decayed(values: Array, weight: float, before: float) -> Array:
    """y[i] = weight * y[i - 1] + (1 - weight) * values[i], from y[-1] = before.

    After each pass an average reaches twice as far back as after the one before.
    """
    averages: Array = (1 - weight) * values
    averages[0] += weight * before
    reach, share = 1, weight
    while reach < len(averages) and share > _NOTHING:
        averages[reach:] += share * averages[:-reach]
        reach, share = 2 * reach, share * share
    return averages
