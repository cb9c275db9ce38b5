"""Lengths against what fits."""

from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from sft.data.histogram import histogram

lengths_ = st.lists(st.integers(1, 5000), max_size=50).map(lambda each: np.array(each, np.int32))


@given(lengths_, st.integers(1, 1000))
def test_every_document_is_in_the_bin_of_its_length(lengths: np.ndarray, max_length: int) -> None:
    made = histogram(lengths, max_length)
    for each in made.bins:
        within = (lengths >= each.first) & ((lengths <= each.last) | (each.last == 0))
        assert each.documents == np.count_nonzero(within)
    assert sum(each.documents for each in made.bins) == made.documents == len(lengths)
    assert made.fit == np.count_nonzero(lengths <= max_length)
    assert max_length in [each.last for each in made.bins]


@given(lengths_, lengths_)
def test_two_parts_add_up_to_the_whole(first: np.ndarray, second: np.ndarray) -> None:
    assert histogram(first, 512) + histogram(second, 512) == histogram(np.concatenate([first, second]), 512)


def test_it_is_said_in_words() -> None:
    lengths = np.array([100] * 82 + [600] * 18)
    assert histogram(lengths, 512).sentence() == "82 % fit in 512; 18 % would be cut; the longest has 600 tokens"
    assert "18 % would be dropped" in histogram(lengths, 512).sentence("drop")
    assert histogram(lengths, 1024).sentence() == "100 % fit in 1,024; the longest has 600 tokens"
    nearly = np.array([100] * 999 + [600])
    assert histogram(nearly, 512).sentence().startswith("over 99 % fit in 512; under 1 % would be cut")
    assert histogram(np.zeros(0, np.int32), 512).sentence() == "There are no documents."
