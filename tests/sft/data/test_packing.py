"""Packs: every document once, none too full, few of them, the same from the same seed and others in the next epoch."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sft.data.packing import Packs, plan_packs


def loads(packs: Packs, lengths: npt.NDArray[np.integer]) -> npt.NDArray[np.integer]:
    """Tokens of each pack."""
    total: npt.NDArray[np.integer] = np.concatenate([[0], np.cumsum(lengths[packs.documents])])[packs.offsets]
    return np.diff(total)


def check(packs: Packs, lengths: npt.NDArray[np.integer], capacity: int) -> None:
    assert packs.documents.dtype == np.int32
    assert packs.offsets.dtype == np.int64
    assert np.array_equal(np.sort(packs.documents), np.arange(len(lengths)))
    assert packs.offsets[0] == 0
    assert packs.offsets[-1] == len(lengths)
    assert (np.diff(packs.offsets) >= 1).all()
    assert (loads(packs, lengths) <= capacity).all()


def best_fit_decreasing(lengths: list[int], capacity: int) -> int:
    """The number of packs, one document at a time."""
    rooms: list[int] = []
    for length in sorted(lengths, reverse=True):
        fitting = [room for room in rooms if room >= length]
        if fitting:
            rooms.remove(min(fitting))
        rooms.append((min(fitting) if fitting else capacity) - length)
    return len(rooms)


@given(st.data())
def test_every_document_is_in_one_pack_and_none_is_too_full(data: st.DataObject) -> None:
    capacity = data.draw(st.integers(1, 64))
    lengths = np.array(data.draw(st.lists(st.integers(1, capacity), max_size=120)), np.int32)
    packs = plan_packs(lengths, capacity, seed=data.draw(st.integers(0, 2**63)), epoch=data.draw(st.integers(0, 9)))
    check(packs, lengths, capacity)
    assert len(packs.offsets) - 1 == best_fit_decreasing(lengths.tolist(), capacity)


@pytest.mark.parametrize("capacity", [512, 2048])
def test_on_lengths_of_chats_the_packs_are_nearly_full(capacity: int) -> None:
    random = np.random.default_rng(0)
    lengths = np.clip(random.lognormal(4.7, 0.9, 20_000), 4, capacity).astype(np.int32)
    packs = plan_packs(lengths, capacity, seed=0, epoch=0)
    check(packs, lengths, capacity)
    assert len(packs.offsets) - 1 <= 1.02 * np.ceil(lengths.sum() / capacity)


def test_the_same_seed_packs_alike_and_another_epoch_anew() -> None:
    lengths = np.random.default_rng(1).integers(1, 200, 500).astype(np.int32)

    def made(seed: int, epoch: int) -> list[tuple[int, ...]]:
        packs = plan_packs(lengths, 512, seed=seed, epoch=epoch)
        return [tuple(pack) for pack in np.split(packs.documents, packs.offsets[1:-1])]

    assert made(3, 0) == made(3, 0)
    together = {frozenset(pack) for pack in made(3, 0)}
    for other in (made(3, 1), made(4, 0)):
        assert len(together & {frozenset(pack) for pack in other}) < len(together) / 4


@pytest.mark.parametrize("epoch", [0, 1])
def test_without_packing_each_document_is_alone_and_they_are_shuffled(epoch: int) -> None:
    lengths = np.full(100, 7, np.int32)
    packs = plan_packs(lengths, 512, seed=0, epoch=epoch, packing=False)
    check(packs, lengths, 512)
    assert len(packs.offsets) == 101
    assert packs.documents.tolist() != sorted(packs.documents.tolist())


def test_no_documents_are_no_packs() -> None:
    assert plan_packs(np.zeros(0, np.int32), 8, seed=0, epoch=0).offsets.tolist() == [0]


@pytest.mark.parametrize("length", [0, 9])
def test_a_length_that_no_pack_takes_is_refused(length: int) -> None:
    with pytest.raises(ValueError, match="from 1 to 8"):
        plan_packs(np.array([3, length]), 8, seed=0, epoch=0)
