"""One loaded checkpoint: what the worker's process side asks of the model side."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from pathlib import Path

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine import protocol
from engine.chat_templates.render import TemplateRenderer
from engine.errors import EngineError
from engine.worker.adapters import undone_on_failure
from engine.worker.devices import choose_device, choose_dtype, device_name
from engine.worker.generation import Reader
from engine.worker.kv_cache import new_cache
from engine.worker.loading import LoadedCheckpoint, context_length, exchange_adapter, load_checkpoint
from engine.worker.prefix_cache import PrefixCache
from engine.worker.prompt import PromptBuilder, chat_format
from engine.worker.reply import Emit, ReplyWriter
from engine.worker.trial import try_model, try_numbers
from engine.worker.warmup import warm_up

__all__ = ["Session", "warm_up"]

# How widespread chat formats end a turn. A checkpoint that has one as a special token means it, even where
# its generation_config forgets to say so.
_TURN_ENDS = ("<|im_end|>", "<|eot_id|>", "<end_of_turn>")
_UNSTATED_CONTEXT = 2048


class Session:
    """A model, its tokenizer and template, and the KV caches of its conversations. One thread."""

    def __init__(
        self,
        loaded: LoadedCheckpoint,
        path: Path,
        base: Path,
        device: torch.device,
        dtype_note: str,
        before: Session | None = None,
    ) -> None:
        """path: of what was loaded. base: of its model, the same unless that has an adapter in it. before: the session
        that had the model with another adapter.
        """
        model, tokenizer = loaded.model, loaded.tokenizer
        self._loaded = loaded
        self._base = base
        self._dtype_note = dtype_note
        self._renderer = TemplateRenderer()
        self._reader: Reader = Reader(model) if before is None else before._reader
        self._caches = PrefixCache(lambda: new_cache(model.config))
        template = chat_format(tokenizer)
        self._vocabulary = int(model.get_input_embeddings().weight.shape[0])
        context = context_length(model.config)
        notes = [dtype_note, *loaded.notes]
        if not context:
            context = _UNSTATED_CONTEXT
            notes.append(f"the config states no context length; {context:,} tokens are assumed")
        if template.kind == "hugchat":
            notes.append("the checkpoint has no chat template; HugChat's format is used")
        self._prompts = PromptBuilder(tokenizer, template, self._renderer, context)
        ends = end_ids(loaded.model, tokenizer)
        self._writer = ReplyWriter(self._reader, self._caches, tokenizer, template, ends, context)
        parameters = list(model.parameters())
        if before is None:
            kv_bytes_per_token = try_model(model, self._reader)
        else:
            try_numbers(model)
            kv_bytes_per_token = before.info.kv_bytes_per_token
        self.info: protocol.ModelInfo = protocol.ModelInfo(
            path=str(path),
            family=str(model.config.model_type),
            parameters=sum(parameter.numel() for parameter in parameters),
            weight_bytes=sum(parameter.nbytes for parameter in parameters),
            kv_bytes_per_token=kv_bytes_per_token,
            device=str(device),
            device_name=device_name(device),
            dtype=str(model.dtype).removeprefix("torch."),
            context_length=context,
            template=template.kind,
            adapter=loaded.adapter,
            kept_bytes=sum(weights.nbytes for _, weights in loaded.originals or ()),
            notes=tuple(notes),
        )

    @classmethod
    def load(cls, request: protocol.Load, progress: Callable[[str, int, int], None]) -> Session:
        """Load the checkpoint. progress takes a stage in words, done and total (0, 0: unknown).

        Raises CheckpointNotFoundError, CheckpointRefusedError, EngineError (no such device or dtype),
        MemoryError or torch.OutOfMemoryError.
        """
        device = choose_device(request.device)
        dtype, dtype_note = choose_dtype(request.dtype, device)
        path = Path(request.path)
        base = Path(request.base) if request.base is not None else None
        with torch.inference_mode():
            loaded = load_checkpoint(path, base, device, dtype, progress, request.spare)
            progress("trying the model", 0, 0)
            model_path = path if base is None or loaded.adapter is None else base
            return cls(loaded, path, model_path, device, dtype_note)

    def adapt(self, request: protocol.Adapt, progress: Callable[[str, int, int], None]) -> Session:
        """The same model with another adapter in it, or with none, as a new session; this one is closed.

        Raises what `load` raises, and EngineError when the base's own weights were not or cannot be kept; this session
        goes on as before then.
        """
        adapter = Path(request.adapter) if request.adapter is not None else None
        model = self._loaded.model
        with torch.inference_mode(), undone_on_failure(model):
            loaded = exchange_adapter(self._loaded, adapter, self._base, progress, request.spare)
            progress("trying the model", 0, 0)
            session = Session(loaded, adapter or self._base, self._base, model.device, self._dtype_note, before=self)
        self.close()
        return session

    def close(self) -> None:
        """Let go of the caches and end the render process. The weights go with the process."""
        self._caches.clear()
        self._renderer.close()

    def generate(
        self,
        request: protocol.Generate,
        emit: Emit,
        cancelled: Callable[[], bool],
        received_at: float,
    ) -> None:
        """Answer or continue, emitting Started, Prefilling, Piece and, last, Finished.

        received_at: time.perf_counter() when the request came. cancelled is asked between layers while the
        prompt is read and between tokens. Raises EngineError, QuestionTooLongError, TemplateError,
        MemoryError, torch.OutOfMemoryError; nothing of a failed generation stays in the cache.
        """
        begun = time.perf_counter()
        prompt = self._prompts.build(request.messages, request.sampling.max_new_tokens)
        if max(prompt.token_ids) >= self._vocabulary:
            raise EngineError(
                f"The tokenizer knows token {max(prompt.token_ids)}, the model only {self._vocabulary:,} tokens.",
                "The checkpoint's tokenizer and weights do not belong together; choose another checkpoint.",
            )
        with torch.inference_mode():
            self._writer.write(request, prompt, emit, cancelled, received_at, begun)


def end_ids(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    """Tokens that end a reply: what the generation config, the config and the tokenizer call end."""
    ends: set[int] = set()
    stated = [getattr(model.config, "eos_token_id", None), tokenizer.eos_token_id]
    if model.generation_config is not None:
        stated.append(model.generation_config.eos_token_id)
    for value in stated:
        if isinstance(value, Iterable):
            ends.update(int(each) for each in value)
        elif value is not None:
            ends.add(int(value))
    ends.update(
        token_id
        for token_id, token in tokenizer.added_tokens_decoder.items()
        if token.special and token.content in _TURN_ENDS
    )
    return frozenset(ends)
