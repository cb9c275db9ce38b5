"""Keys and values of the tokens a model has read, in buffers that grow and can be cut back to any length."""

from __future__ import annotations

import torch
from torch import Tensor
from transformers.cache_utils import (
    DummyLayer,
    DynamicCache,
    DynamicLayer,
    DynamicSlidingWindowLayer,
)

_STEP = 256  # tokens; capacities are multiples of it


class GrowingLayer(DynamicLayer):  # type: ignore[misc]
    """One layer's keys and values: views [batch, heads, tokens, head_dim] of buffers with room for more
    tokens.

    transformers' own layer copies everything at every token, which at 8,000 tokens costs more than the
    forward pass of a small model. Sliding-window attention gets this layer too: its mask looks back no
    further than its window, and a layer that forgot what left the window could not be cut back to an
    earlier turn.
    """

    _key_buffer: Tensor | None = None
    _value_buffer: Tensor | None = None

    def update(
        self, key_states: Tensor, value_states: Tensor, *args: object, **kwargs: object
    ) -> tuple[Tensor, Tensor]:
        """Append states [batch, heads, new tokens, head_dim]; returns all keys and all values."""
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        held: int = self.get_seq_length()
        total = held + key_states.shape[-2]
        self._key_buffer = _with_room(self._key_buffer, key_states, held, total)
        self._value_buffer = _with_room(self._value_buffer, value_states, held, total)
        self._key_buffer[..., held:total, :] = key_states
        self._value_buffer[..., held:total, :] = value_states
        self.keys = self._key_buffer[..., :total, :]
        self.values = self._value_buffer[..., :total, :]
        return self.keys, self.values

    @property
    def buffer_bytes(self) -> int:
        buffers = (self._key_buffer, self._value_buffer)
        return sum(buffer.nbytes for buffer in buffers if buffer is not None)


def _with_room(buffer: Tensor | None, states: Tensor, held: int, total: int) -> Tensor:
    """The buffer itself, or a longer one with the same first `held` tokens."""
    if buffer is not None and total <= buffer.shape[-2]:
        return buffer
    wanted = max(total, held + held // 2)
    capacity = -(-wanted // _STEP) * _STEP
    longer = torch.empty((*states.shape[:-2], capacity, states.shape[-1]), dtype=states.dtype, device=states.device)
    if buffer is not None:
        longer[..., :held, :] = buffer[..., :held, :]
    return longer


def new_cache(config: object) -> DynamicCache:
    """An empty cache for a model with this config (transformers' PreTrainedConfig)."""
    cache = DynamicCache(config=config)
    if not cache.layers:
        cache.layer_class_to_replicate = GrowingLayer
    cache.layers = [
        GrowingLayer() if type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) else layer for layer in cache.layers
    ]
    return cache


def can_crop(cache: DynamicCache) -> bool:
    """Whether the cache can be cut back: recurrent and other special layers keep no past."""
    return all(isinstance(layer, GrowingLayer | DummyLayer) for layer in cache.layers)


def crop(cache: DynamicCache, length: int) -> None:
    """Keep the first `length` tokens of every layer. Layers may hold different numbers of tokens, as they
    do after
    a forward pass that was broken off."""
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            excess = layer.get_seq_length() - length
            if excess > 0:
                layer.crop(-excess)


def cache_bytes(cache: DynamicCache) -> int:
    """Bytes that the cache occupies, spare room included."""
    total = 0
    for layer in cache.layers:
        if isinstance(layer, GrowingLayer):
            total += layer.buffer_bytes
        else:
            states = (getattr(layer, name, None) for name in ("keys", "values"))
            total += sum(state.nbytes for state in states if isinstance(state, Tensor))
    return total


def bytes_held(cache: DynamicCache) -> int:
    """Bytes of the keys and values that were read; recurrent states, whose size is fixed, do not count."""
    held = 0
    for layer in cache.layers:
        states = (getattr(layer, name, None) for name in ("keys", "values"))
        held += sum(state.nbytes for state in states if isinstance(state, Tensor))
    return held


def is_empty(cache: DynamicCache) -> bool:
    """Whether nothing was stored; after a forward pass, that the model keeps its past elsewhere or not at all."""
    return all(isinstance(layer, GrowingLayer) and not layer.is_initialized for layer in cache.layers)
