"""The kinds of values a setting can have: what is allowed, in words, and how it is read from TOML and from text.

Plain classes: they are made before the first paint, and a dataclass costs more to define than to use.
"""

from __future__ import annotations

import math
import os
import re
from typing import Protocol


class Kind(Protocol):
    """Checks the values of one setting. `words` completes "must be ..."."""

    @property
    def words(self) -> str: ...

    def check(self, value: object) -> object:
        """The value as the setting holds it. Raises ValueError when it is not allowed."""
        ...

    def parse(self, text: str) -> object:
        """What a text from the environment or the command line stands for, still to be checked."""
        ...

    def to_toml(self, value: object) -> object:
        """The value as it is written to the file; None removes the key."""
        ...


class _Plain:
    """A kind whose text and TOML forms are the value itself."""

    def parse(self, text: str) -> object:
        return text

    def to_toml(self, value: object) -> object:
        return value


class Text(_Plain):
    """Any text, or text that a whole regular expression matches; then `words` says which."""

    def __init__(self, pattern: str = r"(?s:.*)", words: str = "a text") -> None:
        self.words = words
        self._pattern = pattern

    def check(self, value: object) -> str:
        if not isinstance(value, str) or not re.fullmatch(self._pattern, value):
            raise ValueError
        value.encode()  # a lone surrogate is no text: UnicodeEncodeError is a ValueError
        return value


class Choice(_Plain):
    """One of a few words."""

    def __init__(self, *values: str) -> None:
        self.words = f"{', '.join(values[:-1])} or {values[-1]}"
        self._values = values

    def check(self, value: object) -> str:
        if not isinstance(value, str) or value not in self._values:
            raise ValueError
        return value


class Number(_Plain):
    """A number between two bounds, both allowed; above_least: the lower one is not."""

    def __init__(self, least: float, most: float, *, above_least: bool = False) -> None:
        lower = f"above {least:g} and at most" if above_least else f"from {least:g} to"
        self.words = f"a number {lower} {most:g}"
        self._least, self._most, self._above_least = least, most, above_least

    def check(self, value: object) -> float:
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise ValueError
        if not self._least <= value <= self._most or (self._above_least and value == self._least):
            raise ValueError
        return float(value)

    def parse(self, text: str) -> object:
        return float(text)


class Whole(_Plain):
    """A whole number between two bounds. optional: None stands for "none", and for a key that is not in the file."""

    def __init__(self, least: int, most: int, *, optional: bool = False) -> None:
        self.words = f"a whole number from {least} to {most}{', or none' if optional else ''}"
        self._least, self._most, self._optional = least, most, optional

    def check(self, value: object) -> int | None:
        if value is None and self._optional:
            return None
        if isinstance(value, bool) or not isinstance(value, int) or not self._least <= value <= self._most:
            raise ValueError
        return value

    def parse(self, text: str) -> object:
        return None if self._optional and text == "none" else int(text)


class Paths:
    """A list of folders. In the environment they are separated as in PATH."""

    words = "a list of folders"

    def check(self, value: object) -> tuple[str, ...]:
        if not isinstance(value, list | tuple) or not all(isinstance(item, str) and item for item in value):
            raise ValueError
        return tuple(value)

    def parse(self, text: str) -> object:
        return [part for part in text.split(os.pathsep) if part]

    def to_toml(self, value: object) -> object:
        return list(self.check(value))


_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([KMGT]?)(i?)B?", re.IGNORECASE)


class ByteSize(_Plain):
    """A number of bytes, or a text like "12GiB", or "auto"."""

    words = 'a size such as "12GiB" or "800MiB", or "auto"'

    def check(self, value: object) -> str:
        if isinstance(value, int) and not isinstance(value, bool):
            value = str(value)
        if not isinstance(value, str):
            raise ValueError
        if value != "auto" and parse_size(value) <= 0:
            raise ValueError
        return value


def parse_size(text: str) -> int:
    """Bytes of "12GiB", "12 GB", "12g", "1.5GiB" or "1000". GiB and G are 2**30, GB is 10**9. Raises ValueError."""
    match = _SIZE.fullmatch(text.strip())
    if match is None:
        raise ValueError(f"not a size: {text}")
    number, unit, binary = match.groups()
    decimal = unit and not binary and text.strip().upper().endswith("B")
    scale = 1000 ** "KMGT".index(unit.upper()) * 1000 if decimal else _UNITS[unit.upper()]
    return int(float(number) * scale)
