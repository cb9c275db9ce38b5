"""Checkpoints to models in memory, refusing whatever would load wrongly or run code."""

from __future__ import annotations

import pickle
import time
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import torch
from safetensors import SafetensorError
from transformers import (
    AutoConfig,
    AutoModelForCausalLM,
    AutoTokenizer,
    GgufConfig,
    PreTrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)
from transformers.utils import logging as transformers_logging

from engine.errors import CheckpointNotFoundError, CheckpointRefusedError, EngineError
from engine.worker.adapters import Originals, merge, only_adds, take_out
from engine.worker.refusal import check_adapter, check_causal, check_model_directory, named

Progress = Callable[[str, int, int], None]

_REPORT_EVERY_S = 0.05
_LONGEST_REASON = 500
_STAGES = {
    "Loading weights": "reading weights",
    "Converting and de-quantizing GGUF tensors": "unpacking weights",
}
_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")
# What transformers, safetensors, torch and peft raise on files that are broken or do not fit each other.
_BROKEN = (
    OSError,
    ValueError,
    RuntimeError,
    LookupError,
    TypeError,
    AttributeError,
    ImportError,
    EOFError,
    pickle.UnpicklingError,
    SafetensorError,
)


@dataclass(frozen=True, slots=True)
class LoadedCheckpoint:
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    tokenizer_path: Path
    adapter: str | None
    notes: tuple[str, ...]
    base_notes: tuple[str, ...] = ()  # those that hold without the adapter as well
    originals: Originals | None = None  # what takes the adapter out again, where that was kept


def load_checkpoint(
    path: Path,
    base: Path | None,
    device: torch.device,
    dtype: torch.dtype,
    progress: Progress,
    spare: int = 0,
) -> LoadedCheckpoint:
    """The model in evaluation mode on the device, with its tokenizer; an adapter is merged into its base.

    path: a model directory, a GGUF file, or an adapter directory, for which base is the model's directory
    or GGUF file. spare: bytes that the base's own weights may take beside those an adapter made of them. Nothing is
    downloaded and no code of a checkpoint is run. Raises CheckpointNotFoundError, CheckpointRefusedError, MemoryError
    or torch.OutOfMemoryError.
    """
    is_adapter = (path / "adapter_config.json").is_file()
    model_path = path
    if is_adapter:
        check_adapter(path)
        if base is None:
            raise CheckpointRefusedError(
                f"{path.name} is an adapter and needs the model it was made for.",
                "Download its base model, or name the folder it is in.",
            )
        model_path = base
    if not model_path.exists():
        raise CheckpointNotFoundError(f"There is no {model_path}.", "Choose another checkpoint.")
    progress("reading the configuration", 0, 0)
    if model_path.is_dir():
        check_model_directory(model_path)
    tokenizer_path = _tokenizer_path(path if is_adapter else None, model_path)
    progress("reading the tokenizer", 0, 0)
    with refusing(tokenizer_path):
        tokenizer = _load_tokenizer(tokenizer_path)
    with refusing(model_path):
        model, model_notes = _load_model(model_path, device, dtype, progress)
    notes = tuple(model_notes)
    loaded = LoadedCheckpoint(model, tokenizer, tokenizer_path, None, notes, notes)
    return _with_adapter(loaded, path, model_path, progress, spare) if is_adapter else loaded


def exchange_adapter(
    loaded: LoadedCheckpoint, adapter: Path | None, base: Path, progress: Progress, spare: int
) -> LoadedCheckpoint:
    """The same model with another adapter in it, or with none; `loaded` is of no use any more.

    base: where the model was loaded from. spare: as `load_checkpoint` has it. Raises EngineError when the base's own
    weights were not or cannot be kept, and what `load_checkpoint` raises; see adapters.undone_on_failure.
    """
    if loaded.adapter is not None and loaded.originals is None:
        raise EngineError(f"The weights of {base.name} without {loaded.adapter} were not kept.")
    if adapter is not None:
        check_adapter(adapter)
        with refusing(adapter):
            if not only_adds(adapter):
                raise EngineError(f"The adapter {adapter.name} does more than to add to the weights of {base.name}.")
    tokenizer, tokenizer_path = loaded.tokenizer, _tokenizer_path(adapter, base)
    if tokenizer_path != loaded.tokenizer_path:
        progress("reading the tokenizer", 0, 0)
        with refusing(tokenizer_path):
            tokenizer = _load_tokenizer(tokenizer_path)
    take_out(loaded.originals or ())
    plain = LoadedCheckpoint(loaded.model, tokenizer, tokenizer_path, None, loaded.base_notes, loaded.base_notes)
    if adapter is None:
        return plain
    changed = _with_adapter(plain, adapter, base, progress, spare)
    if changed.originals is None:
        raise EngineError(f"The weights of {base.name} without {adapter.name} cannot be kept.")
    return changed


