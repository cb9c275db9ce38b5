"""The curves of runs as charts draw them: where their points lie on an axis, and smoothed. No Textual here."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np

from hugchat_tui.monitor.curves import Array, Curve, Points
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.plot import columns
from hugchat_tui.monitor.smoothing import Smoother

Axis = Literal["step", "tokens", "time"]
AXES: tuple[Axis, ...] = ("step", "tokens", "time")


GIB, MIB = 1 << 30, 1 << 20


@dataclass(frozen=True, slots=True)
class Measure:
    """What a chart is about. unit: of its numbers; "bytes" for the unit that suits them. smooth: whether that helps."""

    id: str
    title: str
    unit: str = ""
    smooth: bool = True

    def scale_of(self, value: float) -> float:
        """What numbers of this size are divided by before they are written."""
        return 1.0 if self.unit != "bytes" else GIB if value >= GIB else MIB

    def unit_of(self, value: float) -> str:
        return self.unit if self.unit != "bytes" else "GiB" if value >= GIB else "MiB"


@dataclass(slots=True)
class ChartView:
    """What the charts of a screen have in common.

    domain: where there is anything on the axis. window: the part that is shown, all of it for None. cursor: a place on
    the axis. weight: of the smoothing.
    """

    axis: Axis = "step"
    domain: tuple[float, float] = (0.0, 1.0)
    window: tuple[float, float] | None = None
    cursor: float | None = None
    weight: float = 0.6

    @property
    def shown(self) -> tuple[float, float]:
        return self.window or self.domain


class RunPlaces:
    """Where the steps of a run lie on each axis: their number, tokens so far, or seconds since the run began."""

    def __init__(self, history: RunHistory) -> None:
        self._steps = history.curves["loss"]
        self._known: dict[Axis, tuple[int, Array]] = {}

    def of_steps(self, axis: Axis) -> Array:
        """One for each point of the curves that steps have; ascending."""
        version = self._steps.version
        known = self._known.get(axis)
        if known is None or known[0] != version:
            known = version, _places(self._steps.points, axis)
            self._known[axis] = known
        return known[1]

    def at(self, steps: Array, axis: Axis) -> Array:
        """Where these steps lie."""
        known = self._steps.points.step
        if axis == "step" or not len(known):
            return steps
        return np.interp(steps, known, self.of_steps(axis))


def _places(points: Points, axis: Axis) -> Array:
    if axis == "step":
        return points.step
    if axis == "tokens":
        return np.maximum.accumulate(np.nan_to_num(points.tokens))
    # A clock that was set back did not make the run shorter.
    passed = np.nan_to_num(np.diff(points.time, prepend=points.time[:1]))
    return np.cumsum(np.maximum(passed, 0.0))


class Reading(NamedTuple):
    """What a trace says at one place. step: where the point begins; steps: how many it stands for."""

    x: float
    step: float
    steps: float
    value: float
    smoothed: float


def logarithm(values: Array) -> Array:
    """What is not above 0 has none."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.where(values > 0, np.log10(values), np.nan)


class Trace:
    """One curve of one run.

    label: the run's name, clean. tone: its colour. marks: single points, as evaluations are, not a line. weight: of
    the smoothing; 0: none is drawn.
    """

    def __init__(self, label: str, tone: str, curve: Curve, places: RunPlaces, *, marks: bool = False) -> None:
        self.label = label
        self.tone = tone
        self.curve = curve
        self.marks = marks
        self._places = places
        self._smoothed_as = -1, 0.0
        self._smoother = Smoother(0)
        self._smoothed: Array = np.empty(0)
        self._columns: dict[bool, tuple[tuple[object, ...], Array]] = {}

    @property
    def points(self) -> Points:
        return self.curve.points

    def x(self, axis: Axis) -> Array:
        return self._places.at(self.points.step, axis) if self.marks else self._places.of_steps(axis)

    def smoothed(self, weight: float) -> Array:
        """Each point's running average. Points that were added since the last time are smoothed alone."""
        points, version = self.points, (self.curve.rewritten, weight)
        if self._smoothed_as != version:
            self._smoothed_as = version
            self._smoother, self._smoothed = Smoother(weight), np.empty(0)
        done = len(self._smoothed)
        if done < len(points.mean):
            added = self._smoother.add(points.mean[done:], points.size[done:])
            self._smoothed = np.concatenate((self._smoothed, added))
        return self._smoothed

    def columns(
        self, axis: Axis, left: float, right: float, count: int, *, log: bool, weight: float | None = None
    ) -> Array:
        """As `plot.columns` has them: of the values, or of their running average. Kept for as long as they hold."""
        key = (self.curve.version, axis, left, right, count, log, weight)
        known = self._columns.get(weight is None)
        if known is None or known[0] != key:
            if weight is None:
                middle, low, high = self.points[-3:]
                if log:
                    middle, low, high = map(logarithm, (middle, low, high))
                    low = np.fmin(low, middle)  # a point whose mean alone is above 0
                found = columns(self.x(axis), middle, (low, high), left, right, count)
            else:
                line = self.smoothed(weight)
                found = columns(self.x(axis), logarithm(line) if log else line, None, left, right, count)
            known = self._columns[weight is None] = key, found
        return known[1]

    def reading(self, axis: Axis, x: float | None, weight: float) -> Reading | None:
        """At the point nearest to x, or the newest one before it for marks; the newest of all for None."""
        places, points = self.x(axis), self.points
        finite = np.flatnonzero(np.isfinite(points.mean)) if self.marks or x is None else np.arange(len(places))
        if not len(finite):
            return None
        if x is None:
            place = finite[-1]
        else:
            behind = int(np.searchsorted(places[finite], x, "right" if self.marks else "left"))
            if self.marks:
                if not behind:
                    return None
                place = finite[behind - 1]
            else:
                near = [each for each in (behind - 1, behind) if 0 <= each < len(places)]
                place = min(near, key=lambda each: abs(places[each] - x))
        smoothed = self.smoothed(weight)[place] if weight else np.nan
        values = places[place], points.step[place], points.size[place], points.mean[place], smoothed
        return Reading(*map(float, values))
