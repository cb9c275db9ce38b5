"""Context length and KV cache, out of configs as the families publish them."""

from __future__ import annotations

import pytest

from engine.checkpoints.config_facts import gguf_kv_bytes_per_token, kv_bytes_per_token

LLAMA_3_8B = {"num_hidden_layers": 32, "num_attention_heads": 32, "num_key_value_heads": 8, "hidden_size": 4096}
GPT_2 = {"n_layer": 12, "n_head": 12, "n_embd": 768}
QWEN3_06B = {**LLAMA_3_8B, "num_hidden_layers": 28, "num_attention_heads": 16, "hidden_size": 1024, "head_dim": 128}
FALCON_7B = {
    "num_hidden_layers": 32,
    "num_attention_heads": 71,
    "num_kv_heads": 71,
    "hidden_size": 4544,
    "multi_query": True,
    "new_decoder_architecture": False,
}
CHATGLM2 = {
    "num_layers": 28,
    "num_attention_heads": 32,
    "multi_query_group_num": 2,
    "kv_channels": 128,
    "hidden_size": 4096,
}


@pytest.mark.parametrize(
    ("config", "size"),
    [
        (LLAMA_3_8B, 32 * 2 * 8 * 128 * 2),
        (GPT_2, 12 * 2 * 768 * 2),
        (QWEN3_06B, 28 * 2 * 8 * 128 * 2),
        ({"num_layers": 24, "num_heads": 16, "hidden_size": 2048}, 24 * 2 * 2048 * 2),  # GPT-Neo
        (FALCON_7B, 32 * 2 * 64 * 2),
        (CHATGLM2, 28 * 2 * 2 * 128 * 2),
        ({**LLAMA_3_8B, "kv_lora_rank": 512, "qk_rope_head_dim": 64}, 32 * 576 * 2),
        ({**LLAMA_3_8B, "layer_types": ["conv", "full_attention", "linear_attention"]}, 2 * 8 * 128 * 2),
        ({**LLAMA_3_8B, "layer_types": ["sliding_attention"] * 3, "sliding_window": 128}, 3 * 2 * 8 * 128 * 2),
        ({**LLAMA_3_8B, "num_kv_shared_layers": 30}, 2 * 2 * 8 * 128 * 2),
        ({"text_config": LLAMA_3_8B, "num_attention_heads": 7}, 32 * 2 * 8 * 128 * 2),
        ({}, 0),
        ({"num_hidden_layers": 32}, 0),
        ({**LLAMA_3_8B, "num_attention_heads": 0}, 0),
        ({**LLAMA_3_8B, "num_hidden_layers": "32"}, 0),
        ({**LLAMA_3_8B, "hidden_size": -4096}, 0),
        ({**LLAMA_3_8B, "layer_types": [[], {}, None, 7]}, 0),
        ({**LLAMA_3_8B, "num_kv_shared_layers": 99}, 0),
        ({"num_hidden_layers": 2**70, "num_attention_heads": True, "text_config": [1]}, 0),
    ],
)
def test_the_kv_cache_is_counted_as_each_family_says_it(config: dict[str, object], size: int) -> None:
    assert kv_bytes_per_token(config) == size


@pytest.mark.parametrize(
    ("metadata", "size"),
    [
        ({"block_count": 32, "attention.head_count": 32, "attention.head_count_kv": 8}, 32 * 2 * 8 * 128 * 2),
        ({"block_count": 12, "attention.head_count": 32}, 12 * 2 * 32 * 128 * 2),
        ({"block_count": 3, "attention.head_count": 32, "attention.head_count_kv": [0, 8, 8]}, 2 * 2 * 8 * 128 * 2),
        (
            {"block_count": 2, "attention.head_count": 8, "attention.key_length": 64, "attention.value_length": 32},
            2 * 8 * 96 * 2,
        ),
        ({"block_count": 2}, 0),
        ({"block_count": "x", "attention.head_count": [[]], "attention.head_count_kv": ["x", -1]}, 0),
    ],
)
def test_the_kv_cache_of_a_gguf_file_is_counted_from_its_header(metadata: dict[str, object], size: int) -> None:
    said = {f"llama.{name}": value for name, value in metadata.items()} | {"llama.embedding_length": 4096}
    assert gguf_kv_bytes_per_token(said, "llama") == size
