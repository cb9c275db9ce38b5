"""The learning rate as a function of the step, so that a resumed run needs no state of it."""

from __future__ import annotations

import math
from typing import Literal

Shape = Literal["constant", "linear", "cosine"]


def warmup_length(total_steps: int, warmup_steps: int, warmup_ratio: float) -> int:
    """Steps of warm-up: what is asked in steps, else a share of all."""
    return min(total_steps, warmup_steps or math.ceil(total_steps * warmup_ratio))


def factor(step: int, total_steps: int, warmup: int, shape: Shape) -> float:
    """What the peak learning rate is multiplied with at a step, counted from 0.

    Linear warm-up that reaches 1 in the step after it, and in which no step stands still; then down to 0 behind the
    last step, in a line or as half a cosine, or not at all.
    """
    if step < warmup:
        return (step + 1) / (warmup + 1)
    if shape == "constant":
        return 1.0
    done = (step - warmup) / max(1, total_steps - warmup)
    return max(0.0, 1.0 - done) if shape == "linear" else 0.5 * (1.0 + math.cos(math.pi * min(1.0, done)))
