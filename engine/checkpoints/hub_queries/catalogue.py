"""The short list of models that are offered without a search; it is data, in catalogue.toml."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import msgspec


class Entry(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One model, as certain as can be without asking the Hub. about: a line. licence: the Hub's tag, empty where it is
    not certain. parameters: 0 where not certain. gated: the authors give access on request. problem: why it does not
    load, and what would."""

    id: str
    about: str
    licence: str = ""
    parameters: int = 0
    gated: bool = False
    problem: str = ""


class Group(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    title: str
    entries: tuple[Entry, ...]


class _Catalogue(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    groups: tuple[Group, ...]


@cache
def catalogue() -> tuple[Group, ...]:
    """HugChat's releases, small chat models, and the backbones of its model table."""
    content = Path(__file__).with_suffix(".toml").read_bytes()
    return msgspec.toml.decode(content, type=_Catalogue).groups
