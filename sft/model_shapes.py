"""The sizes of a model that decide what training it takes, read from its config and the headers of its weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.checkpoints.config_facts import count
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.reading import SAFETENSORS_HEADER_LIMIT, UnreadableError, open_regular, read_json_object
from engine.checkpoints.weights import find_weights

ALL_LINEAR = "all-linear"
# Parts of the names of two-dimensional weights that no LoRA of all linear layers touches.
_NO_LINEAR = ("embed", "wte", "wpe", "lm_head", "word_embeddings", "shared", "norm")
_HIDDEN = ("hidden_size", "n_embd", "d_model", "word_embed_proj_dim")
_INNER = ("intermediate_size", "n_inner", "ffn_dim", "ffn_hidden_size")
_LAYERS = ("num_hidden_layers", "n_layer", "num_layers", "n_layers")
_HEADS = ("num_attention_heads", "n_head", "num_heads", "n_heads")


class _Tensor(msgspec.Struct):
    shape: list[int] = []


@dataclass(frozen=True, slots=True)
class ModelShape:
    """parameters, hidden, inner (of the feed-forward part), layers, heads, vocabulary: counts, 0 when unknown.

    gated: whether the feed-forward part multiplies two projections (LLaMA) instead of having one (GPT-2). linear:
    (name, inputs + outputs, inputs x outputs) of each linear layer; empty when the weights' headers do not tell.
    """

    parameters: int
    hidden: int
    inner: int
    layers: int
    heads: int
    vocabulary: int
    gated: bool
    linear: tuple[tuple[str, int, int], ...]


def read_shape(checkpoint: Checkpoint) -> ModelShape:
    """What the files of a model say; unknown counts are 0. Reads headers only."""
    try:
        config = read_json_object(checkpoint.path / "config.json") or {}
    except UnreadableError:
        config = {}
    inner_config = config.get("text_config")
    if isinstance(inner_config, dict):
        config = inner_config
    hidden = _first(config, _HIDDEN)
    linear = _linear_layers(checkpoint.path)
    gated = any("gate" in name for name, _, _ in linear) or config.get("hidden_act") in ("silu", "swish")
    return ModelShape(
        parameters=checkpoint.parameters or checkpoint.size_bytes // 2,
        hidden=hidden,
        inner=_first(config, _INNER) or 4 * hidden,
        layers=_first(config, _LAYERS),
        heads=_first(config, _HEADS),
        vocabulary=count(config.get("vocab_size")),
        gated=gated,
        linear=tuple(linear),
    )


def lora_parameters(shape: ModelShape, rank: int, targets: Sequence[str], *, dora: bool = False) -> int:
    """What LoRA adds: rank x (inputs + outputs) for each layer that it is put beside, with DoRA a magnitude an output.

    A target names the last parts of a layer's name, as in PEFT. Without the weights' headers it is estimated from the
    config for all linear layers.
    """
    if not shape.linear:
        feed_forward = (3 if shape.gated else 2) * (shape.hidden + shape.inner)
        return rank * shape.layers * (8 * shape.hidden + feed_forward)
    chosen = [
        entry
        for entry in shape.linear
        if ALL_LINEAR in targets or any(entry[0] == name or entry[0].endswith(f".{name}") for name in targets)
    ]
    magnitudes = sum(sides for _, sides, _ in chosen) // 2 if dora else 0
    return sum(rank * sides for _, sides, _ in chosen) + magnitudes


def linear_parameters(shape: ModelShape) -> int:
    """Weights of the linear layers, which is what 4 bits pack."""
    return sum(product for _, _, product in shape.linear) or shape.parameters - shape.vocabulary * shape.hidden


def _linear_layers(directory: Path) -> list[tuple[str, int, int]]:
    try:
        files = find_weights(directory)
    except (UnreadableError, OSError):
        return []
    layers = []
    for file in files:
        for name, shape in _shapes(file).items():
            if name.endswith(".weight") and len(shape) == 2 and not any(word in name for word in _NO_LINEAR):
                layers.append((name.removesuffix(".weight"), shape[0] + shape[1], shape[0] * shape[1]))
    return layers


def _shapes(file: Path) -> dict[str, list[int]]:
    """By name, the shape of each tensor in a safetensors file; none where it is another or a broken one."""
    if file.suffix != ".safetensors":
        return {}
    try:
        with open_regular(file) as opened:
            length = int.from_bytes(opened.read(8), "little")
            header = opened.read(length) if length <= SAFETENSORS_HEADER_LIMIT else b"{}"
        tensors = msgspec.json.decode(header, type=dict[str, _Tensor])
    except (UnreadableError, OSError, msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return {name: [abs(size) for size in tensor.shape] for name, tensor in tensors.items()}


def _first(config: Mapping[str, object], names: Sequence[str]) -> int:
    return next((number for name in names if (number := count(config.get(name)))), 0)
