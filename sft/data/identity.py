"""The name of a prepared set: a hash of everything that decides what is in it."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import msgspec

from engine.checkpoints.paths import full_path
from sft.data.sources import Source, corpus_of, files_of
from sft.errors import SftError

# To be raised when the same rows become other documents, or the files of a set mean something else.
VERSION = 2

_NAME_LENGTH = 32  # hexadecimal digits
_CHUNK = 4 << 20


class _Known(msgspec.Struct, frozen=True, array_like=True):
    size: int
    mtime_ns: int
    sha256: str


@dataclass(frozen=True, slots=True)
class DataFile:
    """A file as it was when it was hashed."""

    path: Path
    size: int
    mtime_ns: int
    sha256: str

    def changed(self) -> bool:
        try:
            now = self.path.stat()
        except OSError:
            return True
        return (now.st_size, now.st_mtime_ns) != (self.size, self.mtime_ns)


def hashed_files(sources: Sequence[Source], cache: Path, progress: Callable[[int, int], None]) -> list[list[DataFile]]:
    """The files of each source with their SHA-256.

    cache: a JSON file of hashes by path, size and time of change, so that large files are read once. progress: bytes
    hashed, and in all. Raises SftError.
    """
    known = _read_cache(cache)
    paths = [files_of(source) for source in sources]
    done = 0

    def more(count: int) -> None:
        nonlocal done
        done += count
        progress(done, total)

    try:
        total = sum(path.stat().st_size for each in paths for path in each)
        hashed = [[_hashed(path, known, more) for path in each] for each in paths]
    except OSError as error:
        raise SftError(f"{error.filename} cannot be read: {error.strerror}.", "Check the file.") from error
    _write_cache(cache, known)
    return hashed


def set_name(sources: Sequence[Source], files: Sequence[Sequence[DataFile]], parts: Sequence[object]) -> str:
    """parts: what else decides the documents, as JSON values."""
    described = []
    for source, its_files in zip(sources, files, strict=True):
        corpus = corpus_of(source)
        described.append(
            [
                corpus.name if corpus is not None else "",
                source.format,
                source.weight,
                source.cap,
                # Which rows a broken weight takes is drawn by the path (sft.data.mixing).
                source.path if source.weight % 1 else "",
                # What a file is read as depends on its name too.
                [[file.path.name, file.sha256] for file in its_files],
            ]
        )
    return hashlib.sha256(msgspec.json.encode([VERSION, described, parts])).hexdigest()[:_NAME_LENGTH]


def _hashed(path: Path, known: dict[str, _Known], more: Callable[[int], None]) -> DataFile:
    key = str(full_path(path))
    now = path.stat()
    entry = known.get(key)
    if entry is None or (entry.size, entry.mtime_ns) != (now.st_size, now.st_mtime_ns):
        entry = known[key] = _Known(now.st_size, now.st_mtime_ns, _sha256(path, more))
    return DataFile(path, entry.size, entry.mtime_ns, entry.sha256)


def _sha256(path: Path, more: Callable[[int], None]) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            more(len(chunk))
    return digest.hexdigest()


def _read_cache(path: Path) -> dict[str, _Known]:
    """What was hashed before; nothing where the file is absent or broken: then all is hashed again."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=dict[str, _Known])
    except (OSError, msgspec.DecodeError):
        return {}


def _write_cache(path: Path, known: dict[str, _Known]) -> None:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    # It saves time and nothing else, so a full disk is for whoever writes what matters.
    with suppress(OSError):
        temporary.write_bytes(msgspec.json.encode(known))
        temporary.replace(path)
