"""One row of the library, and how rows are written down and read back.

Rows travel from the scan's child process and lie in the index, so both are told here, in one place. They are written
by Python's own json: names and paths that are no valid UTF-8 hold lone surrogates, which msgspec refuses.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import msgspec

from engine.checkpoints.model import Checkpoint

RowKind = Literal["model", "adapter", "gguf", "unfinished", "broken", "other"]
RowSource = Literal["starter", "cache", "folder", "run", "made"]


class Row(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line of the library: a checkpoint, or something else that takes up space below the cache.

    key: absolute path of what the row stands for (a snapshot's directory, a folder, a GGUF file, a run's checkpoint,
    the repository or file for the rest); unique in the library. name: what a person calls it; comes from outside and
    is never cleaned. checkpoint: of models, adapters and GGUF files, and of broken ones where something could be
    read. problem: why it is broken, unfinished or cannot be loaded, and what to do; of "other" rows, what they are.
    repository: the cache's directory ("models--org--name") that it belongs to, else "". refs: of a snapshot; empty
    when detached.

    size_bytes: allocated on disk as `du` counts, files shared with other rows included. own_bytes: of those, what no
    other row refers to: deleting this row alone frees so much. modified, used: seconds since the epoch, 0 when
    unknown. alias, note: the person's own (notes.py). lineage: names from the root to this one, base -> adapter ->
    merged; empty where nothing is known of its origin.
    """

    key: str
    name: str
    kind: RowKind
    source: RowSource
    checkpoint: Checkpoint | None = None
    problem: str = ""
    repository: str = ""
    refs: tuple[str, ...] = ()
    size_bytes: int = 0
    own_bytes: int = 0
    modified: float = 0.0
    used: float = 0.0
    alias: str = ""
    note: str = ""
    lineage: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Places:
    """Where the library looks: the Hugging Face cache, the program's data folder, folders the person added."""

    cache_dir: Path
    data_dir: Path
    folders: tuple[Path, ...] = ()


@dataclass(frozen=True, slots=True)
class Inventory:
    """Everything that a scan found.

    total_bytes: what all rows take up on disk, each file once. shared_bytes: the part of it that two rows or more
    refer to, so that total_bytes is shared_bytes and every row's own_bytes.
    """

    rows: tuple[Row, ...]
    shared_bytes: int
    total_bytes: int


def to_plain(value: object) -> Any:
    """Rows and what is made of them as dicts, lists, texts and numbers, for json."""
    return msgspec.to_builtins(value, enc_hook=_path_to_text)


def to_json(value: object) -> str:
    """One line of ASCII."""
    return json.dumps(to_plain(value), separators=(",", ":"))


def row_from_plain(value: object) -> Row:
    """The row that to_plain took apart. Raises msgspec.ValidationError for anything else."""
    return msgspec.convert(value, Row, dec_hook=_path_from_text)


def checkpoint_from_plain(value: object) -> Checkpoint:
    """The same for a checkpoint."""
    return msgspec.convert(value, Checkpoint, dec_hook=_path_from_text)


def _path_to_text(value: object) -> str:
    if isinstance(value, Path):
        return str(value)
    raise NotImplementedError(f"{type(value)} is not written down")


def _path_from_text(kind: type, value: object) -> object:
    if issubclass(kind, Path) and isinstance(value, str):
        return Path(value)
    raise NotImplementedError(f"{kind} is not read back")
