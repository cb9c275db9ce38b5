"""Packs of documents as the tensors a model reads.

Three documents a, b, c in two rows of a batch; `.` is padding, at the end of a row only:

    input_ids      a0 a1 a2 b0 b1      c0 c1 c2 c3 .
    labels         a1 a2 -  b1 -       c1 c2 c3 -  -     the token that follows, where that one is trained
    position_ids   0  1  2  0  1       0  1  2  3  0
    document_ids   0  0  0  1  1       0  0  0  0  -1
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from sft.training.loss import IGNORED

Document = tuple[npt.NDArray[np.integer], npt.NDArray[np.bool_]]
"""Token ids and, for each, whether it is trained."""


@dataclass(frozen=True, slots=True)
class Batch:
    """All of shape [rows, length], int64. tokens: real ones, not padding."""

    input_ids: Tensor
    labels: Tensor
    position_ids: Tensor
    document_ids: Tensor

    @property
    def tokens(self) -> int:
        return int((self.document_ids >= 0).sum())

    @property
    def trained_tokens(self) -> int:
        return int((self.labels != IGNORED).sum())

    @property
    def documents(self) -> int:
        """The most that share a row."""
        return int(self.document_ids.max()) + 1

    def to(self, device: torch.device) -> Batch:
        return Batch(
            self.input_ids.to(device, non_blocking=True),
            self.labels.to(device, non_blocking=True),
            self.position_ids.to(device, non_blocking=True),
            self.document_ids.to(device, non_blocking=True),
        )


def collate(packs: Sequence[Sequence[Document]], pad_id: int) -> Batch:
    """A row for each pack, as long as the longest. Padding is masked by its position, whatever its token is."""
    length = max((sum(len(ids) for ids, _ in pack) for pack in packs), default=0)
    shape = len(packs), length
    input_ids = np.full(shape, pad_id, np.int64)
    labels = np.full(shape, IGNORED, np.int64)
    position_ids = np.zeros(shape, np.int64)
    document_ids = np.full(shape, -1, np.int64)
    for row, pack in enumerate(packs):
        start = 0
        for number, (ids, trained) in enumerate(pack):
            end = start + len(ids)
            input_ids[row, start:end] = ids
            # The label of a document's last token would be the next document's first: there is none.
            labels[row, start : end - 1] = np.where(trained[1:], ids[1:].astype(np.int64), IGNORED)
            position_ids[row, start:end] = np.arange(len(ids))
            document_ids[row, start:end] = number
            start = end
    return Batch(*(torch.from_numpy(each) for each in (input_ids, labels, position_ids, document_ids)))
