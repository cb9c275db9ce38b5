"""Where things stand in a TOML text. tomllib does not say; asking it about the text's beginnings does."""

from __future__ import annotations

import re
import tomllib
from collections.abc import Sequence


def key_lines(text: str, path: Sequence[str]) -> tuple[int, int] | None:
    """The first and last line, counted from 1, of the statement that brings the key `path` into the document.

    It begins at a line that names the key, such that all before it is TOML without the key, and ends where the text
    is TOML again. None when there is no such key, or its name is written with escapes.
    """
    lines = text.split("\n")
    for start, line in enumerate(lines):
        if path[-1] in line and _has(lines[:start], path) is False:
            for end in range(start + 1, len(lines) + 1):
                if (found := _has(lines[:end], path)) is not None:
                    if found:
                        return start + 1, end
                    break
    return None


def _has(lines: list[str], path: Sequence[str]) -> bool | None:
    """Whether the lines bring the key; None when they are no TOML."""
    try:
        value: object = tomllib.loads("\n".join(lines))
    except tomllib.TOMLDecodeError:
        return None
    for key in path:
        if not isinstance(value, dict) or key not in value:
            return False
        value = value[key]
    return True


def place(name: str, text: str, path: Sequence[str]) -> str:
    """ "config.toml, line 7" for the key `path`; without the line when that is not known."""
    lines = key_lines(text, path)
    return f"{name}, line {lines[0]}" if lines else name


def syntax_problem(name: str, error: tomllib.TOMLDecodeError) -> str:
    """A sentence for a text that is no TOML."""
    match = re.fullmatch(r"(?s)(.*) \(at (?:line (\d+), column \d+|(end of document))\)", str(error))
    if match is None:
        return f"{name}: {error}."
    what, line, _end = match.groups()
    return f"{name}, {f'line {line}' if line else 'at its end'}: {what}."
