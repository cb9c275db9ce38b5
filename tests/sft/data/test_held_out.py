"""What is held out, and what was seen before: by what rows say."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sft.data.held_out import held_out_mask
from sft.data.seen import Seen

hashes = st.lists(st.integers(0, 2**64 - 1) | st.integers(0, 5), max_size=60).map(lambda x: np.array(x, np.uint64))


@given(hashes, st.floats(0, 0.99), st.integers(0, 2**63))
def test_rows_that_say_the_same_stay_on_one_side(contents: np.ndarray, share: float, seed: int) -> None:
    mask = held_out_mask(contents, share, seed)
    assert set(contents[mask].tolist()).isdisjoint(contents[~mask].tolist())
    if not share or len(set(contents.tolist())) < 2:
        assert not mask.any()
    else:
        assert mask.any()
        assert not mask.all()
        assert mask.sum() <= share * len(contents) or len(set(contents[mask].tolist())) == 1


def test_the_share_is_kept_and_the_seed_decides() -> None:
    contents = np.random.default_rng(0).integers(0, 2**63, 10_000).astype(np.uint64)
    mask = held_out_mask(contents, 0.02, 0)
    assert mask.sum() == 200
    assert held_out_mask(contents, 0.02, 1).tolist() != mask.tolist()
    order = np.random.default_rng(1).permutation(len(contents))
    assert held_out_mask(contents[order], 0.02, 0).tolist() == mask[order].tolist()


@given(st.lists(hashes, max_size=12))
def test_the_first_of_equal_rows_is_told_from_the_others(batches: list[np.ndarray]) -> None:
    seen = Seen()
    known: set[int] = set()
    for batch in batches:
        expected = []
        for each in batch.tolist():
            expected.append(each not in known)
            known.add(each)
        assert seen.first_time(batch).tolist() == expected
