"""A run's weights as a standard directory, which the engine, transformers and peft load."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

from torch import Tensor

from engine.checkpoints.conversion import SHARD_BYTES
from engine.checkpoints.model import Checkpoint
from engine.worker.made_checkpoint import LICENCE_FILES, TOKENIZER_FILES, copy_files
from sft.config import Recipe
from sft.training.build import Built

_TEMPLATE = "chat_template.jinja"
_ADAPTER_CONFIG = "adapter_config.json"


def write_weights(built: Built, base: Checkpoint, template: str, directory: Path, state: dict[str, Tensor]) -> None:
    """Write adapter or model, tokenizer, chat template, generation settings and licence; on rank 0.

    state: of `Strategy.weights`, under the names of the model's own parameters. template: the one it was trained with.
    """
    if built.adapted is not None:
        built.adapted.save_pretrained(
            directory, state_dict=_with_prefix(built, state), save_embedding_layers=False, is_main_process=True
        )
        _name_base(directory, base)
        (directory / "README.md").unlink(missing_ok=True)  # peft's card, with blanks to fill in
    else:
        built.model.save_pretrained(directory, state_dict=state, max_shard_size=SHARD_BYTES)
    if built.tokenizer_path.is_dir():
        copy_files(built.tokenizer_path, directory, TOKENIZER_FILES)
    else:
        built.tokenizer.save_pretrained(directory)
    model_path = base.base or base.path
    if model_path.is_dir():
        copy_files(model_path, directory, re.compile(r"generation_config\.json"))
        copy_files(model_path, directory, LICENCE_FILES)
    (directory / _TEMPLATE).write_text(template, "utf-8")


def _with_prefix(built: Built, state: dict[str, Tensor]) -> dict[str, Tensor]:
    """Under the names that the PEFT model gives the same parameters."""
    assert built.adapted is not None
    names = {id(parameter): name for name, parameter in built.adapted.named_parameters()}
    return {names[id(parameter)]: state[name] for name, parameter in built.model.named_parameters() if name in state}


def _name_base(directory: Path, base: Checkpoint) -> None:
    """Name the base as a person does: the folder that it lies in here is another one elsewhere."""
    path = directory / _ADAPTER_CONFIG
    config: dict[str, Any] = json.loads(path.read_text("utf-8"))
    config["base_model_name_or_path"] = base.name if base.source in ("starter", "cache") else str(base.path)
    config["inference_mode"] = True
    path.write_text(json.dumps(config, indent=2, sort_keys=True) + "\n", "utf-8")


def card(
    name: str, recipe: Recipe, base: Checkpoint, metrics: dict[str, object], data: dict[str, object], command: str
) -> str:
    """The model card of a run's result: base, data, recipe and metrics. Names are put on one line each."""
    head = ["pipeline_tag: text-generation", "tags:", "- hugchat", f"- {recipe.method.kind}"]
    if re.fullmatch(r"[\w.+-]{1,60}", base.licence):
        head.append(f"license: {base.licence}")
    if re.fullmatch(r"[\w.-]+/[\w.-]+", base.name):
        head += ["base_model:", f"- {base.name}"]
    if recipe.method.kind == "lora":
        head.append("library_name: peft")
    method = recipe.method
    how = f"LoRA of rank {method.rank}, alpha {method.alpha:g}" if method.kind == "lora" else "all weights"
    lines = ["---", *head, "---", f"# {_line(name)}", ""]
    lines += [f"{_line(base.name)}, fine-tuned with HugChat ({how}).", "", "## Data", ""]
    lines += [f"- {_line(source.path)}" for source in recipe.data.sources]
    lines += ["", *(f"- {_line(key)}: {_line(str(value))}" for key, value in data.items())]
    lines += ["", "## Metrics", "", *(f"- {key}: {value}" for key, value in metrics.items())]
    lines += ["", "## Use", "", f"    {command}", "", "The whole recipe is in recipe.toml."]
    return "\n".join(lines) + "\n"


def _line(text: str) -> str:
    return " ".join(text.split())[:300]
