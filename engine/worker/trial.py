"""A model tried once after loading: that it computes numbers, and that it remembers what it has read."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers import PreTrainedModel

from engine.errors import CheckpointRefusedError
from engine.worker.generation import Reader
from engine.worker.kv_cache import bytes_held, is_empty, new_cache
from engine.worker.prefix_cache import Prefix

_TOKENS = 8
# Of the logits' standard deviation. Rounding in bfloat16 makes up to 0.1; a model whose cache misses what was read
# before (Mamba, RWKV) is off by 0.6 and more.
_TOLERANCE = 0.3


def try_model(model: PreTrainedModel, reader: Reader) -> int:
    """Read a few tokens in parts and once at a stretch. Returns the bytes of KV cache that one token takes.

    Must run under torch.inference_mode. Raises CheckpointRefusedError when the logits are not finite or differ by more
    than rounding does: prompts are read in parts here, and such a model would write nonsense without a word.
    """
    token_ids = _token_ids(model)
    at_once = try_numbers(model)
    prefix = Prefix(new_cache(model.config))
    for length in (3, 7):
        reader.read(prefix, token_ids[:length], lambda: False, lambda done: None)
    in_parts = reader.step(prefix, token_ids[7], lambda: False).float()
    difference = float((at_once - in_parts).abs().max())
    if is_empty(prefix.cache) or difference > _TOLERANCE * float(at_once.std()):
        raise CheckpointRefusedError(
            f"Models of type {model.config.model_type} do not remember what they have read in parts.",
            "They are not supported; choose a checkpoint of a transformer family (LLaMA, Qwen, GPT-2, ...).",
        )
    return bytes_held(prefix.cache) // _TOKENS


def try_numbers(model: PreTrainedModel) -> Tensor:
    """Read a few tokens at a stretch. Returns the logits [vocabulary] after them, in float32.

    Must run under torch.inference_mode. Raises CheckpointRefusedError when they are not finite.
    """
    ids = torch.tensor([_token_ids(model)], device=model.device)
    logits: Tensor = model(input_ids=ids, use_cache=False).logits[0, -1].float()
    if not bool(torch.isfinite(logits).all()):
        raise CheckpointRefusedError(
            f"In {str(model.dtype).removeprefix('torch.')} this model's numbers overflow.", "Load it in float32."
        )
    return logits


def _token_ids(model: PreTrainedModel) -> list[int]:
    vocabulary = min(100, int(model.get_input_embeddings().weight.shape[0]))
    return [(7 * at + 3) % vocabulary for at in range(_TOKENS)]
