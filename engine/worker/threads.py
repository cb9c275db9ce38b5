"""As many of torch's threads as there are processors to run them.

The threads of one product wait for each other, hundreds of times a token. Where another program takes a processor from
one of them, all of them wait for that one: beside one busy program on two cores, two threads wrote 0.4 tokens a second
and one thread 18 (SmolLM2-135M in bfloat16, workers at nice 10).
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

import torch
from torch import Tensor
from transformers import PreTrainedModel

_AT_START = torch.get_num_threads()
_INTERVAL_S = 0.5
_PROBE_TOKENS = 40
_STAT = Path("/proc/stat")
_IDLE_FIELDS = (4, 5)  # of a processor's line in /proc/stat, its name counted: idle, iowait
_FIELDS = 9  # up to steal; what follows is counted in user and nice already (proc_stat(5))


class ThreadBudget:
    """Keeps torch's number of threads at the number of processors that nothing else uses."""

    def __init__(
        self,
        processors: set[int],
        most: int,
        busy_s: Callable[[set[int]], float],
        own_s: Callable[[], float] = time.process_time,
        clock: Callable[[], float] = time.perf_counter,
    ) -> None:
        """most: threads. busy_s: seconds that some processors have worked so far; own_s: of them for this process."""
        self._processors = processors
        self._most = most
        self._busy_s = busy_s
        self._own_s = own_s
        self._clock = clock
        self.begin()

    def begin(self) -> None:
        """Look from now on: what was before says little."""
        self._begun_at = self._clock()
        self._others_s = self._busy_s(self._processors) - self._own_s()

    def adjust(self) -> None:
        """Set the number of threads by what others used since it was looked at last, twice a second at most."""
        elapsed = self._clock() - self._begun_at
        if elapsed < _INTERVAL_S:
            return
        before = self._others_s
        self.begin()
        free = len(self._processors) - (self._others_s - before) / elapsed
        threads = torch.get_num_threads()
        # Half a processor is enough to keep a thread, nearly a whole one is needed for one more: no swinging.
        wanted = max(min(threads, int(free + 0.5)), int(free + 0.2))
        wanted = max(1, min(wanted, self._most))
        if wanted != threads:
            torch.set_num_threads(wanted)


def thread_budget(model: PreTrainedModel) -> ThreadBudget | None:
    """A budget for this process; None where there is nothing to choose, or where it would change what is written.

    With 16-bit weights every number of threads computed the same to the bit, whatever was tried; with float32 weights
    some did not, and the same seed would give another text. Must run under torch.inference_mode.
    """
    if model.device.type != "cpu" or model.dtype.itemsize != 2 or _AT_START == 1:
        return None
    try:
        processors = os.sched_getaffinity(0)
        busy_seconds(processors)
    except (AttributeError, OSError):  # no Linux, or its numbers are not for us
        return None
    if len(processors) < _AT_START:  # the threads are bound to processors of their own, this one too
        return None
    try:
        torch.set_num_threads(1)
        with_one = _logits(model)
        torch.set_num_threads(_AT_START)
        with_all = _logits(model)
    finally:
        torch.set_num_threads(_AT_START)
    return ThreadBudget(processors, _AT_START, busy_seconds) if torch.equal(with_all, with_one) else None


def _logits(model: PreTrainedModel) -> Tensor:
    token_ids = torch.arange(_PROBE_TOKENS).remainder(model.get_input_embeddings().weight.shape[0])
    logits: Tensor = model(input_ids=token_ids[None], use_cache=False).logits
    return logits


def busy_seconds(processors: set[int]) -> float:
    """Seconds that these processors have worked since the machine started (Linux)."""
    ticks = 0
    for line in _STAT.read_text(encoding="ascii").splitlines():
        name, *_ = fields = line.split()[:_FIELDS]
        if name.startswith("cpu") and name[3:].isdigit() and int(name[3:]) in processors:
            ticks += sum(int(field) for place, field in enumerate(fields) if place and place not in _IDLE_FIELDS)
    return ticks / os.sysconf("SC_CLK_TCK")
