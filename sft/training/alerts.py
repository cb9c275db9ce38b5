"""What a person watching a run would want to be told of, seen in its own figures; each kind with what to try.

A kind is told when it begins and again only after it has been over for a while. Everything here is arithmetic on a few
numbers a step; nothing of it is kept in checkpoints, so a resumed run begins to compare anew.
"""

from __future__ import annotations

import math
import statistics
from collections import deque
from typing import NamedTuple

_RUN_IN = 20  # steps before anything is compared: warm-up, and a first step that compiles
_RECENT = 100  # steps of a running median
_STEEP = 10.0  # times the median of the gradient's norm
_RISEN = 1.3  # times the lowest smoothed loss
_RISEN_BY = 0.05  # nats that it must have risen besides: a loss near nothing has no proportions
_SLOW = 0.7  # of the usual tokens a second
_FLAT_STEPS = 200
_FLAT_SHARE = 0.005  # by which the smoothed loss falls at least where there is progress
_SMOOTHING = 0.95
_WORSE_EVALUATIONS = 2
_QUIET_STEPS = 50  # that a kind must be over before it is told again
_SCALE_SEARCH = 5  # steps in a row that float16's loss scaling may leave out on its way to a fitting scale


class Alert(NamedTuple):
    kind: str
    words: str


class Watch:
    """Takes each step's and evaluation's figures, and answers with the alerts that begin there.

    scaled: the gradient's scale is searched for (float16), so that single steps without a finite gradient are usual.
    """

    def __init__(self, *, scaled: bool = False) -> None:
        self._scaled = scaled
        self._steps = 0
        self._unusable = 0  # steps in a row
        self._norms: deque[float] = deque(maxlen=_RECENT)
        self._rates: deque[float] = deque(maxlen=_RECENT)
        self._smoothed = _Smoothed(_SMOOTHING)
        self._lowest = math.inf
        self._flat_since = 0
        self._flat_from = math.inf
        self._evaluations: list[tuple[float, float]] = []  # (evaluation's loss, the smoothed training loss then)
        self._last_seen: dict[str, int] = {}

    @property
    def unusable(self) -> int:
        """Steps in a row whose loss or gradient was no finite number."""
        return self._unusable

    def step(self, loss: float, norm: float, tokens_per_s: float) -> list[Alert]:
        """loss: nats a token; norm: of the gradient before clipping."""
        self._steps += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return self._not_finite(loss)
        self._unusable = 0
        smoothed = self._smoothed.add(loss)
        found = []
        if self._steps > _RUN_IN:
            found += [*self._steep(norm), *self._risen(smoothed), *self._flat(smoothed), *self._slow(tokens_per_s)]
            self._rates.append(tokens_per_s)
        self._norms.append(norm)
        return found

    def evaluation(self, loss: float) -> list[Alert]:
        """An evaluation that gets worse while the training loss falls has begun to learn by heart."""
        self._evaluations = [*self._evaluations[-_WORSE_EVALUATIONS:], (loss, self._smoothed.value)]
        if len(self._evaluations) <= _WORSE_EVALUATIONS:
            return []
        pairs = list(zip(self._evaluations, self._evaluations[1:], strict=False))
        if not all(after[0] > before[0] and after[1] < before[1] for before, after in pairs):
            return []
        return self._told(
            "overfitting",
            f"The evaluation has become worse {_WORSE_EVALUATIONS} times in a row (now {loss:.3f}) while the training"
            " loss falls: it learns the rows by heart. Stop and keep the best checkpoint, train fewer epochs, or add"
            " data.",
        )

    def room(self, free: int, checkpoint: int) -> list[Alert]:
        """Both in bytes: free where the run lies, and what a checkpoint took."""
        if free >= 2 * checkpoint:
            return []
        return self._told(
            "disk",
            f"{free / 1e9:.2f} GB are free where the run lies, less than two checkpoints of {checkpoint / 1e9:.2f} GB."
            " Free some space, or keep fewer: checkpoints.keep.",
        )

    def _not_finite(self, loss: float) -> list[Alert]:
        self._unusable += 1
        if math.isfinite(loss) and self._scaled and self._unusable < _SCALE_SEARCH:
            return []
        if loss == 0:
            words = (
                "The loss is exactly 0 and its gradient is no number: the batch holds nothing that is trained, or the"
                " number format is too narrow. Look at hugchat sft data preview, or set model.dtype = float32."
            )
        else:
            words = (
                "Loss or gradient is no finite number. If it stays so the run ends: lower training.learning_rate, or"
                " set model.dtype = float32."
            )
        return self._told("nonfinite", words)

    def _steep(self, norm: float) -> list[Alert]:
        usual = statistics.median(self._norms) if len(self._norms) >= _RUN_IN else math.inf
        if norm <= _STEEP * usual:
            return []
        return self._told(
            "gradient",
            f"The gradient's norm is {norm:.3g}, {norm / usual:.0f} times what it usually is. One such step does"
            " little harm where training.clip_norm is set; if they come often, lower training.learning_rate or look"
            " for odd rows.",
        )

    def _risen(self, smoothed: float) -> list[Alert]:
        self._lowest = min(self._lowest, smoothed)
        if smoothed < _RISEN * self._lowest or smoothed - self._lowest < _RISEN_BY:
            return []
        return self._told(
            "rising",
            f"The smoothed loss is {smoothed:.3f} and was {self._lowest:.3f} at its best. Lower"
            " training.learning_rate, or go on from an earlier checkpoint.",
        )

    def _flat(self, smoothed: float) -> list[Alert]:
        if smoothed < self._flat_from * (1 - _FLAT_SHARE):
            self._flat_from, self._flat_since = smoothed, self._steps
        if self._steps - self._flat_since < _FLAT_STEPS:
            return []
        return self._told(
            "plateau",
            f"The smoothed loss has not fallen for {self._steps - self._flat_since} steps ({smoothed:.3f}). It may"
            " have learned what there is: stop and keep it, or try a higher learning rate, a higher method.rank or"
            " more data.",
        )

    def _slow(self, tokens_per_s: float) -> list[Alert]:
        rates = list(self._rates)
        if len(rates) < 2 * _RUN_IN:
            return []
        # Ten steps together: a single one may have waited for anything.
        usual, now = statistics.median(rates), statistics.median([*rates[-9:], tokens_per_s])
        if now >= _SLOW * usual:
            return []
        return self._told(
            "slow",
            f"It makes {now:,.0f} tokens a second and made {usual:,.0f}. Something else uses the machine, or it is"
            " too hot, or memory is being swapped.",
        )

    def _told(self, kind: str, words: str) -> list[Alert]:
        last, self._last_seen[kind] = self._last_seen.get(kind), self._steps
        return [Alert(kind, words)] if last is None or self._steps - last > _QUIET_STEPS else []


class _Smoothed:
    """A debiased exponential average: early values weigh as they should, as if there had been others before."""

    def __init__(self, weight: float) -> None:
        self._weight = weight
        self._sum = 0.0
        self._share = 0.0
        self.value = math.nan

    def add(self, value: float) -> float:
        self._sum = self._weight * self._sum + (1 - self._weight) * value
        self._share = self._weight * self._share + (1 - self._weight)
        self.value = self._sum / self._share
        return self.value
