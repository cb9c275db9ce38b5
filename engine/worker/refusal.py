"""What a checkpoint's small files say before any of it is loaded, and what is refused because of it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers.models.auto.auto_mappings import CONFIG_MAPPING_NAMES
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_MAPPING_NAMES,
)

from engine.errors import CheckpointRefusedError

# The kinds of adapter that are weights beside the model's own. Prompt-learning kinds are not: some load a
# tokenizer named in their config.
ADAPTER_KINDS = frozenset(("LORA", "ADALORA", "IA3", "LOHA", "LOKR"))
_NAMED_TENSORS = 5


def named(tensors: Sequence[str]) -> str:
    """The first of some tensors, and how many more there are."""
    shown = ", ".join(tensors[:_NAMED_TENSORS])
    more = len(tensors) - _NAMED_TENSORS
    return f"{shown} and {more} more" if more > 0 else shown


def read_json(path: Path) -> dict[str, object]:
    """The object in a JSON file, {} when there is no file. Raises CheckpointRefusedError if it holds none."""
    if not path.is_file():
        return {}
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise CheckpointRefusedError(
            f"{path.name} of the checkpoint is no valid JSON: {error}.", "Download the checkpoint again."
        ) from None
    if not isinstance(value, dict):
        raise CheckpointRefusedError(
            f"{path.name} of the checkpoint holds no JSON object.", "Download the checkpoint again."
        )
    return value


def check_model_directory(directory: Path) -> None:
    """Raises CheckpointRefusedError unless the config names an architecture that is transformers' own and
    writes
    text from left to right."""
    if (directory / "adapter_config.json").is_file():
        raise CheckpointRefusedError(
            f"{directory.name} is an adapter, not a model.", "Choose the model that the adapter was made for."
        )
    config = read_json(directory / "config.json")
    if not config:
        raise CheckpointRefusedError(
            f"{directory.name} has no config.json.", "Choose a folder that holds a whole checkpoint."
        )
    family = str(config.get("model_type", ""))
    _check_code(config, family)
    tokenizer = read_json(directory / "tokenizer_config.json")
    _check_tokenizer_code(tokenizer)
    check_causal(config, family)


def check_causal(config: Mapping[str, object], family: str) -> None:
    """Raises CheckpointRefusedError unless a model of this config continues a text."""
    if family not in CONFIG_MAPPING_NAMES:
        raise CheckpointRefusedError(
            f"The installed transformers knows no model type {family!r}.",
            "Choose another checkpoint, or a GGUF or transformers version of this one.",
        )
    architectures = config.get("architectures") or ()
    names = [str(name) for name in architectures] if isinstance(architectures, list | tuple) else []
    own = MODEL_FOR_CAUSAL_LM_MAPPING_NAMES.get(family)  # Gemma 3's is called ...ForConditionalGeneration
    writes = any(name == own or name.lower().endswith(("forcausallm", "lmheadmodel")) for name in names)
    reads_both_ways = family in MODEL_FOR_MASKED_LM_MAPPING_NAMES and not config.get("is_decoder")
    if (
        family not in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
        or config.get("is_encoder_decoder")
        or (names and not writes)
        or reads_both_ways
    ):
        what = names[0] if names else family
        raise CheckpointRefusedError(
            f"This checkpoint is a {what}, which does not write text from left to right.",
            "Choose a checkpoint whose architecture ends in ForCausalLM or LMHeadModel.",
        )


def _check_code(config: Mapping[str, object], family: str) -> None:
    """Refuse an auto_map that names a class of the checkpoint's own.

    `THUDM/glm-2b` calls its type "glm", which transformers now means otherwise: the native class would be
    built and filled with the wrong tensors without a word.
    """
    auto_map = config.get("auto_map")
    if not isinstance(auto_map, dict):
        return
    native: set[str] = {CONFIG_MAPPING_NAMES.get(family, "")}
    for names in (MODEL_MAPPING_NAMES, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES):
        entry = names.get(family, ())
        native.update((entry,) if isinstance(entry, str) else entry)
    for role in ("AutoConfig", "AutoModel", "AutoModelForCausalLM", "AutoModelForSeq2SeqLM"):
        reference = auto_map.get(role)
        name = str(reference).rpartition(".")[2]
        if reference is not None and name not in native:
            raise CheckpointRefusedError(
                f"This checkpoint brings its own code: its auto_map names {reference}, which is not"
                f" transformers' own class for the model type {family!r}.",
                "No code from a checkpoint is run here. Choose a version converted to transformers' own"
                " classes (the name of its repository often ends in -hf), or a GGUF of it.",
            )


def _check_tokenizer_code(config: Mapping[str, object]) -> None:
    auto_map = config.get("auto_map")
    if isinstance(auto_map, dict):
        auto_map = auto_map.get("AutoTokenizer")
    if not isinstance(auto_map, list | tuple):
        return
    names = [str(reference).rpartition(".")[2] for reference in auto_map if reference is not None]
    import transformers

    exported = dir(transformers)
    if names and not any(name in exported for name in names):
        raise CheckpointRefusedError(
            f"This checkpoint's tokenizer is code of its own: its auto_map names {names[0]}.",
            "No code from a checkpoint is run here. Choose a version with a tokenizer.json, or a GGUF of it.",
        )


def check_adapter(directory: Path) -> None:
    """Raises CheckpointRefusedError unless the adapter is weights beside the model's own and no more."""
    config = read_json(directory / "adapter_config.json")
    kind = str(config.get("peft_type", "none"))
    if kind not in ADAPTER_KINDS:
        raise CheckpointRefusedError(
            f"{directory.name} is an adapter of kind {kind}, which is not supported.",
            f"Supported are: {', '.join(sorted(ADAPTER_KINDS))}.",
        )
    task = config.get("task_type")
    if task not in (None, "CAUSAL_LM"):
        raise CheckpointRefusedError(
            f"{directory.name} is an adapter for {task}, not for writing text.",
            "Choose an adapter whose task_type is CAUSAL_LM.",
        )
    if config.get("megatron_config"):
        raise CheckpointRefusedError(
            f"{directory.name} is an adapter for Megatron layers.",
            "Choose an adapter made with transformers.",
        )
