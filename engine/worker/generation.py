"""The forward passes of a generation: the prompt in chunks, then one token at a time, stoppable between modules."""

from __future__ import annotations

import inspect
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn
from torch.nn.modules.module import register_module_forward_pre_hook
from transformers import PreTrainedModel
from transformers.cache_utils import DynamicCache
from transformers.pytorch_utils import Conv1D

from engine.worker.kv_cache import can_crop
from engine.worker.prefix_cache import Prefix
from engine.worker.threads import thread_budget

# A cancel is seen between modules, so a chunk is as large as the work of one module allows: 2 GFLOP take 40 ms on a
# slow pair of CPU cores (50 GFLOP/s), and a GPU needs large chunks to be busy at all.
_LARGEST_CHUNK = {"cpu": 256, "mps": 512, "cuda": 2048}
_SMALLEST_CHUNK = 32
_MODULE_FLOP = {"cpu": 2e9, "mps": 2e10, "cuda": 1e12}
# When one token takes longer than this, its modules are watched too; below, a check between tokens is enough.
_WATCHED_STEP_S = 0.03


class Interrupted(Exception):  # noqa: N818 (no error: the person stopped the generation)
    """The generation was cancelled within a forward pass. usable: the prefix is as it was before that pass."""

    def __init__(self, usable: bool) -> None:
        super().__init__()
        self.usable = usable


class _Stop(BaseException):
    """Leaves a forward pass. Not an Exception, so that no model's own error handling swallows it."""


class Reader:
    """Feeds tokens to a model, extending what its cache holds. Must run under torch.inference_mode.

    Not for use by two threads: the watch on modules is global while a forward pass runs.
    """

    def __init__(self, model: PreTrainedModel) -> None:
        self._threads = thread_budget(model)
        self.device: torch.device = model.device
        self._model = model
        accepted = inspect.signature(model.forward).parameters
        self._options = {"logits_to_keep": 1} if "logits_to_keep" in accepted else {}
        self._step_s = 0.0
        head = model.get_output_embeddings()  # works on one position only, however long the chunk
        linears = (module for module in model.modules() if isinstance(module, nn.Linear | Conv1D))
        self._largest_linear = max((module.weight.numel() for module in linears if module is not head), default=0)
        self._width = int(model.config.get_text_config(decoder=True).hidden_size)

    def read(
        self,
        prefix: Prefix,
        token_ids: Sequence[int],
        cancelled: Callable[[], bool],
        progress: Callable[[int], None],
    ) -> Tensor:
        """Read what follows the prefix in token_ids, and extend the prefix by it. Returns logits [vocabulary].

        progress is called after each chunk with the number of tokens held. Raises Interrupted soon after a cancel;
        the prefix then holds the chunks that were read whole.
        """
        if self._threads is not None:
            self._threads.begin()
        while (held := len(prefix.token_ids)) < len(token_ids):
            chunk = token_ids[held : held + self.chunk_length(held)]
            with self._watched(prefix, cancelled):
                logits = self._forward(prefix.cache, chunk)
            prefix.token_ids.extend(chunk)
            if len(prefix.token_ids) == len(token_ids):
                prefix.keep_logits(logits)
            progress(len(prefix.token_ids))
        return prefix.logits[len(token_ids)]

    def step(self, prefix: Prefix, token_id: int, cancelled: Callable[[], bool]) -> Tensor:
        """Read one more token. Returns logits [vocabulary]. Raises Interrupted when a token takes long."""
        begun = time.perf_counter()
        if self._step_s > _WATCHED_STEP_S:
            with self._watched(prefix, cancelled):
                logits = self._forward(prefix.cache, (token_id,))
        else:
            logits = self._forward(prefix.cache, (token_id,))
        self._step_s = time.perf_counter() - begun
        prefix.token_ids.append(token_id)
        return logits

    def chunk_length(self, held: int) -> int:
        """Tokens to read at once after `held` tokens: a power of two, so that no module works too long.

        A function of the model and the position alone, never of the clock: in 16 bits another division into chunks
        rounds otherwise, and the same seed would give another text.
        """
        kind = self.device.type
        length = _LARGEST_CHUNK[kind]
        while length > _SMALLEST_CHUNK:
            linear = 2 * length * self._largest_linear
            attention = 4 * length * (held + length) * self._width
            if max(linear, attention) <= _MODULE_FLOP[kind]:
                break
            length //= 2
        return length

    def _forward(self, cache: DynamicCache, token_ids: Sequence[int]) -> Tensor:
        if self._threads is not None:
            self._threads.adjust()
        ids = torch.tensor([token_ids], device=self.device)
        output = self._model(input_ids=ids, past_key_values=cache, use_cache=True, **self._options)
        # A copy: the chunk's logits would stay alive with this view of them.
        logits: Tensor = output.logits[0, -1].clone()
        return logits

    @contextmanager
    def _watched(self, prefix: Prefix, cancelled: Callable[[], bool]) -> Iterator[None]:
        """Ask before every module of the forward pass whether to go on; on a cancel, undo the pass in the cache."""

        def watch(module: nn.Module, arguments: object) -> None:
            if cancelled():
                raise _Stop

        handle = register_module_forward_pre_hook(watch)
        try:
            yield
            if self.device.type != "cpu":
                torch.accelerator.synchronize(self.device)  # or a cancel would wait for all that is queued
        except _Stop:
            usable = can_crop(prefix.cache)
            if usable:
                prefix.crop(len(prefix.token_ids))
            raise Interrupted(usable=usable) from None
        finally:
            handle.remove()
