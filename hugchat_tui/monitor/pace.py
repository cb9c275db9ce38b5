"""How fast a run goes and how long it will take, from its own steps since it was started last."""

from __future__ import annotations

import math

import numpy as np

from hugchat_tui.monitor.batches import MOST_STEPS, finite
from hugchat_tui.monitor.history import RunHistory

_RECENT = 50  # steps that are looked at


def seconds_a_step(history: RunHistory) -> float:
    """The median of what recent steps took, with all that happened between them; NaN while that is not known.

    Steps before a resume were done by other processes, and a pause is no step.
    """
    if history.step is None:  # the curves are of earlier starts
        return math.nan
    points = history.curves["loss"].points
    begun = finite(history.run["time"]) if history.run is not None else -math.inf
    step, moment = points.step[-_RECENT:], points.time[-_RECENT:]
    of_this_start = moment >= begun
    step, moment = step[of_this_start], moment[of_this_start]
    if len(step) < 2:
        return math.nan
    taken = np.diff(moment) / np.maximum(1, np.diff(step))
    taken = taken[taken > 0]  # a clock that was set back
    return float(np.median(taken)) if len(taken) else math.nan


def left_s(history: RunHistory, step: int, total_steps: int) -> float | None:
    """Seconds until the last step at the recent pace, of evaluations and checkpoints only what fell in it."""
    pace = seconds_a_step(history)
    if math.isnan(pace) or not total_steps or step >= total_steps:
        return None
    left = pace * min(total_steps - step, MOST_STEPS)
    return left if math.isfinite(left) else None
