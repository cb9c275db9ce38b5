"""Numbers out of a config.json or a GGUF header that many model families spell in their own way."""

from __future__ import annotations

from collections.abc import Mapping

CEILING = 2**40  # a count from outside above this is taken as unknown
_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "seq_length",
    "max_sequence_length",
    "max_seq_len",
)
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
# Kinds of layers, in a config's layer_types, that keep a state of fixed size instead of keys and values.
_STATEFUL = ("linear_attention", "conv", "mamba", "recurrent", "moe", "mlp")
_KV_WIDTH = 2  # bytes of a 16-bit number


def count(value: object) -> int:
    """A whole number above zero and below CEILING, else 0."""
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < CEILING
    return int(value) if whole and isinstance(value, int) else 0


def context_length(config: Mapping[str, object]) -> int:
    """Tokens the model was built for, from a parsed config.json; 0 when it does not say."""
    return _first(config, *_CONTEXT_KEYS) or _first(_text_config(config), *_CONTEXT_KEYS)


def kv_bytes_per_token(config: Mapping[str, object]) -> int:
    """Bytes that one token takes in a 16-bit KV cache, from a parsed config.json; 0 when it does not say.

    layers x 2 x key-value heads x head dimension x 2 bytes; only layers that keep keys and values count. Layers
    with a sliding window count in full: the engine keeps their whole past, so that a conversation can be cut back
    (engine/worker/kv_cache.py). Latent attention (DeepSeek) keeps one vector of kv_lora_rank + qk_rope_head_dim.
    """
    config = config if _layers(config) else _text_config(config)
    heads = _first(config, "num_attention_heads", "n_head", "num_heads", "n_heads")
    if not heads:
        return 0
    if config.get("multi_query") is True and config.get("new_decoder_architecture") is not True:
        kv_heads = 1  # Falcon, GPT-BigCode
    else:
        kv_heads = _first(config, "num_key_value_heads", "num_kv_heads", "multi_query_group_num") or heads
    size = _first(config, "head_dim", "kv_channels") or _first(config, "hidden_size", "n_embd", "d_model") // heads
    if latent := count(config.get("kv_lora_rank")):
        return _layers(config) * (latent + count(config.get("qk_rope_head_dim"))) * _KV_WIDTH
    return _layers(config) * 2 * kv_heads * size * _KV_WIDTH


def gguf_kv_bytes_per_token(metadata: Mapping[str, object], family: str) -> int:
    """The same from a GGUF header's metadata; 0 when it does not say."""

    def said(name: str) -> int:
        return count(metadata.get(f"{family}.{name}"))

    kv_heads = metadata.get(f"{family}.attention.head_count_kv", metadata.get(f"{family}.attention.head_count"))
    # One number for every layer, or a number for each: a layer without attention has none.
    heads_of_all = sum(map(count, kv_heads)) if isinstance(kv_heads, list) else said("block_count") * count(kv_heads)
    heads = said("attention.head_count")
    size = said("embedding_length") // heads if heads else 0
    key, value = said("attention.key_length") or size, said("attention.value_length") or size
    return heads_of_all * (key + value) * _KV_WIDTH


def _layers(config: Mapping[str, object]) -> int:
    """Layers that keep keys and values of their own."""
    kinds = config.get("layer_types")
    if isinstance(kinds, list) and kinds:
        layers = sum(kind not in _STATEFUL for kind in kinds if isinstance(kind, str))
    else:
        layers = _first(config, "num_hidden_layers", "n_layer", "num_layers", "n_layers")
    return max(0, layers - count(config.get("num_kv_shared_layers")))


def _text_config(config: Mapping[str, object]) -> Mapping[str, object]:
    return next((inner for key in _TEXT_CONFIGS if isinstance(inner := config.get(key), dict)), {})


def _first(config: Mapping[str, object], *names: str) -> int:
    return next((number for name in names if (number := count(config.get(name)))), 0)
