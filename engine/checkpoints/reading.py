"""Reads the small files of a checkpoint without trusting them: size, nesting, type and kind are bounded.

Everything here raises UnreadableError with words for a person, never anything else, for whatever lies on
disk.
"""

from __future__ import annotations

import json
import math
import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

MIB = 1024 * 1024
JSON_LIMIT = 16 * MIB
INDEX_LIMIT = 64 * MIB
# The format allows 100 MB; the largest header in the field, of a model of 92,000 tensors, is about 12 MB.
SAFETENSORS_HEADER_LIMIT = 32 * MIB
MAX_DIMENSIONS = 64  # of a tensor, as in torch: the product of a million would take hours


class UnreadableError(Exception):
    """A file of a checkpoint cannot be used. The message names the file and says why, without a full stop."""


class MissingError(UnreadableError):
    """A file that a checkpoint cannot do without is not there."""


_NO_WAIT = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_CLOEXEC", 0)
# Describing a checkpoint is not using it: its access time stays that of the last load.
_NO_TRACE = _NO_WAIT | getattr(os, "O_NOATIME", 0)


def open_regular(path: Path) -> BinaryIO:
    """Open a file for reading, and nothing but a file: a named pipe would block for ever.

    Raises FileNotFoundError when there is nothing, UnreadableError for anything else that fails.
    """
    try:
        try:
            descriptor = os.open(path, _NO_TRACE)
        except PermissionError:  # only a file's owner may leave no trace
            descriptor = os.open(path, _NO_WAIT)
    except FileNotFoundError:
        raise
    except (OSError, ValueError) as error:
        raise UnreadableError(f"{path.name} cannot be opened: {reason(error)}") from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise UnreadableError(f"{path.name} is not a regular file")
    return os.fdopen(descriptor, "rb")


def is_folder(path: Path) -> bool:
    """Whether it is a folder we can see. Path.is_dir raises where a link leads to what we may not look at."""
    try:
        return path.is_dir()
    except OSError:
        return False


def modified(path: Path) -> float:
    """When it was changed last, in seconds since the epoch; 0 for what is gone or hidden from us."""
    try:
        return path.lstat().st_mtime
    except OSError:
        return 0.0


def reason(error: OSError | ValueError) -> str:
    """Why a system call failed, without the path that the message already names."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def file_size(file: BinaryIO) -> int:
    return os.fstat(file.fileno()).st_size


def read_json_object(path: Path, limit: int = JSON_LIMIT) -> dict[str, object] | None:
    """The JSON object in a file; None when there is no such file.

    limit: bytes. NaN and Infinity are accepted, as Python writes them and some configs hold them. Raises
    UnreadableError.
    """
    data = read_whole(path, limit)
    return None if data is None else parse_json_object(path, data)


def read_whole(path: Path, limit: int) -> bytes | None:
    """All of a file, None when there is none. Raises UnreadableError, also for one of more than `limit` bytes."""
    try:
        with open_regular(path) as file:
            size = file_size(file)
            if size > limit:
                raise UnreadableError(f"{path.name} has {size:,} bytes, more than the {limit:,} expected at most")
            return file.read(limit)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise UnreadableError(f"{path.name} cannot be read: {reason(error)}") from error


def parse_json_object(path: Path, data: bytes) -> dict[str, object]:
    """The JSON object that was read from a file. Raises UnreadableError."""
    try:
        value = json.loads(data)
    except RecursionError:
        raise UnreadableError(f"{path.name} is nested too deeply") from None
    except ValueError as error:
        raise UnreadableError(f"{path.name} is not valid JSON: {error}") from error
    if not isinstance(value, dict):
        raise UnreadableError(f"{path.name} does not hold a JSON object")
    return value


# Bits an element, of the types that have a fixed number.
_DTYPE_BITS = {
    **dict.fromkeys(("F64", "I64", "U64", "C64"), 64),
    **dict.fromkeys(("F32", "I32", "U32"), 32),
    **dict.fromkeys(("F16", "BF16", "I16", "U16"), 16),
    **dict.fromkeys(("F8_E4M3", "F8_E5M2", "I8", "U8", "BOOL"), 8),
}


class _TensorEntry(msgspec.Struct):
    # "__metadata__" has none of these fields and passes as an entry without a dtype.
    dtype: str = ""
    shape: list[int] = []
    data_offsets: tuple[int, int] = (0, 0)


_header_decoder = msgspec.json.Decoder(dict[str, _TensorEntry])


@dataclass(frozen=True, slots=True)
class SafetensorsHeader:
    """elements: how many of each dtype, by the format's name ("BF16"). size_bytes: of the whole file."""

    elements: dict[str, int]
    size_bytes: int


def read_safetensors_header(path: Path) -> SafetensorsHeader:
    """The header of a safetensors file: 8 bytes of little-endian length, then JSON; no tensor is read.

    Raises UnreadableError, also when the file is shorter or longer than its header says.
    Format: https://huggingface.co/docs/safetensors
    """
    try:
        with open_regular(path) as file:
            size = file_size(file)
            length = int.from_bytes(file.read(8), "little")
            if size < 8 or length > size - 8:
                raise UnreadableError(
                    f"{path.name} is cut off or no safetensors file: its header claims {length:,} of {size:,} bytes"
                )
            if length > SAFETENSORS_HEADER_LIMIT:
                raise UnreadableError(
                    f"{path.name} has a header of {length:,} bytes; at most {SAFETENSORS_HEADER_LIMIT:,} are read"
                )
            data = file.read(length)
    except FileNotFoundError:
        raise MissingError(f"{path.name} is missing") from None
    except OSError as error:
        raise UnreadableError(f"{path.name} cannot be read: {reason(error)}") from error
    try:
        entries = _header_decoder.decode(data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise UnreadableError(f"{path.name} has a broken header: {error}") from error
    elements: dict[str, int] = {}
    end = 0
    for name, entry in entries.items():
        if not entry.dtype:
            continue
        if len(entry.shape) > MAX_DIMENSIONS:
            raise UnreadableError(
                f"{path.name} has a broken header: {name[:80]} claims {len(entry.shape):,} dimensions"
            )
        first, last = entry.data_offsets
        count = math.prod(entry.shape)
        bits = _DTYPE_BITS.get(entry.dtype)
        negative = first < 0 or (entry.shape and min(entry.shape) < 0)
        if negative or (bits is not None and count * bits != (last - first) * 8):
            raise UnreadableError(f"{path.name} has a broken header: the size of {name[:80]} makes no sense")
        elements[entry.dtype] = elements.get(entry.dtype, 0) + count
        if last > end:  # cheaper than max(), and a library holds a quarter of a million tensors
            end = last
    if 8 + length + end != size:
        raise UnreadableError(
            f"{path.name} is not whole: it has {size:,} bytes where its header describes {8 + length + end:,}"
        )
    return SafetensorsHeader(elements, size)
