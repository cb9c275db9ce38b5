"""All that is known of a run from its events, in bounded memory. No Textual here."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from hugchat_tui.monitor.batches import STEP_VALUES, Batch, batch_of, finite, usable_step
from hugchat_tui.monitor.curves import Curve, Table
from sft.events import VERSION
from sft.json_lines import Record
from sft.runs import is_start

_SAMPLES = 50  # of a prompt
_PROMPTS = 200
_NOTABLE = 2_000
_ALERTS = 200
_ACKS = 200
_ALERT_STEPS = 50  # that are done without another alert before one is old news


class Sample(NamedTuple):
    """What a fixed prompt was answered at an evaluation."""

    step: int
    prompt: str
    answer: str


class RunHistory:
    """What a run has told so far. Belongs to one thread; `Batch` is what another may prepare.

    curves: by the name of their field; "eval_loss" is of the evaluations, the others of the steps. Steps that were done
    again, after a resume, replace what was there.
    run, phase, step, evaluation, end: the newest record of each type. end is None again once the run goes on, and step
    is None once the run is started again: it tells nothing of the processes that live then. alert: the newest one while
    it is of this start and recent, else None; alerts has all.
    samples: by the prompt's index, newest last. notable: what a person would call an event, newest last; unknown types
    as well. acks: by the command's id. torn: lines that are no records. newer: the version of the events' format
    where it is newer than ours, else 0. first_time, last_time: seconds since the epoch; 0 before there are any.
    """

    def __init__(self) -> None:
        self._steps = Table(STEP_VALUES)
        self._evaluations = Table(("eval_loss",))
        self.curves: dict[str, Curve] = {name: Curve(self._steps, name) for name in STEP_VALUES}
        self.curves["eval_loss"] = Curve(self._evaluations, "eval_loss")
        self.clear()

    def clear(self) -> None:
        """Forget everything: the events are read from their beginning again."""
        self._steps.cut(-math.inf)
        self._evaluations.cut(-math.inf)
        self._best_version = self._evaluations.version
        self.run: Record | None = None
        self.phase: Record | None = None
        self.step: Record | None = None
        self.evaluation: Record | None = None
        self.end: Record | None = None
        self.best: tuple[int, float] | None = None
        self.samples: dict[int, deque[Sample]] = {}
        self.notable: deque[Record] = deque(maxlen=_NOTABLE)
        self.alerts: deque[Record] = deque(maxlen=_ALERTS)
        self.alert: Record | None = None
        self._steps_since_alert = 0
        self.acks: dict[str, Record] = {}
        self.torn = 0
        self.newer = 0
        self._timed = False
        self.first_time = 0.0
        self.last_time = 0.0

    def apply(self, records: Iterable[Record]) -> None:
        """Take records in the order in which they were written."""
        self.apply_batch(batch_of(records))

    def apply_batch(self, batch: Batch) -> None:
        """Take what `batches.decode` made of some lines."""
        self.torn += batch.torn
        steps = batch.steps
        count = steps.shape[1]
        # Of each step the smallest number that comes with it or behind it: all before that one is done again.
        smallest = np.minimum.accumulate(steps[0, ::-1])[::-1]
        if batch.others and batch.others[0][0] == 0:
            self._take_time(batch.others[0][1].get("time"))
        if count:
            self._evaluations.cut(smallest[0])
            self._steps.add(steps[:, np.append(steps[0, :-1] < smallest[1:], True)])
            self.step = batch.step or self.step
            self._take_time(steps[1, 0])
            self._take_time(steps[1, -1])
            self.end = None
            self._steps_since_alert += count
        for place, record in batch.others:
            done_again_from = smallest[place] if place < count else math.inf
            self._take(record, done_again_from, steps_behind=count - place)
        if self._steps_since_alert >= _ALERT_STEPS:
            self.alert = None
        self._find_best()

    def _take(self, record: Record, done_again_from: float, *, steps_behind: int) -> None:
        """steps_behind: how many of its batch come later."""
        newest = not steps_behind
        if newest:
            self._take_time(record.get("time"))
        match record["type"]:
            case "heartbeat":
                return
            case "phase":
                before, self.phase = self.phase, record
                self.end = None
                if is_start(record):
                    self.alert = None
                    self.step = None if newest else self.step
                if before is not None and before.get("name") == record.get("name"):
                    return
            case "run":
                self.run = record
                self.end = None
                version = record.get("version")
                if isinstance(version, int) and version > max(self.newer, VERSION):
                    self.newer = version
            case "eval":
                self._evaluate(record, done_again_from)
            case "sample":
                self._take_sample(record)
                return
            case "ack":
                self._take_ack(record)
            case "alert":
                self.alerts.append(record)
                self.alert, self._steps_since_alert = record, steps_behind
            case "end":
                self.end = record if newest else None
        self.notable.append(record)

    def _evaluate(self, record: Record, done_again_from: float) -> None:
        self.evaluation = record
        step = usable_step(record.get("step"))
        if step is not None and step < done_again_from:
            # Its "tokens" are those that were evaluated, not the run's.
            row = (step, finite(record.get("time")), math.nan, finite(record.get("loss")))
            self._evaluations.add(np.array(row, np.float64).reshape(-1, 1))

    def _take_sample(self, record: Record) -> None:
        index, step = usable_step(record.get("index")), usable_step(record.get("step"))
        prompt, answer = record.get("prompt"), record.get("answer")
        if index is None or step is None or not isinstance(prompt, str) or not isinstance(answer, str):
            self.torn += 1
            return
        if index not in self.samples and len(self.samples) >= _PROMPTS:
            return
        kept = self.samples.setdefault(index, deque(maxlen=_SAMPLES))
        while kept and kept[-1].step >= step:
            kept.pop()
        kept.append(Sample(step, prompt, answer))

    def _take_ack(self, record: Record) -> None:
        identity = record.get("id")
        if isinstance(identity, str):
            self.acks.pop(identity, None)
            self.acks[identity] = record
            if len(self.acks) > _ACKS:
                del self.acks[next(iter(self.acks))]

    def _take_time(self, value: object) -> None:
        time = finite(value)
        if not math.isnan(time):
            if not self._timed:
                self._timed, self.first_time = True, time
            self.last_time = time

    def _find_best(self) -> None:
        evaluations = self.curves["eval_loss"]
        if evaluations.version == self._best_version:
            return
        self._best_version = evaluations.version
        points = evaluations.points
        lowest = np.where(np.isnan(points.low), math.inf, points.low)
        place = int(np.argmin(lowest)) if len(lowest) else 0
        known = len(lowest) > 0 and math.isfinite(lowest[place])
        self.best = (int(points.step[place]), float(lowest[place])) if known else None
