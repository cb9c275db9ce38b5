"""What a checkpoint is, from its config, headers and file names alone. Nothing of it is run or loaded."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from engine.checkpoints.card import CARD, read_card
from engine.checkpoints.chat_template_files import template_source
from engine.checkpoints.config_facts import CEILING, context_length, count, gguf_kv_bytes_per_token, kv_bytes_per_token
from engine.checkpoints.gguf_header import GgufHeader, read_gguf_header
from engine.checkpoints.model import Checkpoint, Fault, Source
from engine.checkpoints.native import architecture_problem, foreign_classes
from engine.checkpoints.provenance import PROVENANCE, read_provenance
from engine.checkpoints.reading import MissingError, UnreadableError, read_json_object, reason
from engine.checkpoints.weights import Weights, find_weights, measure_weights

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
_TARGETS = 64  # modules of an adapter that are named
_CARD_LOOKED_AT = 16 * 1024  # bytes of a model card in which its licence is looked for
_UNPACKED = ("F64", "F32", "F16", "BF16")


class _ProblemFoundError(Exception):
    """Why the checkpoint cannot be loaded and what to do. Never leaves this module."""

    def __init__(self, message: str, fault: Fault = "") -> None:
        super().__init__(message)
        self.fault = fault


class _Draft:
    """A Checkpoint being filled in: a problem that is found late keeps what was learnt before it."""

    def __init__(self, name: str, path: Path, source: Source) -> None:
        self.known = Checkpoint(name=name, path=path, kind="model", source=source)

    @property
    def path(self) -> Path:
        return self.known.path

    def learn(self, **facts: Any) -> None:
        """facts: fields of Checkpoint."""
        self.known = replace(self.known, **facts)

    def take(self, weights: Weights) -> None:
        self.learn(
            size_bytes=weights.size_bytes, parameters=weights.parameters, dtype=weights.dtype or self.known.dtype
        )


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
            raise _ProblemFoundError("It is neither a folder nor a GGUF file.", "foreign")
        else:
            raise _ProblemFoundError("There is nothing at this path.", "incomplete")
    except _ProblemFoundError as problem:
        draft.learn(problem=str(problem), fault=problem.fault)
    except UnreadableError as error:
        fault = "incomplete" if isinstance(error, MissingError) else "damaged"
        draft.learn(problem=f"{error}. Fetch or copy it again.", fault=fault)
    except UnicodeEncodeError:
        draft.learn(problem="Its path is not valid UTF-8. Rename the folder or file.", fault="damaged")
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        draft.learn(problem=f"It cannot be read: {reason(error)}.", fault="damaged")
    return draft.known


def _describe_directory(draft: _Draft) -> None:
    path = draft.path
    names = {entry.name for entry in path.iterdir()}
    if CARD in names:
        draft.learn(licence=read_card(path, _CARD_LOOKED_AT)[0].licence)
    if PROVENANCE in names:
        made, origins = read_provenance(path)
        draft.learn(made_by=made, made_from=origins)
    if "adapter_config.json" in names:
        _describe_adapter(draft)
        return
    config = read_json_object(path / "config.json")
    if config is None:
        _describe_without_config(draft, names)
        return
    quantization = config.get("quantization_config")
    packed = _text(quantization.get("quant_method")) if isinstance(quantization, dict) else ""
    draft.learn(
        family=_text(config.get("model_type")),
        context_length=context_length(config),
        dtype=_text(config.get("dtype")) or _text(config.get("torch_dtype")),
        licence=draft.known.licence or _text(config.get("license")),
        quantization=_quantization(quantization),
        kv_bytes_per_token=kv_bytes_per_token(config),
        remote_code=bool(foreign_classes(config)),
    )
    problem = architecture_problem(config)
    template = template_source(path)
    draft.learn(template_source=template, has_chat_template=bool(template))
    draft.take(measure_weights(find_weights(path), packed))
    if problem is not None:
        raise _ProblemFoundError(problem)
    if not names.intersection(_TOKENIZER_FILES):
        raise _ProblemFoundError(
            "It holds no tokenizer (tokenizer.json, tokenizer.model or vocab.json). Fetch or copy its tokenizer files.",
            "incomplete",
        )


def _describe_without_config(draft: _Draft, names: set[str]) -> None:
    ggufs = sorted(name for name in names if name.lower().endswith(".gguf"))
    if len(ggufs) == 1:
        draft.learn(path=draft.path / ggufs[0])
        _describe_gguf(draft)
    elif ggufs:
        shown = ", ".join(name[:_SHOWN] for name in ggufs[:4])
        raise _ProblemFoundError(f"It holds {len(ggufs)} GGUF files ({shown}). Name one of them.", "foreign")
    elif draft.path.name.startswith("models--"):
        raise _ProblemFoundError(
            "It is a repository of the Hugging Face cache. Name it by its id: "
            f"{draft.path.name.removeprefix('models--').replace('--', '/', 1)[:_SHOWN]}",
            "foreign",
        )
    else:
        raise _ProblemFoundError(
            "It holds no config.json and no GGUF file: no language model in transformers' format, or a "
            "download that did not finish.",
            "foreign",
        )


def _describe_adapter(draft: _Draft) -> None:
    draft.learn(kind="adapter")
    config = read_json_object(draft.path / "adapter_config.json") or {}
    template = template_source(draft.path)
    draft.learn(
        family=_text(config.get("peft_type")).lower(),
        base_name=_text(config.get("base_model_name_or_path"), shown=4096),
        template_source=template,
        has_chat_template=bool(template),
        adapter_method=_adapter_method(config),
        adapter_rank=count(config.get("r")),
        adapter_alpha=_number(config.get("lora_alpha")),
        adapter_targets=_targets(config.get("target_modules")),
    )
    draft.take(measure_weights(find_weights(draft.path, stem="adapter_model"), ""))
    if not draft.known.base_name:
        raise _ProblemFoundError(
            "Its adapter_config.json names no base model. Add base_model_name_or_path with the id or folder "
            "it was trained on.",
            "damaged",
        )


def _adapter_method(config: Mapping[str, object]) -> str:
    """PEFT's name of the method; of LoRA the variant, which config.json only sets a switch for."""
    method = _text(config.get("peft_type")).lower()
    if method == "lora":
        return next((name for name in ("dora", "rslora") if config.get(f"use_{name}") is True), method)
    return method


