"""What a deletion does to the rows that stay."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from engine.checkpoints.library.removal import Break


def told_apart(breaks: Iterable[Break]) -> tuple[list[Break], list[Break]]:
    """(what cannot be loaded any more, what goes on working and only could not be made again)."""
    found = list(breaks)
    unmade = [each for each in found if each.what.startswith("made from it")]
    return [each for each in found if each not in unmade], unmade
