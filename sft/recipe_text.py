"""A recipe's TOML text: read without trusting it, and written with a comment above each key."""

from __future__ import annotations

import os
import re
import tempfile
import textwrap
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tomli_w
from msgspec import NODEFAULT, Struct

from engine.checkpoints.making import flush
from engine.checkpoints.reading import UnreadableError, read_whole
from sft.recipe_fields import FieldType, Problem, fields_of

_LIMIT = 1_000_000  # bytes of a recipe; they have a few thousand
_WIDTH = 110
_NO_BOUND = 10**5


def read_toml(source: Path | str) -> tuple[dict[str, Any], list[Problem]]:
    """The tables of a file or a text; what is wrong with it as TOML, at most one problem."""
    if isinstance(source, str):
        return _parsed(source)
    try:
        data = read_whole(source, _LIMIT)
    except UnreadableError as error:
        return {}, [Problem("", str(error))]
    if data is None:
        return {}, [Problem("", f"there is no file {source}")]
    try:
        return _parsed(data.decode("utf-8-sig"))
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return {}, [Problem(f"line {line}", "there is a byte that is not UTF-8 text: this is no recipe")]


def _parsed(text: str) -> tuple[dict[str, Any], list[Problem]]:
    if len(text) > _LIMIT:
        return {}, [Problem("", f"it has {len(text):,} characters, more than the {_LIMIT:,} of any recipe")]
    try:
        return tomllib.loads(text), []
    except RecursionError:
        return {}, [Problem("", "it is nested too deeply")]
    except ValueError as error:  # TOMLDecodeError is one; so is a number of more digits than Python reads
        match = re.fullmatch(r"(?s)(.*) \(at (?:(line \d+), column \d+|end of document)\)", str(error))
        message, place = (match[1], match[2] or "at its end") if match else (str(error), "")
        return {}, [Problem(place, f"this is no TOML: {message[0].lower()}{message[1:]}")]


def write_whole(path: Path, data: bytes) -> None:
    """Write a file so that it is whole or as before, also after a power cut. Raises OSError."""
    descriptor, temporary = tempfile.mkstemp(prefix=f".{path.name}-", dir=path.parent)
    try:
        with os.fdopen(descriptor, "wb") as file:
            os.fchmod(file.fileno(), 0o644)
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).replace(path)
    except BaseException:
        Path(temporary).unlink(missing_ok=True)
        raise
    flush(path.parent)


def to_toml(struct: Struct) -> str:
    """The whole struct: its own keys first, then a table for each section."""
    lines: list[str] = ["# A recipe for: hugchat sft run", ""]
    sections = []
    for field in fields_of(type(struct)):
        if field.kind is Struct:
            sections.append(field)
        else:
            lines += _entry(field, getattr(struct, field.name))
    for section in sections:
        purpose = (section.item.__doc__ or "").strip()
        lines += ["", f"# {purpose}", f"[{section.name}]"]
        for field in fields_of(section.item):
            lines += _entry(field, getattr(getattr(struct, section.name), field.name))
    return "\n".join(lines) + "\n"


def _entry(field: FieldType, value: object) -> Iterator[str]:
    yield from _comment(f"{field.meta.description} {allowed(field)}".rstrip())
    if field.kind is tuple and isinstance(field.item, type) and issubclass(field.item, Struct):
        for inner in fields_of(field.item):
            yield from _comment(f"{inner.name}: {inner.meta.description} {allowed(inner)}".rstrip(), indent="  ")
    yield f"{field.name} = {written(value)}"


def _comment(text: str, indent: str = "") -> Iterator[str]:
    yield from textwrap.wrap(
        text,
        _WIDTH,
        initial_indent=f"# {indent}",
        subsequent_indent=f"# {indent}",
        break_long_words=False,
        break_on_hyphens=False,
    )


def allowed(field: FieldType) -> str:
    """The bounds of a number, and the default: "[at least 1; default 8]"; empty when there is nothing to say."""
    meta = field.meta
    least = f"at least {meta.ge:,g}" if meta.ge is not None else f"above {meta.gt:,g}" if meta.gt is not None else ""
    most = f"at most {meta.le:,g}" if meta.le is not None else f"below {meta.lt:,g}" if meta.lt is not None else ""
    if (bound := meta.le if meta.le is not None else meta.lt) is not None and bound >= _NO_BOUND:
        most = ""  # it only keeps nonsense out
    said = " and ".join(filter(None, (least, most))) if meta.ge is None or meta.ge != meta.le else ""
    if field.default is not NODEFAULT:
        said += f"{'; ' if said else ''}default {written(field.default)}"
    return f"[{said}]" if said else ""


def written(value: object) -> str:
    """A value on one line of TOML, a list of tables on several."""
    if isinstance(value, tuple):
        if any(isinstance(item, Struct) for item in value):
            return "[\n" + "".join(f"    {written(item)},\n" for item in value) + "]"
        return f"[{', '.join(map(written, value))}]"
    if isinstance(value, Struct):
        keys = (f"{name} = {written(getattr(value, name))}" for name in value.__struct_fields__)
        return f"{{ {', '.join(keys)} }}"
    return tomli_w.dumps({"x": value}).removeprefix("x = ").rstrip("\n")
