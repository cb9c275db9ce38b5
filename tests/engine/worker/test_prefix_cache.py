"""What was read once is not read again, and the logits are those of a fresh run, in every kind of attention."""

from __future__ import annotations

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from transformers import (
    Gemma3TextConfig,
    Lfm2Config,
    MistralConfig,
    PreTrainedConfig,
    PreTrainedModel,
)

from engine.worker.generation import Reader
from engine.worker.kv_cache import cache_bytes, new_cache
from engine.worker.prefix_cache import Prefix, PrefixCache
from tests.engine.tiny_models import FAMILIES, byte_level_tokenizer, tiny_config, tiny_model

_SMALL = {
    "vocab_size": 300,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 512,
}


def configs() -> dict[str, PreTrainedConfig]:
    tokenizer = byte_level_tokenizer()
    known: dict[str, PreTrainedConfig] = {family: tiny_config(family, tokenizer, 512) for family in FAMILIES}
    return {
        **known,
        "sliding": MistralConfig(**_SMALL, num_hidden_layers=2, sliding_window=16),
        "sliding and full": Gemma3TextConfig(
            **_SMALL,
            num_hidden_layers=2,
            head_dim=16,
            sliding_window=16,
            layer_types=["sliding_attention", "full_attention"],
        ),
        "recurrent": Lfm2Config(**_SMALL, num_hidden_layers=2, layer_types=["conv", "full_attention"]),
    }


CONFIGS = configs()
KINDS = list(CONFIGS)
_models: dict[str, PreTrainedModel] = {}


def model_of(kind: str) -> PreTrainedModel:
    if kind not in _models:
        _models[kind] = tiny_model(CONFIGS[kind])
    return _models[kind]


def tokens(count: int, seed: int) -> list[int]:
    generator = torch.Generator().manual_seed(seed)
    return torch.randint(5, 290, (count,), generator=generator).tolist()


def read(model: PreTrainedModel, prefix: Prefix, token_ids: list[int]) -> Tensor:
    with torch.inference_mode():
        return Reader(model).read(prefix, token_ids, lambda: False, lambda done: None)


def fresh(model: PreTrainedModel, token_ids: list[int]) -> Tensor:
    """By the model alone: one forward pass, no cache."""
    with torch.inference_mode():
        logits: Tensor = model(input_ids=torch.tensor([token_ids]), use_cache=False).logits[0, -1]
    return logits


@pytest.mark.parametrize("kind", KINDS)
def test_a_later_turn_gives_the_logits_of_a_fresh_run(kind: str) -> None:
    """Turn, reply token by token, next turn, then an edit in the middle: never another logit."""
    model = model_of(kind)
    caches = PrefixCache(lambda: new_cache(model.config))
    first, reply, second = tokens(100, 1), tokens(6, 2), tokens(40, 3)

    prefix = caches.take("c", first)
    read(model, prefix, first)
    with torch.inference_mode():
        for token_id in reply:
            Reader(model).step(prefix, token_id, lambda: False)
    caches.put("c", prefix)

    longer = first + reply + second
    prefix = caches.take("c", longer)
    assert len(prefix.token_ids) == len(first) + len(reply)
    torch.testing.assert_close(read(model, prefix, longer), fresh(model, longer), atol=1e-4, rtol=1e-4)
    caches.put("c", prefix)

    edited = longer[:57] + tokens(30, 4)
    prefix = caches.take("c", edited)
    assert len(prefix.token_ids) == (0 if kind == "recurrent" else 57)
    torch.testing.assert_close(read(model, prefix, edited), fresh(model, edited), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind != "recurrent"])
@settings(deadline=None, max_examples=10)
@given(lengths=st.lists(st.tuples(st.integers(0, 120), st.integers(1, 60)), min_size=2, max_size=5))
def test_any_sequence_of_edits_gives_the_logits_of_a_fresh_run(kind: str, lengths: list[tuple[int, int]]) -> None:
    model = model_of(kind)
    caches = PrefixCache(lambda: new_cache(model.config))
    prompt: list[int] = []
    for seed, (kept, added) in enumerate(lengths):
        prompt = prompt[:kept] + tokens(added, seed)
        prefix = caches.take("c", prompt)
        torch.testing.assert_close(read(model, prefix, prompt), fresh(model, prompt), atol=1e-4, rtol=1e-4)
        caches.put("c", prefix)


@pytest.mark.parametrize("kind", ["llama", "recurrent"])
def test_the_same_prompt_again_is_not_read_again(kind: str) -> None:
    model = model_of(kind)
    caches = PrefixCache(lambda: new_cache(model.config))
    prompt = tokens(50, 1)
    prefix = caches.take("c", prompt)
    first = read(model, prefix, prompt)
    caches.put("c", prefix)
    prefix = caches.take("c", prompt)
    assert len(prefix.token_ids) == len(prompt)
    assert torch.equal(read(model, prefix, prompt), first)


def test_a_prefix_of_what_was_read_leaves_a_token_to_read() -> None:
    """Else there would be no logits to sample from."""
    model = model_of("llama")
    caches = PrefixCache(lambda: new_cache(model.config))
    prompt = tokens(50, 1)
    prefix = caches.take("c", prompt)
    read(model, prefix, prompt)
    caches.put("c", prefix)
    prefix = caches.take("c", prompt[:20])
    assert len(prefix.token_ids) == 19
    torch.testing.assert_close(read(model, prefix, prompt[:20]), fresh(model, prompt[:20]), atol=1e-4, rtol=1e-4)


def test_the_caches_stay_under_their_limit_and_the_oldest_goes_first() -> None:
    model = model_of("llama")

    def store(caches: PrefixCache, name: str) -> int:
        prompt = tokens(30, 1)
        prefix = caches.take(name, prompt)
        read(model, prefix, prompt)
        caches.put(name, prefix)
        return cache_bytes(prefix.cache)

    size = store(PrefixCache(lambda: new_cache(model.config)), "a")
    caches = PrefixCache(lambda: new_cache(model.config), limit_bytes=2 * size)
    for name in ("a", "b", "a", "c"):
        store(caches, name)
    assert [name in caches for name in ("a", "b", "c")] == [True, False, True]


def test_the_last_used_stays_however_large() -> None:
    model = model_of("llama")
    caches = PrefixCache(lambda: new_cache(model.config), limit_bytes=1)
    prompt = tokens(30, 1)
    prefix = caches.take("a", prompt)
    read(model, prefix, prompt)
    caches.put("a", prefix)
    assert "a" in caches


def test_what_one_conversation_read_is_not_anothers() -> None:
    model = model_of("llama")
    caches = PrefixCache(lambda: new_cache(model.config))
    prompt = tokens(30, 1)
    prefix = caches.take("a", prompt)
    read(model, prefix, prompt)
    caches.put("a", prefix)
    assert caches.take("b", prompt).token_ids == []


def test_chunks_depend_on_the_model_and_the_position_alone() -> None:
    """The clock must have no say: other chunks round otherwise in 16 bits."""
    reader = Reader(model_of("llama"))
    lengths = [reader.chunk_length(held) for held in (0, 10_000, 100_000, 1_000_000)]
    assert lengths[0] == 256
    assert lengths == sorted(lengths, reverse=True)
    assert lengths[-1] == 32
