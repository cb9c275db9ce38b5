"""Documents that share a row train as if each were alone, or the run refuses."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from transformers import AutoModelForCausalLM, PreTrainedModel

from sft.training.batches import Document, collate
from sft.training.isolation import LeakError, choose_isolation
from sft.training.language_model import LanguageModel, choose_head
from tests.engine.tiny_models import FAMILIES, Family, tiny_config, tokenizer_for


def tiny(family: Family, attention: str | None = None) -> PreTrainedModel:
    torch.manual_seed(1)
    config = tiny_config(family, tokenizer_for(family))
    options: dict[str, Any] = {"attn_implementation": attention} if attention else {}
    model: PreTrainedModel = AutoModelForCausalLM.from_config(config, dtype=torch.float32, **options)
    return model.eval()


def documents() -> list[Document]:
    random = np.random.default_rng(0)
    found: list[Document] = []
    for length in (9, 17, 5, 30, 12, 8, 21):
        trained = np.zeros(length, bool)
        trained[length // 3 :] = True
        found.append((random.integers(0, 200, length), trained))
    return found


@pytest.mark.parametrize("family", FAMILIES)
def test_packed_and_unpacked_losses_agree(family: Family) -> None:
    model = tiny(family)
    a, b, c, d, e, f, g = documents()
    packs = [[a, b, c], [d], [e, f, g]]  # rows of different lengths, so that there is padding too
    head = choose_head(model, partitioned=False)
    packed = LanguageModel(model, choose_isolation(model, packing=True), head)
    alone = LanguageModel(model, choose_isolation(model, packing=False), head)
    with torch.no_grad():
        together = packed(collate(packs, 0)).item()
        apart = sum(alone(collate([[each]], 0)).item() for each in documents())
    assert together == pytest.approx(apart, rel=1e-4)


@pytest.mark.parametrize("family", FAMILIES)
def test_gradients_agree_too(family: Family) -> None:
    model = tiny(family)
    packed = LanguageModel(model, choose_isolation(model, packing=True), "fused")
    alone = LanguageModel(model, "single", "fused")
    packed(collate([documents()], 0)).backward()
    found = {name: each.grad.clone() for name, each in model.named_parameters() if each.grad is not None}
    model.zero_grad()
    for each in documents():
        alone(collate([[each]], 0)).backward()
    for name, parameter in model.named_parameters():
        torch.testing.assert_close(found[name], parameter.grad, rtol=1e-3, atol=1e-4, msg=name)


def test_eager_attention_isolates_as_well() -> None:
    assert choose_isolation(tiny("llama", "eager"), packing=True) in ("positions", "mask")


def test_a_model_that_leaks_is_refused() -> None:
    model = tiny("llama")
    plain = model.forward

    def leaking(**arguments: Any) -> Any:
        arguments.pop("position_ids", None)
        arguments.pop("attention_mask", None)
        return plain(**arguments)

    model.forward = leaking
    with pytest.raises(LeakError, match="see each other") as refused:
        choose_isolation(model, packing=True)
    assert "packing = false" in refused.value.hint
    assert choose_isolation(model, packing=False) == "single", "without packing it can be trained"


def test_the_model_stays_in_the_mode_it_was_in() -> None:
    model = tiny("gpt2").train()
    choose_isolation(model, packing=True)
    choose_head(model, partitioned=False)
    assert model.training
