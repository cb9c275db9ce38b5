"""The sampler keeps transformers' definitions; the seed decides, and greedy needs none."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    LogitsProcessorList,
    MinPLogitsWarper,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
)

from engine.errors import EngineError
from engine.protocol import Sampling
from engine.worker.sampling import Sampler

CPU = torch.device("cpu")
PROMPT = [1, 5, 5, 9]


def logits_of(seed: int, vocabulary: int) -> Tensor:
    return torch.randn(vocabulary, generator=torch.Generator().manual_seed(seed)) * 4


def transformers_distribution(sampling: Sampling, logits: Tensor) -> Tensor:
    processors = LogitsProcessorList()
    if sampling.repetition_penalty != 1:
        processors.append(RepetitionPenaltyLogitsProcessor(sampling.repetition_penalty))
    processors.append(TemperatureLogitsWarper(sampling.temperature))
    if sampling.top_k:
        processors.append(TopKLogitsWarper(sampling.top_k))
    if sampling.top_p < 1:
        processors.append(TopPLogitsWarper(sampling.top_p))
    if sampling.min_p > 0:
        processors.append(MinPLogitsWarper(sampling.min_p))
    return torch.softmax(processors(torch.tensor([PROMPT]), logits[None].clone())[0], dim=-1)


@settings(deadline=None, max_examples=150)
@given(
    seed=st.integers(0, 999),
    vocabulary=st.sampled_from([12, 300, 2000]),
    temperature=st.floats(0.1, 3),
    top_k=st.sampled_from([0, 1, 7, 50, 5000]),
    top_p=st.sampled_from([0.05, 0.5, 0.9, 0.999, 1.0]),
    min_p=st.sampled_from([0.0, 0.01, 0.2]),
    penalty=st.sampled_from([1.0, 1.3, 0.8]),
)
def test_the_distribution_is_transformers_own(
    seed: int, vocabulary: int, temperature: float, top_k: int, top_p: float, min_p: float, penalty: float
) -> None:
    sampling = Sampling(temperature=temperature, top_k=top_k, top_p=top_p, min_p=min_p, repetition_penalty=penalty)
    logits = logits_of(seed, vocabulary)
    ids, weights = Sampler(sampling, PROMPT, CPU).distribution(logits)
    ours = torch.zeros(vocabulary).scatter(0, ids, weights / weights.sum())
    torch.testing.assert_close(ours, transformers_distribution(sampling, logits), atol=1e-5, rtol=1e-4)


def drawn(sampling: Sampling, count: int = 30) -> list[int]:
    sampler = Sampler(sampling, PROMPT, CPU)
    return [sampler.choose(logits_of(step, 500)) for step in range(count)]


def test_the_same_seed_draws_the_same_tokens_and_another_seed_others() -> None:
    sampling = Sampling(temperature=1.5, top_p=0.99, seed=7)
    assert drawn(sampling) == drawn(sampling)
    assert drawn(sampling) != drawn(Sampling(temperature=1.5, top_p=0.99, seed=8))


def test_the_seed_drawn_here_draws_the_same_again() -> None:
    first = Sampler(Sampling(temperature=1.5), PROMPT, CPU)
    again = Sampler(Sampling(temperature=1.5, seed=first.seed), PROMPT, CPU)
    assert [first.choose(logits_of(step, 500)) for step in range(20)] == [
        again.choose(logits_of(step, 500)) for step in range(20)
    ]


def test_temperature_zero_takes_the_likeliest() -> None:
    expected = [int(logits_of(step, 500).argmax()) for step in range(10)]
    assert drawn(Sampling(temperature=0, top_k=3, min_p=0.1), 10) == expected


def test_a_temperature_next_to_nothing_is_greedy_too() -> None:
    expected = [int(logits_of(step, 500).argmax()) for step in range(10)]
    assert drawn(Sampling(temperature=1e-40, top_p=1.0), 10) == expected


def test_the_penalty_covers_the_prompt_and_what_was_generated() -> None:
    logits = torch.tensor([1.0, 3.0, 2.5, -1.0])
    sampler = Sampler(Sampling(temperature=0, repetition_penalty=2.0), [1], CPU)
    assert [sampler.choose(logits) for _ in range(3)] == [2, 1, 1]  # 2.5 over 3/2; then 1.5 over 2.5/2


@pytest.mark.parametrize("seed", [-1, 0, 2**63 - 1, -(2**63)])
def test_any_seed_a_person_types_is_taken(seed: int) -> None:
    assert drawn(Sampling(seed=seed), 2) == drawn(Sampling(seed=seed), 2)


@pytest.mark.parametrize("temperature", [0.0, 1.0])
def test_nan_is_an_error_and_not_a_token(temperature: float) -> None:
    logits = torch.full((10,), float("nan"))
    with pytest.raises(EngineError, match="NaN"):
        Sampler(Sampling(temperature=temperature), PROMPT, CPU).choose(logits)
