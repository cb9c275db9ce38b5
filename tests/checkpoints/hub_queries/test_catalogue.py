"""The short list that needs no search."""

from __future__ import annotations

from engine.checkpoints.hub_cache import HubReference, parse_hub_reference
from engine.checkpoints.hub_queries.catalogue import catalogue


def test_every_entry_can_be_typed_and_shown_on_one_line() -> None:
    for group in catalogue():
        ids = [entry.id for entry in group.entries]
        assert len(set(ids)) == len(ids)
        for entry in group.entries:
            assert parse_hub_reference(entry.id) == HubReference(entry.id)
            assert entry.about and "\n" not in entry.about + entry.problem


def test_hugchats_releases_its_backbones_and_todays_small_models_are_there() -> None:
    groups = {group.title: {entry.id for entry in group.entries} for group in catalogue()}
    assert list(groups) == ["HugChat's releases", "Small chat models", "Backbones of HugChat's model table"]
    assert {"wjn1996/hugnlp-hugchat-gpt2", "wjn1996/hugnlp-hugchat-gpt2-xl"} <= groups["HugChat's releases"]
    assert {"HuggingFaceTB/SmolLM2-360M-Instruct", "Qwen/Qwen3-0.6B"} <= groups["Small chat models"]
    backbones = {"openai-community/gpt2-xl", "facebook/opt-6.7b", "EleutherAI/gpt-neo-2.7B", "huggyllama/llama-7b"}
    assert backbones <= groups["Backbones of HugChat's model table"]


def test_small_chat_models_are_small_first() -> None:
    (small,) = (group for group in catalogue() if group.title == "Small chat models")
    sizes = [entry.parameters for entry in small.entries]
    assert sizes == sorted(sizes)
    assert 0 not in sizes


def test_glm_2b_is_there_with_what_loads_in_its_place() -> None:
    entries = {entry.id: entry for group in catalogue() for entry in group.entries}
    problem = entries["THUDM/glm-2b"].problem
    assert "code" in problem
    assert any(other in problem for other in entries if other != "THUDM/glm-2b")
