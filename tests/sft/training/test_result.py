"""What a run leaves is a standard checkpoint: engine, transformers and peft load it, and it says where it is from."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, PreTrainedModel

from engine.chat_templates import hugchat_template
from engine.checkpoints.library.verify import MANIFEST
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.resolve import resolve
from engine.worker.loading import load_checkpoint
from engine.worker.prompt import chat_format
from sft.config import Model
from sft.runs import RunDirectory
from tests.engine.tiny_models import make_checkpoint
from tests.sft.training.driving import tiny_recipe, train

TOKENS = torch.tensor([[5, 9, 17, 3, 40, 8]])


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("results")


@pytest.fixture(scope="module")
def adapter(place: Path) -> RunDirectory:
    return train(tiny_recipe(place, steps=4, every=2), place / "data", "an-adapter")


@pytest.fixture(scope="module")
def whole(place: Path) -> RunDirectory:
    """All weights of a GPT-2, whose checkpoint has no template."""
    make_checkpoint(place / "gpt2", "gpt2")
    recipe = tiny_recipe(place, kind="full", steps=4, every=2)
    recipe = msgspec.structs.replace(recipe, model=Model(base=str(place / "gpt2")))
    return train(recipe, place / "data", "a-model")


def logits(model: PreTrainedModel) -> torch.Tensor:
    with torch.no_grad():
        found: torch.Tensor = model.eval()(input_ids=TOKENS).logits
    return found


def described(name: str, place: Path) -> Checkpoint:
    return resolve(name, data_dir=place / "data")


def test_an_adapter_loads_in_peft_and_in_the_engine_alike(adapter: RunDirectory, place: Path) -> None:
    base = AutoModelForCausalLM.from_pretrained(place / "base-llama")
    before = logits(base)
    theirs = logits(PeftModel.from_pretrained(base, str(adapter.final)))
    found = described("runs/an-adapter", place)
    assert found.problem is None and found.kind == "adapter" and found.adapter_rank == 8
    ours = load_checkpoint(found.path, found.base, torch.device("cpu"), torch.float32, lambda stage, done, total: None)
    torch.testing.assert_close(logits(ours.model), theirs, rtol=1e-4, atol=1e-4)
    assert not torch.allclose(before, theirs, atol=1e-3), "it has learned something"


def test_a_step_is_a_checkpoint_too(adapter: RunDirectory, place: Path) -> None:
    assert described("runs/an-adapter/step-2", place).problem is None


def test_a_fully_trained_model_loads_in_transformers_and_in_the_engine_alike(whole: RunDirectory, place: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(whole.final)
    found = described("runs/a-model", place)
    assert found.problem is None and found.kind == "model"
    ours = load_checkpoint(found.path, None, torch.device("cpu"), torch.float32, lambda stage, done, total: None)
    torch.testing.assert_close(logits(ours.model), logits(theirs))
    assert not torch.allclose(logits(theirs), logits(AutoModelForCausalLM.from_pretrained(place / "gpt2")), atol=1e-3)


def test_it_carries_the_format_that_it_was_trained_in(whole: RunDirectory, adapter: RunDirectory) -> None:
    tokenizer = AutoTokenizer.from_pretrained(whole.final)
    assert tokenizer.chat_template == hugchat_template()
    assert chat_format(tokenizer).kind == "hugchat", "so that the chat ends its answers at a blank line"
    assert "<|im_start|>" in AutoTokenizer.from_pretrained(adapter.final).chat_template


def test_the_card_says_where_it_is_from(adapter: RunDirectory) -> None:
    card = (adapter.final / "README.md").read_text("utf-8")
    for said in ("base-llama", "rows.jsonl", "LoRA of rank 8", "runs/an-adapter", "steps: 4"):
        assert said in card
    assert (adapter.final / MANIFEST).is_file() and (adapter.final / "recipe.toml").is_file()
    assert not (adapter.final / "training").exists(), "what resuming needs is not part of the result"


def test_both_hold_what_the_last_step_left(adapter: RunDirectory) -> None:
    last = load_file(adapter.checkpoints / "step-4" / "adapter_model.safetensors")
    final = load_file(adapter.final / "adapter_model.safetensors")
    assert last.keys() == final.keys() and all(torch.equal(last[name], final[name]) for name in last)
