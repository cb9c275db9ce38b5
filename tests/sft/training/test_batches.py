"""Which tokens a rank reads in which step, and with which labels."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from sft.errors import SftError
from sft.training.batches import Batch, Document, collate
from sft.training.data_order import DataOrder
from sft.training.loss import IGNORED
from sft.training.schedule import factor, warmup_length


def document(*ids: int, trained_from: int = 0, dtype: type = np.uint16) -> Document:
    return np.array(ids, dtype), np.arange(len(ids)) >= trained_from


def test_labels_follow_by_one_and_never_cross_documents() -> None:
    batch = collate([[document(1, 2, 3, trained_from=1), document(4, 5)], [document(6, 7, 8, 9)]], pad_id=0)
    no = IGNORED
    assert batch.input_ids.tolist() == [[1, 2, 3, 4, 5], [6, 7, 8, 9, 0]]
    assert batch.labels.tolist() == [[2, 3, no, 5, no], [7, 8, 9, no, no]]
    assert batch.position_ids.tolist() == [[0, 1, 2, 0, 1], [0, 1, 2, 3, 0]]
    assert batch.document_ids.tolist() == [[0, 0, 0, 1, 1], [0, 0, 0, 0, -1]]
    assert (batch.tokens, batch.trained_tokens) == (9, 6)


def test_padding_is_masked_by_its_place_where_its_token_is_also_a_word() -> None:
    batch = collate([[document(7, 7, 7)], [document(7)]], pad_id=7)
    assert batch.labels.tolist() == [[7, 7, IGNORED], [IGNORED] * 3]


class Stored:
    def __init__(self, lengths: list[int]) -> None:
        self.lengths = np.array(lengths, np.int32)

    def document(self, index: int) -> Document:
        length = int(self.lengths[index])
        return np.full(length, index, np.uint32), np.ones(length, bool)


def order(lengths: list[int], *, packing: bool = True) -> DataOrder:
    return DataOrder(Stored(lengths), np.arange(len(lengths)), 32, packing=packing, seed=3, pad_id=0)


def packs(batches: Iterable[Batch]) -> list[tuple[int, ...]]:
    """The tokens of each row without its padding."""
    rows = [(ids, docs) for batch in batches for ids, docs in zip(batch.input_ids, batch.document_ids, strict=True)]
    return [tuple(ids[docs >= 0].tolist()) for ids, docs in rows]


@given(
    st.lists(st.integers(1, 32), min_size=1, max_size=60),
    st.integers(0, 9),
    st.sampled_from([(1, 4), (2, 2), (4, 1)]),
    st.booleans(),
)
def test_a_step_is_the_same_packs_however_many_ranks_share_it(
    lengths: list[int], step: int, split: tuple[int, int], packing: bool
) -> None:
    data = order(lengths, packing=packing)
    ranks, micro_steps = split
    shared = [each for rank in range(ranks) for each in packs(data.batches(step, 1, micro_steps, rank, ranks))]
    assert sorted(shared) == sorted(packs(data.batches(step, 1, 4, 0, 1)))


@given(st.lists(st.integers(1, 32), min_size=1, max_size=60), st.integers(1, 5))
def test_an_epoch_reads_every_document_once(lengths: list[int], ranks: int) -> None:
    data = order(lengths)
    read = [token for rank in range(ranks) for pack in packs(data.once(2, rank, ranks)) for token in pack]
    assert sorted(read) == sorted(index for index, length in enumerate(lengths) for _ in range(length))


def test_another_epoch_is_another_order() -> None:
    data = order([5, 9, 13, 4, 8, 20, 7, 6, 3, 11] * 4)
    first, second = (data.batches(epoch, 1, data.packs_per_epoch, 0, 1) for epoch in (0, 1))
    assert packs(first) != packs(second)


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(SftError, match="nothing to train on"):
        order([])


def test_the_learning_rate_warms_up_and_falls() -> None:
    assert warmup_length(100, 0, 0.03) == 3
    assert warmup_length(100, 7, 0.5) == 7
    shape = [factor(step, 10, 2, "linear") for step in range(11)]
    assert shape[:3] == pytest.approx([1 / 3, 2 / 3, 1.0])
    assert shape[2:] == sorted(shape[2:], reverse=True)
    assert shape[10] == 0.0
    assert [factor(step, 10, 0, "constant") for step in (0, 9)] == [1.0, 1.0]
    assert factor(5, 10, 0, "cosine") == pytest.approx(0.5)


def test_a_batch_goes_to_its_device_whole() -> None:
    batch = collate([[document(1, 2)]], 0).to(torch.device("cpu"))
    assert isinstance(batch, Batch) and batch.labels.tolist() == [[2, IGNORED]]