def _targets(value: object) -> tuple[str, ...]:
    """The modules that an adapter changes: a list of names, or one pattern."""
    if isinstance(value, list):
        return tuple(_text(name) for name in value[:_TARGETS] if isinstance(name, str))
    return (_text(value),) if isinstance(value, str) else ()


def _quantization(value: object) -> str:
    """ "gptq 4-bit" from config.json's quantization_config."""
    if not isinstance(value, dict):
        return ""
    method = _text(value.get("quant_method"))
    halves = {4: value.get("load_in_4bit") is True, 8: value.get("load_in_8bit") is True}
    bits = count(value.get("bits")) or next((width for width, chosen in halves.items() if chosen), 0)
    return f"{method} {bits}-bit".strip() if bits else method


def _describe_gguf(draft: _Draft) -> None:
    draft.learn(kind="gguf", size_bytes=draft.path.stat().st_size)
    split = _SPLIT_GGUF.search(draft.path.name)
    if split is not None and int(split[2]) > 1:
        raise _ProblemFoundError(
            f"It is part {int(split[1])} of {int(split[2])} of a split GGUF. Join the parts with "
            "llama-gguf-split --merge, then open the result."
        )
    header = read_gguf_header(draft.path)
    family = _text(header.metadata.get("general.architecture"))
    dtype = _gguf_dtype(header)
    template = "GGUF" if header.metadata.get("tokenizer.chat_template") else ""
    draft.learn(
        family=family,
        context_length=count(header.metadata.get(f"{family}.context_length")),
        parameters=sum(tensor.elements for tensor in header.tensors),
        template_source=template,
        has_chat_template=bool(template),
        dtype=dtype,
        quantization="" if dtype in _UNPACKED else dtype,
        licence=_text(header.metadata.get("general.license")) or draft.known.licence,
        kv_bytes_per_token=gguf_kv_bytes_per_token(header.metadata, family),
    )
    if not family or not header.tensors:
        raise _ProblemFoundError("It names no architecture or holds no tensors, so it is no model.", "foreign")
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


def _text(value: object, shown: int = _SHOWN) -> str:
    return value[:shown] if isinstance(value, str) else ""


def _number(value: object) -> float:
    number = isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < CEILING  # not NaN either
    return float(value) if number and isinstance(value, int | float) else 0.0
