"""What a checkpoint is, from its config, headers and file names alone. Nothing of it is run or loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.gguf_header import GgufHeader, read_gguf_header
from engine.checkpoints.model import Checkpoint, Kind, Source
from engine.checkpoints.native import architecture_problem
from engine.checkpoints.reading import UnreadableError, read_json_object, reason
from engine.checkpoints.weights import Weights, find_weights, measure_weights

_CONTEXT_KEYS = (
    "max_position_embeddings",
    "n_positions",
    "n_ctx",
    "seq_length",
    "max_sequence_length",
    "max_seq_len",
)
_TEXT_CONFIGS = ("text_config", "llm_config", "language_config")
_TOKENIZER_FILES = (
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
    "spiece.model",
    "sentencepiece.bpe.model",
    "tekken.json",
    "tiktoken.model",
)
_SPLIT_GGUF = re.compile(r"-(\d{5})-of-(\d{5})\.gguf$", re.IGNORECASE)
# general.file_type -> name, from llama.cpp's enum llama_ftype.
# fmt: off
GGUF_FILE_TYPES = {
    0: "F32", 1: "F16", 2: "Q4_0", 3: "Q4_1", 7: "Q8_0", 8: "Q5_0", 9: "Q5_1", 10: "Q2_K", 11: "Q3_K_S",
    12: "Q3_K_M", 13: "Q3_K_L", 14: "Q4_K_S", 15: "Q4_K_M", 16: "Q5_K_S", 17: "Q5_K_M", 18: "Q6_K",
    19: "IQ2_XXS", 20: "IQ2_XS", 21: "Q2_K_S", 22: "IQ3_XS", 23: "IQ3_XXS", 24: "IQ1_S", 25: "IQ4_NL",
    26: "IQ3_S", 27: "IQ3_M", 28: "IQ2_S", 29: "IQ2_M", 30: "IQ4_XS", 31: "IQ1_M", 32: "BF16", 36: "TQ1_0",
    37: "TQ2_0", 38: "MXFP4_MOE", 39: "NVFP4", 40: "Q1_0",
}
# fmt: on
_SHOWN = 80  # characters of a text from outside that a problem quotes
_CEILING = 2**40  # a count from outside above this is taken as unknown


class _ProblemFoundError(Exception):
    """Why the checkpoint cannot be loaded and what to do. Never leaves this module."""


@dataclass(slots=True)
class _Draft:
    """A Checkpoint being filled in: a problem that is found late keeps what was learnt before it."""

    name: str
    path: Path
    source: Source
    kind: Kind = "model"
    family: str = ""
    dtype: str = ""
    parameters: int = 0
    size_bytes: int = 0
    context_length: int = 0
    has_chat_template: bool = False
    base_name: str = ""
    problem: str | None = None

    def finished(self) -> Checkpoint:
        return Checkpoint(
            name=self.name,
            path=self.path,
            kind=self.kind,
            source=self.source,
            family=self.family,
            dtype=self.dtype,
            parameters=self.parameters,
            size_bytes=self.size_bytes,
            context_length=self.context_length,
            has_chat_template=self.has_chat_template,
            base_name=self.base_name,
            problem=self.problem,
        )

    def take(self, weights: Weights) -> None:
        self.size_bytes = weights.size_bytes
        self.parameters = weights.parameters
        self.dtype = weights.dtype or self.dtype


def describe(path: Path, name: str | None = None, source: Source = "folder") -> Checkpoint:
    """Describe the model directory, adapter directory or GGUF file at `path`. Never raises.

    name: what a person calls it; the last part of the path when None. A directory without config.json that
    holds one GGUF file is described as that file. Whatever is missing, broken or refused is the result's
    `problem`. An adapter's base is named but not looked for (see adapters.py).
    """
    path = path.absolute()
    draft = _Draft(path.name if name is None else name, path, source)
    try:
        str(path).encode()
        if path.is_dir():
            _describe_directory(draft)
        elif path.suffix.lower() == ".gguf":
            _describe_gguf(draft)
        elif path.exists():
            raise _ProblemFoundError("It is neither a folder nor a GGUF file.")
        else:
            raise _ProblemFoundError("There is nothing at this path.")
    except _ProblemFoundError as problem:
        draft.problem = str(problem)
    except UnreadableError as error:
        draft.problem = f"{error}. Fetch or copy it again."
    except UnicodeEncodeError:
        draft.problem = "Its path is not valid UTF-8. Rename the folder or file."
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        draft.problem = f"It cannot be read: {reason(error)}."
    return draft.finished()


def _describe_directory(draft: _Draft) -> None:
    path = draft.path
    names = {entry.name for entry in path.iterdir()}
    if "adapter_config.json" in names:
        _describe_adapter(draft)
        return
    config = read_json_object(path / "config.json")
    if config is None:
        _describe_without_config(draft, names)
        return
    draft.family = _text(config.get("model_type"))
    draft.context_length = context_length(config)
    draft.dtype = _text(config.get("dtype")) or _text(config.get("torch_dtype"))
    problem = architecture_problem(config)
    draft.has_chat_template = has_chat_template(path)
    quantization = config.get("quantization_config")
    packed = _text(quantization.get("quant_method")) if isinstance(quantization, dict) else ""
    files = find_weights(path)
    draft.take(measure_weights(files, packed))
    if problem is not None:
        raise _ProblemFoundError(problem)
    if not names.intersection(_TOKENIZER_FILES):
        raise _ProblemFoundError(
            "It holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json). Fetch or copy its tokenizer files."
        )


def _describe_without_config(draft: _Draft, names: set[str]) -> None:
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if len(ggufs) == 1:
        draft.path = draft.path / ggufs[0]
        _describe_gguf(draft)
    elif ggufs:
        shown = ", ".join(name[:_SHOWN] for name in ggufs[:4])
        raise _ProblemFoundError(f"It holds {len(ggufs)} GGUF files ({shown}). Name one of them.")
    elif draft.path.name.startswith("models--"):
        raise _ProblemFoundError(
            "It is a repository of the Hugging Face cache. Name it by its id: "
            f"{draft.path.name.removeprefix('models--').replace('--', '/', 1)[:_SHOWN]}"
        )
    else:
        raise _ProblemFoundError(
            "It holds no config.json and no GGUF file: no language model in transformers' format, or a "
            "download that did not finish."
        )


def _describe_adapter(draft: _Draft) -> None:
    draft.kind = "adapter"
    config = read_json_object(draft.path / "adapter_config.json") or {}
    draft.family = _text(config.get("peft_type")).lower()
    draft.base_name = _text(config.get("base_model_name_or_path"), shown=4096)
    draft.has_chat_template = has_chat_template(draft.path)
    draft.take(measure_weights(find_weights(draft.path, stem="adapter_model"), ""))
    if not draft.base_name:
        raise _ProblemFoundError(
            "Its adapter_config.json names no base model. Add base_model_name_or_path with the id or folder "
            "it was trained on."
        )


def _describe_gguf(draft: _Draft) -> None:
    draft.kind = "gguf"
    draft.size_bytes = draft.path.stat().st_size
    split = _SPLIT_GGUF.search(draft.path.name)
    if split is not None and int(split[2]) > 1:
        raise _ProblemFoundError(
            f"It is part {int(split[1])} of {int(split[2])} of a split GGUF. Join the parts with "
            "llama-gguf-split --merge, then open the result."
        )
    header = read_gguf_header(draft.path)
    family = _text(header.metadata.get("general.architecture"))
    draft.family = family
    draft.context_length = _count(header.metadata.get(f"{family}.context_length"))
    draft.parameters = sum(tensor.elements for tensor in header.tensors)
    draft.has_chat_template = bool(header.metadata.get("tokenizer.chat_template"))
    draft.dtype = _gguf_dtype(header)
    if not family or not header.tensors:
        raise _ProblemFoundError("It names no architecture or holds no tensors, so it is no model.")
    if "tokenizer.ggml.model" not in header.metadata:
        raise _ProblemFoundError("It holds no tokenizer: part of another model, not a language model of its own.")


def _gguf_dtype(header: GgufHeader) -> str:
    file_type = header.metadata.get("general.file_type")
    if isinstance(file_type, int) and file_type in GGUF_FILE_TYPES:
        return GGUF_FILE_TYPES[file_type]
    elements: dict[str, int] = {}
    for tensor in header.tensors:
        elements[tensor.type_name] = elements.get(tensor.type_name, 0) + tensor.elements
    return max(elements, key=elements.__getitem__, default="")


def context_length(config: Mapping[str, object]) -> int:
    """Tokens the model was built for, from a parsed config.json; 0 when it does not say."""
    for key in _CONTEXT_KEYS:
        if length := _count(config.get(key)):
            return length
    for key in _TEXT_CONFIGS:
        inner = config.get(key)
        if isinstance(inner, dict) and (length := context_length({k: inner.get(k) for k in _CONTEXT_KEYS})):
            return length
    return 0


def has_chat_template(directory: Path) -> bool:
    """Whether there is a chat_template.jinja, a chat_template.json or one in tokenizer_config.json."""
    if any((directory / name).is_file() for name in ("chat_template.jinja", "chat_template.json")):
        return True
    tokenizer = read_json_object(directory / "tokenizer_config.json")
    return tokenizer is not None and bool(tokenizer.get("chat_template"))


def _text(value: object, shown: int = _SHOWN) -> str:
    return value[:shown] if isinstance(value, str) else ""


def _count(value: object) -> int:
    whole = isinstance(value, int) and not isinstance(value, bool) and 0 < value < _CEILING
    return int(value) if whole and isinstance(value, int) else 0
