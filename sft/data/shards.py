"""Prepared sets on disk: token ids in files that every rank maps into memory, and which of them are trained.

NAME/                     a hash of everything that the set depends on (sft.data.prepare)
  meta.json               Meta
  shard-00000.tokens      ids of its documents one after the other: little-endian uint16, or uint32 where the
                          vocabulary is larger
  shard-00000.trained     for each of them 1 when it is trained, else 0: uint8
  shard-00000.documents   DOCUMENT records
  held_out                for each document of the set 1 when it is for evaluation: uint8
"""

from __future__ import annotations

import os
from bisect import bisect_right
from dataclasses import dataclass
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from typing import BinaryIO

import msgspec
import numpy as np
import numpy.typing as npt

from sft.data.histogram import Histogram
from sft.errors import SftError

# start: in tokens, from the shard's first. trained: how many of its tokens are. content: hash of the row's text.
DOCUMENT = np.dtype([("start", "<i8"), ("length", "<i4"), ("trained", "<i4"), ("content", "<u8")])
META = "meta.json"
HELD_OUT = "held_out"


class ShardSize(msgspec.Struct, frozen=True):
    documents: int
    tokens: int


class Place(msgspec.Struct, frozen=True):
    """Where a row stands, and what is said of it."""

    source: str
    line: int
    detail: str = ""


class Reason(msgspec.Struct, frozen=True):
    """Rows that something is to be said of. places: of the first few."""

    reason: str
    rows: int
    places: tuple[Place, ...]


class Meta(msgspec.Struct, frozen=True, kw_only=True):
    """What a set holds and what became of the rows it was made of.

    rows: those that were read and taken, each once, bad ones too. bad: by reason, those without a document. duplicates:
    rows left out because one before them says the same. dropped, cut, split: too long ones; a text without turns is
    split, not cut. documents and what follows: as often as weights repeat them. lengths: of rows before they were cut.
    noted: by reason, rows that were changed to keep them.
    """

    version: int
    max_length: int
    too_long: str
    vocabulary: int
    fingerprint: str
    documents: int
    tokens: int
    trained_tokens: int
    held_out: int
    shards: tuple[ShardSize, ...]
    rows: int
    duplicates: int
    cut: int
    split: int
    dropped: int
    bad: tuple[Reason, ...]
    noted: tuple[Reason, ...]
    lengths: Histogram

    @property
    def bad_rows(self) -> int:
        return sum(reason.rows for reason in self.bad)


def token_dtype(vocabulary: int) -> np.dtype[np.unsignedinteger]:
    """The narrowest type of ids below `vocabulary`."""
    return np.dtype("<u2" if vocabulary <= 1 << 16 else "<u4")


@dataclass(frozen=True, slots=True)
class _Shard:
    tokens: npt.NDArray[np.unsignedinteger]
    trained: npt.NDArray[np.bool_]
    documents: npt.NDArray[np.void]


class Prepared:
    """A prepared set. Opening it reads meta.json and the sizes of its files; the rest is mapped when asked for."""

    def __init__(self, path: Path, meta: Meta) -> None:
        self.path = path
        self.meta = meta
        self._dtype = token_dtype(meta.vocabulary)
        self._starts = [0, *accumulate(shard.documents for shard in meta.shards)]
        self._opened: dict[int, _Shard] = {}

    @classmethod
    def open(cls, path: Path) -> Prepared:
        """Raises SftError when there is no whole set at the path."""
        try:
            meta = msgspec.json.decode((path / META).read_bytes(), type=Meta)
            prepared = cls(path, meta)
            prepared._check_sizes()
        except (OSError, msgspec.DecodeError, ValueError) as error:
            raise SftError(
                f"{path} holds no whole prepared set: {error}.", "Delete the folder: the data is prepared anew."
            ) from None
        return prepared

    def __len__(self) -> int:
        return self.meta.documents

    @cached_property
    def lengths(self) -> npt.NDArray[np.int32]:
        """Tokens of each document, int32 [documents]."""
        return self._column("length", np.int32)

    @cached_property
    def trained_counts(self) -> npt.NDArray[np.int32]:
        """Trained tokens of each document, int32 [documents]."""
        return self._column("trained", np.int32)

    @cached_property
    def held_out(self) -> npt.NDArray[np.bool_]:
        """Whether each document is for evaluation, bool [documents]."""
        return np.fromfile(self.path / HELD_OUT, np.uint8).view(np.bool_)

    def document(self, index: int) -> tuple[npt.NDArray[np.unsignedinteger], npt.NDArray[np.bool_]]:
        """The token ids, uint16 or uint32, and whether each is trained: views of the files, not to be written to."""
        if not 0 <= index < len(self):
            raise IndexError(index)
        number = bisect_right(self._starts, index) - 1
        shard = self._shard(number)
        record = shard.documents[index - self._starts[number]]
        start = int(record["start"])
        end = start + int(record["length"])
        return shard.tokens[start:end], shard.trained[start:end]

    def _column(self, name: str, dtype: type[np.int32]) -> npt.NDArray[np.int32]:
        columns = [self._shard(number).documents[name] for number in range(len(self.meta.shards))]
        return np.concatenate([np.zeros(0, dtype), *columns])

    def _shard(self, number: int) -> _Shard:
        if number not in self._opened:
            name = shard_name(number)
            self._opened[number] = _Shard(
                np.memmap(self.path / f"{name}.tokens", self._dtype, "r"),
                np.memmap(self.path / f"{name}.trained", np.uint8, "r").view(np.bool_),
                np.memmap(self.path / f"{name}.documents", DOCUMENT, "r"),
            )
        return self._opened[number]

    def _check_sizes(self) -> None:
        """A file that was cut off would end the process that reads behind its end."""
        for number, shard in enumerate(self.meta.shards):
            check_shard(self.path, number, shard, self._dtype)
        if (self.path / HELD_OUT).stat().st_size != len(self):
            raise ValueError("held_out is of another size")


def shard_name(number: int) -> str:
    return f"shard-{number:05}"


def check_shard(directory: Path, number: int, shard: ShardSize, dtype: np.dtype[np.unsignedinteger]) -> None:
    """Raises OSError or ValueError unless its files are there in their sizes."""
    name = shard_name(number)
    sizes = {
        "tokens": shard.tokens * dtype.itemsize,
        "trained": shard.tokens,
        "documents": shard.documents * DOCUMENT.itemsize,
    }
    for ending, size in sizes.items():
        if (directory / f"{name}.{ending}").stat().st_size != size:
            raise ValueError(f"{name}.{ending} is of another size")


class ShardWriter:
    """Writes one shard; it counts once `close` has returned its size. Raises OSError."""

    def __init__(self, directory: Path, number: int) -> None:
        name = shard_name(number)
        self.number = number
        self.tokens = 0
        self._documents = 0
        self._files: list[BinaryIO] = [
            (directory / f"{name}.{ending}").open("wb") for ending in ("tokens", "trained", "documents")
        ]

    def write(self, ids: bytes, trained: bytes, documents: npt.NDArray[np.void]) -> None:
        """documents: DOCUMENT records of the ids; their starts are counted from the first of them."""
        documents = documents.copy()
        documents["start"] += self.tokens
        for file, content in zip(self._files, (ids, trained, documents.tobytes()), strict=True):
            file.write(content)
        self.tokens += len(trained)
        self._documents += len(documents)

    def close(self) -> ShardSize:
        """Flush everything to the disk."""
        for file in self._files:
            file.flush()
            os.fsync(file.fileno())
        self.abandon()
        return ShardSize(self._documents, self.tokens)

    def abandon(self) -> None:
        for file in self._files:
            file.close()
