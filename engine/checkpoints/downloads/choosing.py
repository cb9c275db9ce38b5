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


_PART = re.compile(r"(.+)-(\d{5})-of-(\d{5})\.gguf", re.IGNORECASE | re.DOTALL)  # as llama.cpp's gguf-split names it
_SHOWN = 8


def choose_files(names: Sequence[str], file: str) -> list[str]:
    """Which files of a repository to fetch: the one that was named, or what loading the model needs.

    file: a path in the repository; of a GGUF file that is split, any part, which stands for all. Raises
    FetchFailedError when there is nothing that could be loaded.
    """
    if file:
        parts = parts_of(file)
        missing = set(parts).difference(names)
        if not missing:
            return parts
        if file in names:
            message = f"The repository holds {len(parts) - len(missing)} of the {len(parts)} parts of {file}."
            raise FetchFailedError(message, _gguf_hint(names, file), "unusable")
        raise FetchFailedError(f"The repository has no file {file}.", _gguf_hint(names, file), "not-found")
    for pattern in _WEIGHT_FILES:
        weights = [name for name in names if pattern.fullmatch(name)]
        if weights:
            return [name for name in names if _SMALL_FILES.fullmatch(name)] + weights
    raise FetchFailedError("The repository holds no weights that can be loaded.", _gguf_hint(names), "unusable")


def parts_of(file: str) -> list[str]:
    """The parts of a split GGUF file, of which this is one, in their order; of any other file itself."""
    match = _PART.fullmatch(file)
    if match is None or not 0 < int(match[2]) <= int(match[3]):
        return [file]
    number_at, number_end = match.span(2)
    return [f"{file[:number_at]}{number:05}{file[number_end:]}" for number in range(1, int(match[3]) + 1)]


def _gguf_hint(names: Sequence[str], like: str = "") -> str:
    """like: a name, or a quantisation's; files whose names hold it come first."""
    ggufs = [name for name in names if name.lower().endswith(".gguf") and parts_of(name)[0] == name]
    if not ggufs:
        return "Choose a repository with model.safetensors."
    sought = like.rpartition("/")[2].lower().removesuffix(".gguf")
    ggufs.sort(key=lambda name: sought not in name.lower())
    more = f" and {len(ggufs) - _SHOWN} more" if len(ggufs) > _SHOWN else ""
    return f"Name one of its GGUF files behind the id: {', '.join(ggufs[:_SHOWN])}{more}"