def _with_adapter(
    loaded: LoadedCheckpoint, adapter: Path, base: Path, progress: Progress, spare: int
) -> LoadedCheckpoint:
    progress("merging the adapter", 0, 0)
    with refusing(adapter):
        originals = merge(loaded.model, adapter, spare)
    note = f"the adapter {adapter.name} is merged into {base.name}"
    return replace(loaded, adapter=adapter.name, notes=(*loaded.base_notes, note), originals=originals)


def _tokenizer_path(adapter: Path | None, base: Path) -> Path:
    """An adapter's own tokenizer counts, where it brings one."""
    has_own = adapter is not None and all((adapter / name).is_file() for name in _TOKENIZER_FILES)
    return adapter if adapter is not None and has_own else base


def context_length(config: PreTrainedConfig) -> int:
    """Tokens the model was made for, 0 when the config does not say."""
    text = config.get_text_config(decoder=True)
    for name in ("max_position_embeddings", "n_positions", "n_ctx", "max_seq_len", "seq_length"):
        value = getattr(text, name, None)
        if isinstance(value, int) and value > 0:
            return value
    return 0


def _load_model(
    path: Path, device: torch.device, dtype: torch.dtype, progress: Progress
) -> tuple[PreTrainedModel, list[str]]:
    where, source = _location(path)
    config = AutoConfig.from_pretrained(where, trust_remote_code=False, local_files_only=True, **source)
    check_causal(config.to_dict(), config.model_type)
    # A config.json may name an attention kernel to fetch and run; which one is used is not its to say.
    config._attn_implementation = None
    quantization = {"quantization_config": GgufConfig(dequantize=True)} if source else {}
    progress("reading the GGUF file" if source else "opening the weights", 0, 0)
    with _reporting(progress):
        model, report = AutoModelForCausalLM.from_pretrained(
            where,
            config=config,
            dtype=dtype,
            device_map=None if device.type == "cpu" else {"": device},
            trust_remote_code=False,
            local_files_only=True,
            weights_only=True,
            output_loading_info=True,
            **source,
            **quantization,
        )
    if missing := sorted(report["missing_keys"]):
        # transformers fills them with random numbers and says so in a log.
        raise CheckpointRefusedError(
            f"{path.name} lacks tensors that its model needs: {named(missing)}.",
            "The download may be incomplete, or the config belongs to another model: download it again.",
        )
    unused = sorted(report["unexpected_keys"])
    return model.eval(), [f"not used by the model: {named(unused)}"] if unused else []


def _load_tokenizer(path: Path) -> PreTrainedTokenizerBase:
    where, source = _location(path)
    return AutoTokenizer.from_pretrained(where, trust_remote_code=False, local_files_only=True, **source)


def _location(path: Path) -> tuple[Path, dict[str, str]]:
    """The directory to load from, and the argument that names a GGUF file in it."""
    return (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})


@contextmanager
def refusing(path: Path) -> Iterator[None]:
    """What the libraries raise on broken files becomes a CheckpointRefusedError with the same words."""
    try:
        yield
    except torch.OutOfMemoryError:
        raise
    except _BROKEN as error:
        if "can't allocate memory" in str(error) or "out of memory" in str(error):
            raise MemoryError(str(error)) from error
        words = " ".join(str(error).split())
        raise CheckpointRefusedError(
            f"{path.name} could not be loaded: {type(error).__name__}: {words[:_LONGEST_REASON]}",
            "The log has the whole error. Download the checkpoint again, or choose another one.",
        ) from error


@contextmanager
def _reporting(progress: Progress) -> Iterator[None]:
    """transformers' progress bars call progress(stage, done, total) instead of drawing."""

    def bar(factory: object, args: tuple[Iterable[object], ...], options: dict[str, object]) -> _Bar:
        return _Bar(args[0] if args else options.get("iterable"), options, progress)

    previous = transformers_logging.set_tqdm_hook(bar)
    try:
        yield
    finally:
        transformers_logging.set_tqdm_hook(previous)


class _Bar(transformers_logging.EmptyTqdm):  # type: ignore[misc]
    """A tqdm that reports each item, twenty times a second at most."""

    def __init__(self, items: object, options: dict[str, object], progress: Progress) -> None:
        super().__init__()
        self._items = items if isinstance(items, Iterable) else ()
        total = options.get("total")
        if not isinstance(total, int):
            total = len(items) if isinstance(items, Sized) else 0
        self._total = total
        words = str(options.get("desc") or "reading weights").rstrip(". :")
        self._stage = _STAGES.get(words, words.lower())
        self._progress = progress
        self._reported_at = 0.0

    def __iter__(self) -> Iterator[object]:
        for done, item in enumerate(self._items, start=1):
            yield item
            now = time.monotonic()
            if now - self._reported_at >= _REPORT_EVERY_S or done == self._total:
                self._reported_at = now
                self._progress(self._stage, done, self._total)
