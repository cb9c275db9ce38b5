"""Which files of a repository are fetched: what loading the model needs, and no code."""

from __future__ import annotations

import re
from collections.abc import Sequence

from engine.checkpoints.hub_errors import FetchFailedError

_SMALL_FILES = re.compile(
    r"(config|generation_config|adapter_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|chat_template|tekken)\.json"
    r"|chat_template\.jinja|merges\.txt|vocab\.txt|[\w.-]+\.(model|tiktoken)|README\.md|LICEN[CS]E[\w.-]*"
)
# In the order in which they are preferred, as in weights.find_weights.
_WEIGHT_FILES = (
    re.compile(r"(adapter_)?model\.safetensors"),
    re.compile(r"(adapter_)?model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)"),
    re.compile(r"(pytorch_model|adapter_model)\.bin"),
    re.compile(r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)"),
)


def choose_files(names: Sequence[str], file: str) -> list[str]:
    """Which files of a repository to fetch: the one that was named, or what loading the model needs.

    Raises FetchFailedError when there is nothing that could be loaded.
    """
    if file:
        if file not in names:
            raise FetchFailedError(f"The repository has no file {file}.", _gguf_hint(names), "not-found")
        return [file]
    for pattern in _WEIGHT_FILES:
        weights = [name for name in names if pattern.fullmatch(name)]
        if weights:
            return [name for name in names if _SMALL_FILES.fullmatch(name)] + weights
    raise FetchFailedError("The repository holds no weights that can be loaded.", _gguf_hint(names), "unusable")


def _gguf_hint(names: Sequence[str]) -> str:
    ggufs = [name for name in names if name.endswith(".gguf") and "/" not in name]
    if not ggufs:
        return "Choose a repository with model.safetensors."
    return f"Name one of its GGUF files behind the id: {', '.join(ggufs[:8])}"
