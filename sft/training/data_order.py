"""Which documents a rank reads in which step: a function of the seed and the step, so that resuming is counting."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from functools import lru_cache
from typing import Protocol

import numpy as np
import numpy.typing as npt

from sft.data.packing import Packs, plan_packs
from sft.errors import SftError
from sft.training.batches import Batch, Document, collate


class Documents(Protocol):
    """A prepared set, as far as training reads it."""

    @property
    def lengths(self) -> npt.NDArray[np.int32]: ...

    def document(self, index: int) -> Document: ...


class DataOrder:
    """The endless row of packs of some documents: epoch after epoch, each packed and shuffled anew.

    members: numbers of the documents. length: tokens of a pack. Raises SftError when there is no document.
    """

    def __init__(
        self,
        documents: Documents,
        members: npt.NDArray[np.integer],
        length: int,
        *,
        packing: bool,
        seed: int,
        pad_id: int,
    ) -> None:
        if not len(members):
            raise SftError("There is nothing to train on.", "No document is left after filtering; see the data report.")
        self._documents = documents
        self._members = members
        self._pad_id = pad_id
        lengths = documents.lengths[members]

        def plan(epoch: int) -> Packs:
            return plan_packs(lengths, length, seed=seed, epoch=epoch, packing=packing)

        self._plan: Callable[[int], Packs] = lru_cache(maxsize=2)(plan)
        self.packs_per_epoch = len(plan(0).offsets) - 1

    def steps(self, epochs: float, packs_per_step: int) -> int:
        """Optimizer steps that so many epochs take; the last one may begin another epoch."""
        return max(1, math.ceil(epochs * self.packs_per_epoch / packs_per_step))

    def epoch_at(self, step: int, packs_per_step: int) -> float:
        """Epochs that are done before a step."""
        return step * packs_per_step / self.packs_per_epoch

    def batches(self, step: int, rows: int, micro_steps: int, rank: int, ranks: int) -> list[Batch]:
        """A rank's micro batches of a step, `micro_steps` of `rows` packs each.

        The same packs make up a step however many ranks share it.
        """
        first = step * rows * micro_steps * ranks
        mine = [first + number for number in range(rank, rows * micro_steps * ranks, ranks)]
        return [collate([self._pack(at) for at in mine[i : i + rows]], self._pad_id) for i in range(0, len(mine), rows)]

    def once(self, rows: int, rank: int, ranks: int, *, most: int = 0) -> Iterator[Batch]:
        """A rank's share of the first epoch, for evaluation, made as it is asked for. most: packs at most; 0: all."""
        mine = range(rank, self._measured(most), ranks)
        for i in range(0, len(mine), rows):
            yield collate([self._pack(at) for at in mine[i : i + rows]], self._pad_id)

    def batches_once(self, rows: int, rank: int, ranks: int, *, most: int = 0) -> int:
        """How many batches `once` makes; a rank may get one less than another."""
        return math.ceil(len(range(rank, self._measured(most), ranks)) / rows)

    def _measured(self, most: int) -> int:
        return min(self.packs_per_epoch, most or self.packs_per_epoch)

    def _pack(self, at: int) -> Sequence[Document]:
        epoch, number = divmod(at, self.packs_per_epoch)
        packs = self._plan(epoch)
        members = packs.documents[packs.offsets[number] : packs.offsets[number + 1]]
        return [self._documents.document(int(self._members[member])) for member in members]
