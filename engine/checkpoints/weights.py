"""The weight files of a checkpoint: which ones would be opened, whether all are here, how large they are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.reading import (
    INDEX_LIMIT,
    MissingError,
    UnreadableError,
    read_json_object,
    read_safetensors_header,
)

# safetensors' names of the floating-point types -> torch's.
_FLOATS = {
    "F64": "float64",
    "F32": "float32",
    "F16": "float16",
    "BF16": "bfloat16",
    "F8_E4M3": "float8_e4m3fn",
    "F8_E5M2": "float8_e5m2",
}
_PICKLE_STEMS = {"model": "pytorch_model", "adapter_model": "adapter_model"}


@dataclass(frozen=True, slots=True)
class Weights:
    """parameters: 0 when unknown (pickles, packed quantisation). dtype: the most frequent, as torch says."""

    size_bytes: int
    parameters: int = 0
    dtype: str = ""


def find_weights(directory: Path, stem: str = "model") -> list[Path]:
    """The weight files that would be loaded, in the order in which transformers looks for them.

    stem: "model", or "adapter_model" for a PEFT adapter. Safetensors come before pickles (.bin), one file
    before shards. Raises MissingError when there are none or when shards are missing, UnreadableError for an index
    that makes no sense.
    """
    pickle = _PICKLE_STEMS[stem]
    for single, index in (
        (f"{stem}.safetensors", f"{stem}.safetensors.index.json"),
        (f"{pickle}.bin", f"{pickle}.bin.index.json"),
    ):
        if (directory / single).is_file():
            return [directory / single]
        shards = _shards(directory / index)
        if shards is not None:
            return shards
    raise MissingError(
        f"It holds no weights ({stem}.safetensors or {pickle}.bin): the download did not finish, or it was "
        "published in another format"
    )


def _shards(index: Path) -> list[Path] | None:
    content = read_json_object(index, INDEX_LIMIT)
    if content is None:
        return None
    weight_map = content.get("weight_map")
    if not isinstance(weight_map, dict) or not weight_map:
        raise UnreadableError(f"{index.name} lists no weight files")
    names = {name if isinstance(name, str) else "" for name in weight_map.values()}
    if any(not name or set("/\\\0") & set(name) for name in names):
        raise UnreadableError(f"{index.name} names files outside the checkpoint's folder")
    shards = [index.parent / name for name in sorted(names)]
    missing = [shard.name for shard in shards if not shard.is_file()]
    if missing:
        shown = ", ".join(name[:80] for name in missing[:3]) + (", ..." if len(missing) > 3 else "")
        raise MissingError(f"{len(missing)} of {len(shards)} weight files are missing ({shown})")
    return shards


def measure_weights(files: Sequence[Path], packed: str) -> Weights:
    """Sum up weight files from their sizes and headers.

    packed: config.json's quant_method, which names the dtype where integers hold several weights each. Raises
    UnreadableError for a safetensors file that is broken or not whole.
    """
    if any(file.suffix != ".safetensors" for file in files):
        return Weights(sum(file.stat().st_size for file in files))
    headers = [read_safetensors_header(file) for file in files]
    size = sum(header.size_bytes for header in headers)
    floats: dict[str, int] = {}
    integers = 0
    for header in headers:
        for dtype, count in header.elements.items():
            if dtype in _FLOATS:
                floats[dtype] = floats.get(dtype, 0) + count
            else:
                integers += count
    total = sum(floats.values())
    if integers > total:
        return Weights(size, dtype=packed)
    return Weights(size, total, _FLOATS[max(floats, key=floats.__getitem__)] if floats else packed)
