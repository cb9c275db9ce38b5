"""The header of a GGUF file: metadata and tensor descriptions, read with every length bounded.

Format: https://github.com/ggml-org/ggml/blob/master/docs/gguf.md (versions 2 and 3, little-endian).
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from engine.checkpoints.reading import MIB, UnreadableError, file_size, open_regular, reason

MAX_ENTRIES = 65_536  # metadata entries, and tensors
MAX_ARRAY_STRINGS = 8_000_000  # of all arrays together; a vocabulary with its merges has about 500,000
MAX_TEXT = 64 * MIB  # of all strings that are kept
MAX_DIMENSIONS = 8
MAX_ARRAY_DEPTH = 4
SHORT_ARRAY = 1024  # numbers that are kept in any case: one a layer, not one a token

# The metadata value types, by the format's numbers; 8 is a string and 9 an array.
_SCALARS = {
    number: struct.Struct("<" + code)
    for number, code in ((0, "B"), (1, "b"), (2, "H"), (3, "h"), (4, "I"), (5, "i"), (6, "f"), (7, "?"))
} | {number: struct.Struct("<" + code) for number, code in ((10, "Q"), (11, "q"), (12, "d"))}
_STRING = 8
_ARRAY = 9

# ggml's tensor types: name, elements a block, bytes a block (ggml.h and ggml-common.h).
TENSOR_TYPES = {
    0: ("F32", 1, 4),
    1: ("F16", 1, 2),
    2: ("Q4_0", 32, 18),
    3: ("Q4_1", 32, 20),
    6: ("Q5_0", 32, 22),
    7: ("Q5_1", 32, 24),
    8: ("Q8_0", 32, 34),
    9: ("Q8_1", 32, 40),
    10: ("Q2_K", 256, 84),
    11: ("Q3_K", 256, 110),
    12: ("Q4_K", 256, 144),
    13: ("Q5_K", 256, 176),
    14: ("Q6_K", 256, 210),
    15: ("Q8_K", 256, 292),
    16: ("IQ2_XXS", 256, 66),
    17: ("IQ2_XS", 256, 74),
    18: ("IQ3_XXS", 256, 98),
    19: ("IQ1_S", 256, 50),
    20: ("IQ4_NL", 32, 18),
    21: ("IQ3_S", 256, 110),
    22: ("IQ2_S", 256, 82),
    23: ("IQ4_XS", 256, 136),
    24: ("I8", 1, 1),
    25: ("I16", 1, 2),
    26: ("I32", 1, 4),
    27: ("I64", 1, 8),
    28: ("F64", 1, 8),
    29: ("IQ1_M", 256, 56),
    30: ("BF16", 1, 2),
    34: ("TQ1_0", 256, 54),
    35: ("TQ2_0", 256, 66),
    39: ("MXFP4", 32, 17),
    40: ("NVFP4", 64, 36),
    41: ("Q1_0", 128, 18),
}

Value = str | int | float | bool | list["Value"]


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """shape: fastest dimension first, as the format has it. offset, size: bytes in the file."""

    name: str
    shape: tuple[int, ...]
    type_name: str  # "Q4_1"
    offset: int
    size: int

    @property
    def elements(self) -> int:
        count = 1
        for dimension in self.shape:
            count *= dimension
        return count


@dataclass(frozen=True, slots=True)
class GgufHeader:
    """metadata: scalars, strings and short arrays of numbers; other arrays where they were asked for. size_bytes: of
    the whole file.
    """

    metadata: dict[str, Value]
    tensors: tuple[GgufTensor, ...]
    size_bytes: int


def read_gguf_header(path: Path, *, keep_arrays: bool = False) -> GgufHeader:
    """Read the header of a GGUF file.

    keep_arrays: long arrays (the vocabulary, its merges) come back as lists instead of being skipped. Raises
    UnreadableError for whatever is wrong with the file, also when its tensors reach past its end.
    """
    try:
        with open_regular(path) as file:
            return _Reader(file, path.name, keep_arrays).header()
    except FileNotFoundError:
        raise UnreadableError(f"{path.name} is missing") from None
    except OSError as error:
        raise UnreadableError(f"{path.name} cannot be read: {reason(error)}") from error


class _Reader:
    """A cursor over the file's beginning, buffered so that half a million strings are skipped quickly."""

    def __init__(self, file: BinaryIO, name: str, keep_arrays: bool) -> None:
        self.file = file
        self.name = name
        self.keep_arrays = keep_arrays
        self.size = file_size(file)
        self.buffer = b""
        self.position = 0  # in the buffer
        self.base = 0  # file offset of the buffer's first byte
        self.strings_left = MAX_ARRAY_STRINGS
        self.text_left = MAX_TEXT

    def fail(self, what: str) -> UnreadableError:
        return UnreadableError(f"{self.name} is no whole GGUF file: {what}")

    def need(self, count: int) -> None:
        """Have count bytes after the cursor in the buffer; nothing is read that the file cannot hold."""
        if len(self.buffer) - self.position >= count:
            return
        self.base += self.position
        if count > self.size - self.base:
            raise self.fail("it ends inside its header")
        self.file.seek(self.base)
        self.buffer = self.file.read(max(count, MIB))
        self.position = 0
        if len(self.buffer) < count:
            raise self.fail("it ends inside its header")

    def unpack(self, layout: struct.Struct) -> int | float | bool:
        self.need(layout.size)
        (value,) = layout.unpack_from(self.buffer, self.position)
        self.position += layout.size
        result: int | float | bool = value
        return result

    def unsigned(self, layout_type: int) -> int:
        return int(self.unpack(_SCALARS[layout_type]))

    def string(self) -> str:
        length = self.unsigned(10)
        self.text_left -= length
        if self.text_left < 0:
            raise self.fail(f"a string claims {length:,} bytes")
        self.need(length)
        data = self.buffer[self.position : self.position + length]
        self.position += length
        return data.decode("utf-8", "replace")

    def skip(self, count: int) -> None:
        if count > self.size - self.base - self.position:
            raise self.fail("it ends inside its header")
        if count <= len(self.buffer) - self.position:
            self.position += count
            return
        self.base += self.position + count
        self.buffer = b""
        self.position = 0

    def skip_strings(self, count: int) -> None:
        # A vocabulary and its merges are half a million strings, so the loop has its variables at hand.
        length_of = _SCALARS[10].unpack_from
        buffer, position, end = self.buffer, self.position, len(self.buffer)
        for _ in range(count):
            if end - position < 8:
                self.position = position
                self.need(8)
                buffer, position, end = self.buffer, self.position, len(self.buffer)
            position += 8 + length_of(buffer, position)[0]
            if position > end:
                self.position = end
                self.skip(position - end)
                buffer, position, end = self.buffer, self.position, len(self.buffer)
        self.position = position

    def array(self, depth: int) -> list[Value]:
        if depth > MAX_ARRAY_DEPTH:
            raise self.fail("its arrays are nested too deeply")
        element = self.unsigned(4)
        count = self.unsigned(10)
        layout = _SCALARS.get(element)
        if layout is not None:
            if count * layout.size > self.size:
                raise self.fail(f"an array claims {count:,} elements")
            if not self.keep_arrays and count > SHORT_ARRAY:
                self.skip(count * layout.size)
                return []
            self.need(count * layout.size)
            start = self.position
            self.position += count * layout.size
            return [value for (value,) in layout.iter_unpack(self.buffer[start : self.position])]
        if element not in (_STRING, _ARRAY):
            raise self.fail(f"an array has elements of the unknown type {element}")
        self.strings_left -= count
        if self.strings_left < 0:
            raise self.fail(f"an array claims {count:,} elements")
        if element == _ARRAY:
            return [self.array(depth + 1) for _ in range(count)]
        if self.keep_arrays:
            return [self.string() for _ in range(count)]
        self.skip_strings(count)
        return []

    def value(self) -> Value:
        kind = self.unsigned(4)
        if kind == _STRING:
            return self.string()
        if kind == _ARRAY:
            return self.array(1)
        if kind not in _SCALARS:
            raise self.fail(f"a value has the unknown type {kind}")
        return self.unpack(_SCALARS[kind])

    def header(self) -> GgufHeader:
        self.need(4)
        if self.buffer[:4] != b"GGUF":
            raise self.fail("it does not begin with GGUF")
        self.position = 4
        version = self.unsigned(4)
        if version not in (2, 3):
            raise self.fail(f"format version {version} is not supported; versions 2 and 3 are")
        tensor_count = self.unsigned(10)
        entry_count = self.unsigned(10)
        if tensor_count > MAX_ENTRIES or entry_count > MAX_ENTRIES:
            raise self.fail(f"it claims {tensor_count:,} tensors and {entry_count:,} metadata entries")
        metadata: dict[str, Value] = {}
        for _ in range(entry_count):
            key = self.string()
            value = self.value()
            if self.keep_arrays or value or not isinstance(value, list):
                metadata[key] = value
        described = [self.tensor() for _ in range(tensor_count)]
        alignment = metadata.get("general.alignment", 32)
        if not isinstance(alignment, int) or not 0 < alignment <= MIB:
            raise self.fail("its alignment makes no sense")
        data_start = -(-(self.base + self.position) // alignment) * alignment
        tensors = tuple(
            GgufTensor(name, shape, type_name, data_start + offset, size)
            for name, shape, type_name, offset, size in described
        )
        end = max((tensor.offset + tensor.size for tensor in tensors), default=0)
        if end > self.size:
            raise UnreadableError(
                f"{self.name} is not whole: it has {self.size:,} bytes where its header describes {end:,}"
            )
        return GgufHeader(metadata, tensors, self.size)

    def tensor(self) -> tuple[str, tuple[int, ...], str, int, int]:
        name = self.string()
        dimensions = self.unsigned(4)
        if dimensions > MAX_DIMENSIONS:
            raise self.fail(f"a tensor claims {dimensions:,} dimensions")
        shape = tuple(self.unsigned(10) for _ in range(dimensions))
        kind = self.unsigned(4)
        if kind not in TENSOR_TYPES:
            raise self.fail(f"a tensor has the unknown type {kind}; the file may be newer than this program")
        type_name, block, block_bytes = TENSOR_TYPES[kind]
        elements = 1
        for dimension in shape:
            elements *= dimension
        return name, shape, type_name, self.unsigned(10), -(-elements // block) * block_bytes
