"""The front matter of a model card: a few facts out of README.md, read without a YAML library.

Format: https://huggingface.co/docs/hub/model-cards#model-card-metadata. Only what cards use of YAML for these facts is
understood: a scalar, a list in brackets, or a list of lines that begin with a dash, at the top level.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.reading import UnreadableError, open_regular

CARD = "README.md"
CARD_LIMIT = 512 * 1024  # bytes of a card that are read; the rest is left out
_FRONT_MATTER_LIMIT = 64 * 1024
_FENCE = re.compile(r"^---[ \t]*\r?$", re.MULTILINE)
_ENTRY = re.compile(r"([A-Za-z_]+):(?:[ \t]+(.*))?")
_ITEMS = 100  # of a list that are kept
_SHOWN = 200  # characters of each


@dataclass(frozen=True, slots=True)
class CardFacts:
    """What a card says of its model; nothing of it is checked or cleaned."""

    licence: str = ""
    base_models: tuple[str, ...] = ()
    datasets: tuple[str, ...] = ()
    languages: tuple[str, ...] = ()


def read_card(directory: Path, limit: int = CARD_LIMIT) -> tuple[CardFacts, str]:
    """The facts and the text, without the front matter, of the README.md in a directory; empty without one.

    limit: bytes of the file that are read. Never raises.
    """
    try:
        with open_regular(directory / CARD) as file:
            data = file.read(limit)
    except (OSError, UnreadableError):
        return CardFacts(), ""
    text = data.decode("utf-8", "replace").removeprefix("\ufeff")
    opening = _FENCE.match(text)
    closing = _FENCE.search(text, opening.end()) if opening else None
    if opening is None or closing is None:
        return CardFacts(), text
    return card_facts(text[opening.end() : closing.start()]), text[closing.end() :].lstrip("\r\n")


def card_facts(front_matter: str) -> CardFacts:
    """Facts from the text between a card's two fences."""
    entries = _entries(front_matter[:_FRONT_MATTER_LIMIT])

    def several(*names: str) -> tuple[str, ...]:
        return next((entries[name] for name in names if entries.get(name)), ())

    named = several("license", "licence")
    # "other" stands for a licence of the publisher's own, which has a name or at least an address.
    if named[:1] == ("other",):
        named = several("license_name", "license_link") or named
    return CardFacts(", ".join(named), several("base_model"), several("datasets"), several("language", "languages"))


def _entries(front_matter: str) -> dict[str, tuple[str, ...]]:
    entries: dict[str, list[str]] = {}
    items: list[str] | None = None
    for line in front_matter.splitlines():
        entry = _ENTRY.fullmatch(line.rstrip())
        if entry is not None:
            values = _values(entry[2] or "")
            entries[entry[1]] = values
            items = values if not any(values) else None  # what follows a value is not its list
        elif items is not None and line.lstrip().startswith("- ") and len(items) < _ITEMS:
            items.append(_scalar(line.lstrip()[2:]))
        elif line.strip() and not line.startswith((" ", "#")):
            items = None  # something of YAML that is not understood; its lines belong to no list
    return {name: tuple(value for value in values if value) for name, values in entries.items()}


def _values(text: str) -> list[str]:
    if text.startswith("[") and text.endswith("]"):
        return [_scalar(item) for item in text[1:-1].split(",", _ITEMS)[:_ITEMS]]
    return [_scalar(text)]


def _scalar(text: str) -> str:
    text = text.strip()
    if text[:1] in ('"', "'"):
        return text[1:].partition(text[0])[0][:_SHOWN]
    return text.partition(" #")[0].rstrip()[:_SHOWN]
