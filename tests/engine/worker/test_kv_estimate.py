"""The size of the KV cache, told from a config alone, is what the engine's cache really takes."""

from __future__ import annotations

import pytest
import torch
from transformers import AutoConfig, AutoModelForCausalLM

from engine.checkpoints.config_facts import kv_bytes_per_token
from engine.worker.kv_cache import bytes_held, new_cache

TOKENS = 10
SMALL: dict[str, object] = {"hidden_size": 64, "num_attention_heads": 4, "intermediate_size": 64, "vocab_size": 50}
GROUPED: dict[str, object] = {**SMALL, "num_key_value_heads": 2}
LATENT: dict[str, object] = {
    **SMALL,
    "num_hidden_layers": 2,
    "num_key_value_heads": 4,
    "kv_lora_rank": 8,
    "q_lora_rank": 16,
    "qk_nope_head_dim": 16,
    "qk_rope_head_dim": 8,
    "v_head_dim": 24,
    "first_k_dense_replace": 2,
}
ENDS = {"bos_token_id": 0, "eos_token_id": 0}
CONFIGS: dict[str, dict[str, object]] = {
    "llama": {**GROUPED, "num_hidden_layers": 3},
    "gpt2": {"n_embd": 64, "n_layer": 3, "n_head": 4, "vocab_size": 50, **ENDS},
    "gpt_neo": {**SMALL, "num_layers": 2, "num_heads": 4, "attention_types": [[["global", "local"], 1]], **ENDS},
    "opt": {**SMALL, "num_hidden_layers": 3, "ffn_dim": 64, "word_embed_proj_dim": 64},
    "glm4": {**GROUPED, "num_hidden_layers": 3, "head_dim": 16, "pad_token_id": 0},
    "qwen3": {**GROUPED, "num_hidden_layers": 3, "head_dim": 32},
    "mistral": {**GROUPED, "num_hidden_layers": 3, "sliding_window": 3},
    "gemma3_text": {**GROUPED, "num_hidden_layers": 6, "head_dim": 32, "sliding_window": 3},
    "falcon": {**SMALL, "num_hidden_layers": 3, "multi_query": True, "new_decoder_architecture": False},
    "deepseek_v3": LATENT,
    "lfm2": {**GROUPED, "num_hidden_layers": 4, "layer_types": ["conv", "full_attention"] * 2},
}


@pytest.mark.parametrize("family", CONFIGS)
def test_the_config_tells_what_the_cache_takes(family: str) -> None:
    config = AutoConfig.for_model(family, **CONFIGS[family])
    model = AutoModelForCausalLM.from_config(config).eval()
    cache = new_cache(model.config)
    with torch.inference_mode():
        model(torch.randint(1, 50, (1, TOKENS)), past_key_values=cache, use_cache=True)
    assert model.dtype == torch.float32, "twice as wide as what is told"
    assert kv_bytes_per_token(config.to_dict()) * TOKENS * 2 == bytes_held(cache)
