"""Writes a checkpoint's tokenizer as a ChatTokenizer, for the half of sft that does without transformers.

    python -m sft.training.tokenizer_facts PATH [--base PATH] [--template FILE|hugchat]

PATH: a model directory, a GGUF file, or an adapter directory, for which --base is the model's. One JSON document on
stdout: the ChatTokenizer, or {"error", "hint"} and exit status 1.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import traceback
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from engine.chat_templates import hugchat_template
from engine.errors import CheckpointNotFoundError, CheckpointRefusedError, EngineError
from sft.data.tokenizer import HUGCHAT_TEMPLATE, OWN_TEMPLATE, ChatTokenizer
from sft.errors import SftError

if TYPE_CHECKING:
    from transformers import PreTrainedTokenizerBase

_TOKENIZER_FILES = ("tokenizer_config.json", "tokenizer.json")


def tokenizer_facts(path: Path, base: Path | None = None, template: str = OWN_TEMPLATE) -> ChatTokenizer:
    """The tokenizer that a chat with the checkpoint uses (engine.worker.loading). template: as read_chat_tokenizer.

    Nothing is downloaded and no code of the checkpoint is run. Raises EngineError.
    """
    from engine.worker.loading import refusing
    from engine.worker.refusal import check_adapter, check_model_directory

    is_adapter = (path / "adapter_config.json").is_file()
    model = path
    if is_adapter:
        check_adapter(path)
        if base is None:
            raise CheckpointRefusedError(
                f"{path.name} is an adapter and needs the model it was made for.", "Download its base model."
            )
        model = base
    if not model.exists():
        raise CheckpointNotFoundError(f"There is no {model}.", "Choose another checkpoint.")
    if model.is_dir():
        check_model_directory(model)
    has_own = is_adapter and all((path / name).is_file() for name in _TOKENIZER_FILES)
    source = path if has_own else model
    with refusing(source):
        tokenizer = _load(source)
        return chat_tokenizer(tokenizer, template)


def chat_tokenizer(tokenizer: PreTrainedTokenizerBase, template: str = OWN_TEMPLATE) -> ChatTokenizer:
    """A loaded tokenizer as a ChatTokenizer. Raises SftError."""
    from engine.worker.encoding import PromptEncoder
    from engine.worker.prompt import chat_format

    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None:
        raise SftError(
            "This checkpoint's tokenizer is one that only transformers can run.",
            "Choose a version of the checkpoint that has a tokenizer.json.",
        )
    own = chat_format(tokenizer)
    text, kind = own.template, own.kind
    if template == HUGCHAT_TEMPLATE:
        text, kind = hugchat_template(), "hugchat"
    elif template != OWN_TEMPLATE:
        text, kind = _read_template(Path(template)), "checkpoint"
    added = tokenizer.added_tokens_decoder
    return ChatTokenizer(
        tokenizer_json=backend.to_str(),
        template=text,
        template_kind=kind,
        variables={name: str(token) for name, token in tokenizer.special_tokens_map.items() if isinstance(token, str)},
        special=tuple(
            (token.content, token_id, token.lstrip, token.rstrip)
            for token_id, token in added.items()
            if token.special and token.content
        ),
        opening_ids=tuple(PromptEncoder(tokenizer).opening_ids),
        eos_id=tokenizer.eos_token_id,
        vocabulary=max([len(tokenizer), *(token_id + 1 for token_id in added)]),
    )


def _load(path: Path) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    where, source = (path, {}) if path.is_dir() else (path.parent, {"gguf_file": path.name})
    return AutoTokenizer.from_pretrained(where, trust_remote_code=False, local_files_only=True, **source)


def _read_template(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise SftError(
            f"The chat template {path} could not be read: {error}.",
            "Name a Jinja file, or hugchat, or leave the template empty for the checkpoint's own.",
        ) from None


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m sft.training.tokenizer_facts")
    parser.add_argument("path", type=Path)
    parser.add_argument("--base", type=Path)
    parser.add_argument("--template", default=OWN_TEMPLATE)
    asked = parser.parse_args()
    # What libraries print goes to stderr: stdout is for the one document.
    out = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    try:
        answer, status = msgspec.json.encode(tokenizer_facts(asked.path, asked.base, asked.template)), 0
    except EngineError as error:
        if error.__cause__ is not None:
            traceback.print_exc()
        answer, status = json.dumps({"error": error.message, "hint": error.hint}).encode(), 1
    with out:
        out.write(answer + b"\n")
    return status


if __name__ == "__main__":
    sys.exit(main())
