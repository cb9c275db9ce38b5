"""Reads typed structs out of parsed TOML, so that every mistake is found at once and named with its place."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from typing import Annotated, Any, Literal, TypeVar, get_args, get_origin, get_type_hints

from msgspec import NODEFAULT, Meta, Struct, structs

S = TypeVar("S", bound=Struct)
_SHOWN = 60  # characters of a wrong value
_LISTED = 50  # problems


@dataclass(frozen=True, slots=True)
class Problem:
    """One mistake. place: the key ("training.learning_rate", "data.sources[1].path"), or where in the file."""

    place: str
    message: str

    def __str__(self) -> str:
        return f"{self.place}: {self.message}" if self.place else self.message


@dataclass(frozen=True, slots=True)
class FieldType:
    """kind: bool, int, float, str, Literal, tuple (of `item`) or Struct (then `item` is the class)."""

    name: str
    kind: object
    item: Any
    choices: tuple[object, ...]
    meta: Meta
    default: object


@cache
def fields_of(cls: type[Struct]) -> tuple[FieldType, ...]:
    """The fields of a struct, in the order in which it declares them."""
    hints = get_type_hints(cls, include_extras=True)
    return tuple(_field(field.name, hints[field.name], _default(field)) for field in structs.fields(cls))


def _default(field: structs.FieldInfo) -> object:
    if field.default_factory is not NODEFAULT:
        return field.default_factory()
    return field.default


def _field(name: str, hint: Any, default: object) -> FieldType:
    meta = Meta()
    if get_origin(hint) is Annotated:
        hint, meta = get_args(hint)
    origin = get_origin(hint)
    if origin is Literal:
        return FieldType(name, Literal, None, get_args(hint), meta, default)
    if origin is tuple:
        return FieldType(name, tuple, get_args(hint)[0], (), meta, default)
    if issubclass(hint, Struct):
        return FieldType(name, Struct, hint, (), meta, default)
    return FieldType(name, hint, None, (), meta, default)


def read_struct(cls: type[S], document: Mapping[str, object]) -> tuple[S, list[Problem]]:
    """The struct with what is right in the document, defaults elsewhere; and everything that is wrong.

    An entry of a list that lacks a field without a default is left out of the list.
    """
    reader = _Reader(cls)
    struct = reader.read(cls, document, "")
    assert struct is not None, "a whole document's class has defaults for all of its fields"
    problems = reader.problems
    more = len(problems) - _LISTED
    if more > 0:
        problems[_LISTED:] = [Problem("", f"and {more:,} more")]
    return struct, problems


class _Reader:
    """The problems found so far in one document. root: the class of the whole, for hints across sections."""

    def __init__(self, root: type[Struct]) -> None:
        self.problems: list[Problem] = []
        self._root = root

    def read(self, cls: type[S], table: Mapping[str, object], place: str) -> S | None:
        fields = {field.name: field for field in fields_of(cls)}
        values: dict[str, object] = {}
        for key in table:
            if key not in fields:
                self._problem(_joined(place, key), f"there is no such key{self._meant(cls, place, key)}")
        complete = True
        for name, field in fields.items():
            at = _joined(place, name)
            if name in table:
                try:
                    values[name] = self._value(field, table[name], at)
                except ValueError as error:
                    self._problem(at, str(error))
                    complete &= field.default is not NODEFAULT
            elif field.default is NODEFAULT:
                self._problem(at, "is missing")
                complete = False
        return cls(**values) if complete else None

    def _problem(self, place: str, message: str) -> None:
        self.problems.append(Problem(place, message))

    def _value(self, field: FieldType, value: object, place: str) -> object:
        """The value as the struct holds it. Raises ValueError, in words that follow the place."""
        if field.kind is Struct:
            if not isinstance(value, Mapping):
                raise ValueError(f"{quoted(value)} is no table")
            return self.read(field.item, value, place)
        if field.kind is tuple:
            return self._list(field, value, place)
        return check_scalar(field, value)

    def _list(self, field: FieldType, value: object, place: str) -> tuple[object, ...]:
        if not isinstance(value, list | tuple):
            raise ValueError(f"{quoted(value)} is no list")
        if field.meta.max_length is not None and len(value) > field.meta.max_length:
            raise ValueError(f"{len(value):,} entries are more than {field.meta.max_length:,}")
        entry = _field("", field.item, NODEFAULT)
        found = []
        for index, item in enumerate(value):
            at = f"{place}[{index}]"
            try:
                one = self._value(entry, item, at)
            except ValueError as error:
                self._problem(at, str(error))
            else:
                if one is not None:
                    found.append(one)
        return tuple(found)

    def _meant(self, cls: type[Struct], place: str, key: str) -> str:
        """What an unknown key was probably meant to be: a near one here, or one of another section."""
        here = [field.name for field in fields_of(cls)]
        near = get_close_matches(key[:200], here, n=1, cutoff=0.6)
        if near:
            return f"; did you mean {_joined(place, near[0])}?"
        elsewhere = {
            field.name: f"{section.name}.{field.name}"
            for section in fields_of(self._root)
            if section.kind is Struct
            for field in fields_of(section.item)
        }
        near = get_close_matches(key[:200], list(elsewhere), n=1, cutoff=0.75)
        return f"; did you mean {elsewhere[near[0]]}?" if near else ""


def check_scalar(field: FieldType, value: object) -> object:
    """The value as the field holds it. Raises ValueError, in words that follow the place."""
    if field.kind is Literal:
        # 1 == True and 16 == 16.0: the type has to be the same too.
        if not any(type(value) is type(choice) and value == choice for choice in field.choices):
            words = ", ".join(str(choice) for choice in field.choices)
            near = nearest(value, [str(choice) for choice in field.choices]) if isinstance(value, str) else ""
            raise ValueError(f"{quoted(value)} is none of: {words}{near}")
        return value
    if field.kind is bool:
        if not isinstance(value, bool):
            raise ValueError(f"{quoted(value)} is neither true nor false")
        return value
    if field.kind is str:
        return _text(field.meta, value)
    if field.kind is int:
        if isinstance(value, bool) or not isinstance(value, int):
            raise ValueError(f"{quoted(value)} is no whole number")
        _bounds(field.meta, value)
        return value
    if isinstance(value, bool) or not isinstance(value, int | float) or value != value:
        raise ValueError(f"{quoted(value)} is no number")
    _bounds(field.meta, value)
    return float(value)


def _text(meta: Meta, value: object) -> str:
    if not isinstance(value, str):
        raise ValueError(f"{quoted(value)} is no text")
    if "\x00" in value or any("\ud800" <= char <= "\udfff" for char in value):
        raise ValueError(f"{quoted(value)} holds a character that no file name or text may have")
    if meta.min_length and not value:
        raise ValueError("is empty")
    if meta.max_length is not None and len(value) > meta.max_length:
        raise ValueError(f"{len(value):,} characters are more than {meta.max_length:,}")
    if meta.pattern is not None and not re.fullmatch(meta.pattern, value):
        raise ValueError(f"{quoted(value)} is not of the form it has to be. {meta.description or ''}".rstrip())
    return value


def _bounds(meta: Meta, value: float) -> None:
    # Numbers of any length come out of TOML; comparing is exact, a conversion would overflow.
    if meta.le is not None and value > meta.le:
        raise ValueError(f"{quoted(value)} is above {meta.le:,g}")
    if meta.lt is not None and value >= meta.lt:
        raise ValueError(f"{quoted(value)} is not below {meta.lt:,g}")
    if meta.ge is not None and value < meta.ge:
        raise ValueError(f"{quoted(value)} is below {meta.ge:,g}")
    if meta.gt is not None and value <= meta.gt:
        raise ValueError(f"{quoted(value)} is not above {meta.gt:,g}")


def quoted(value: object) -> str:
    """A value as it may stand in an error: text in quotes, shortened visibly when it is long."""
    if isinstance(value, int) and not isinstance(value, bool) and abs(value) >= 10**_SHOWN:
        return f"a number of more than {_SHOWN} digits"  # Python refuses to print very long ones
    if isinstance(value, float) and not math.isfinite(value):
        return str(value)
    if isinstance(value, Mapping):
        return "a table"
    if isinstance(value, list | tuple):
        return f"a list of {len(value):,}"
    text = f'"{value}"' if isinstance(value, str) else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def nearest(word: str, known: Iterable[str]) -> str:
    """The end of a sentence about an unknown word: "; did you mean X?" when a known one is near, else ""."""
    near = get_close_matches(word[:200], list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]}?" if near else ""


def _joined(place: str, key: str) -> str:
    shown = key if len(key) <= _SHOWN else f"{key[:_SHOWN]}…"
    return f"{place}.{shown}" if place else shown


def replaced(struct: Struct, values: Mapping[str, object]) -> dict[str, object]:
    """The struct as plain tables and lists, with other values by place: {"training.learning_rate": 1e-4}."""
    document = plain(struct)
    for place, value in values.items():
        *sections, key = place.split(".")
        table: dict[str, Any] = document
        for section in sections:
            table = table.setdefault(section, {})
        table[key] = _plain_value(value)
    return document


def plain(struct: Struct) -> dict[str, Any]:
    """A struct as tables and lists of TOML's own types."""
    return {name: _plain_value(getattr(struct, name)) for name in struct.__struct_fields__}


def _plain_value(value: object) -> object:
    if isinstance(value, Struct):
        return plain(value)
    return [_plain_value(item) for item in value] if isinstance(value, tuple) else value
