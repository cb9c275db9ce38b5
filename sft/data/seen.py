"""Which rows were there before, by the hashes of what they say: whole batches at once, in 8 bytes a row."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Hashes = npt.NDArray[np.uint64]


class Seen:
    """A growing set of hashes: sorted arrays, each at least twice as long as the next, so that adding is cheap."""

    def __init__(self) -> None:
        self._runs: list[Hashes] = []

    def first_time(self, hashes: Hashes) -> npt.NDArray[np.bool_]:
        """For each hash, in order, whether neither an earlier call nor an earlier one of these had it; it is kept."""
        unique, first = np.unique(hashes, return_index=True)
        new = np.ones(len(unique), np.bool_)
        for run in self._runs:
            at = np.minimum(np.searchsorted(run, unique), len(run) - 1)
            new &= run[at] != unique
        self.add(unique[new])
        answer = np.zeros(len(hashes), np.bool_)
        answer[first[new]] = True
        return answer

    def add(self, hashes: Hashes) -> None:
        """Keep hashes that it has not, or has: that does no harm."""
        if len(hashes):
            self._runs.append(np.sort(hashes))
        while len(self._runs) > 1 and len(self._runs[-2]) < 2 * len(self._runs[-1]):
            last = self._runs.pop()
            self._runs[-1] = np.sort(np.concatenate([self._runs[-1], last]))
