"""What a row's details pane shows: files, model card, chat template, configuration; read when asked for."""

from __future__ import annotations

import json
from dataclasses import dataclass, field
from pathlib import Path

from engine.checkpoints.card import CARD, CARD_LIMIT, CardFacts, read_card
from engine.checkpoints.chat_template_files import template_source, template_text
from engine.checkpoints.gguf_header import read_gguf_header
from engine.checkpoints.library.occupied import followed, walk
from engine.checkpoints.library.rows import Row
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.reading import UnreadableError, read_json_object

MAX_FILES = 2_000
TEMPLATE_LIMIT = 200_000  # characters
_VALUE_LIMIT = 200  # characters of a value of the configuration
_ROWS = 80  # of the configuration

# What says most about a model, in the order shown. Of config.json under the names that families give them.
_CONFIG = (
    *("architectures", "model_type", "num_hidden_layers", "n_layer", "num_layers", "hidden_size", "n_embd"),
    *("num_attention_heads", "n_head", "num_key_value_heads", "head_dim", "intermediate_size", "vocab_size"),
    *("max_position_embeddings", "n_positions", "sliding_window", "layer_types", "rope_theta", "rope_scaling"),
    *("rope_parameters", "num_experts", "num_local_experts", "num_experts_per_tok", "tie_word_embeddings"),
    *("torch_dtype", "dtype", "quantization_config", "auto_map", "transformers_version"),
)
_ADAPTER_CONFIG = (
    *("peft_type", "base_model_name_or_path", "revision", "task_type", "r", "lora_alpha", "lora_dropout"),
    *("target_modules", "modules_to_save", "bias", "use_dora", "use_rslora", "rank_pattern", "alpha_pattern"),
    *("layers_to_transform", "num_virtual_tokens", "auto_mapping", "peft_version"),
)


@dataclass(frozen=True, slots=True)
class FileEntry:
    """path: below what the row stands for. size: its length in bytes, of what a link leads to; -1: nowhere."""

    path: str
    size: int


@dataclass(frozen=True, slots=True)
class Details:
    """Texts are from outside and not cleaned. notes: what was left out or could not be read, in words."""

    files: tuple[FileEntry, ...] = ()
    card: str = ""
    facts: CardFacts = field(default_factory=CardFacts)
    template: str = ""
    template_source: str = ""
    config: tuple[tuple[str, str], ...] = ()
    lineage: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()


def read_details(row: Row) -> Details:
    """Never raises for what lies on the disk. Reads megabytes at most: call it in a thread."""
    path, checkpoint = Path(row.key), row.checkpoint
    notes: list[str] = []
    files = _files(path, notes)
    if checkpoint is None:
        return Details(files=files, notes=tuple(notes))
    directory = path if checkpoint.path == path and checkpoint.kind != "gguf" else checkpoint.path.parent
    facts, card = read_card(directory)
    if any(file.path == CARD and file.size > CARD_LIMIT for file in files):
        notes.append(f"The model card is cut after {CARD_LIMIT // 1024} KiB.")
    source, template, config = "", "", dict[str, object]()
    try:
        if checkpoint.kind == "gguf":
            config = dict(read_gguf_header(checkpoint.path).metadata)
            source, template = "GGUF", str(config.pop("tokenizer.chat_template", ""))
        else:
            config = read_json_object(directory / _config_name(checkpoint)) or {}
            source, template = _template(checkpoint)
    except (UnreadableError, OSError) as error:
        notes.append(f"{error}.")
    if len(template) > TEMPLATE_LIMIT:
        notes.append(f"The chat template is cut after {TEMPLATE_LIMIT:,} of {len(template):,} characters.")
    return Details(
        files=files,
        card=card,
        facts=facts,
        template=template[:TEMPLATE_LIMIT],
        template_source=source if template else "",
        config=_summary(config, checkpoint),
        lineage=row.lineage,
        notes=tuple(notes),
    )


def _files(path: Path, notes: list[str]) -> tuple[FileEntry, ...]:
    found: list[FileEntry] = []
    top = str(path)
    for entry in walk(top):
        if entry.is_folder:
            continue
        if len(found) == MAX_FILES:
            notes.append(f"Only {MAX_FILES:,} of its files are listed.")
            break
        status = followed(entry.path) if entry.is_link else entry.status
        name = path.name if entry.path == top else entry.path[len(top) + 1 :]
        found.append(FileEntry(name, -1 if status is None else status.st_size))
    return tuple(sorted(found, key=lambda file: file.path))


def _config_name(checkpoint: Checkpoint) -> str:
    return "adapter_config.json" if checkpoint.kind == "adapter" else "config.json"


def _template(checkpoint: Checkpoint) -> tuple[str, str]:
    """Where the template lies and its text; an adapter without one uses its base's. Raises UnreadableError."""
    source = template_source(checkpoint.path)
    if source:
        return source, template_text(checkpoint.path, source)
    if checkpoint.base is None:
        return "", ""
    return "base", template_text(checkpoint.base, template_source(checkpoint.base))


def _summary(config: dict[str, object], checkpoint: Checkpoint) -> tuple[tuple[str, str], ...]:
    """What a configuration says, each value as one short text."""
    if checkpoint.kind == "gguf":
        chosen = sorted(config)[:_ROWS]
    else:
        chosen = [name for name in (_ADAPTER_CONFIG if checkpoint.kind == "adapter" else _CONFIG) if name in config]
    return tuple((name[:_VALUE_LIMIT], _shown(config[name])) for name in chosen)


def _shown(value: object) -> str:
    text = value if isinstance(value, str) else json.dumps(value)
    return text if len(text) <= _VALUE_LIMIT else f"{text[:_VALUE_LIMIT]}..."
