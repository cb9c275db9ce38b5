"""A deletion in words: what it frees, what stays, and what it breaks."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from textual.content import Content

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, file_size, grouped, shorten
from hugchat_tui.common.tones import BAD, MUTED, STRONG, WARN
from hugchat_tui.library.breaking import told_apart

if TYPE_CHECKING:
    from engine.checkpoints.library.removal import Removal
    from engine.checkpoints.library.rows import Row

_MOST_LINES = 4  # of one kind
_NAME_CELLS = 46


def removal_title(removal: Removal) -> str:
    """The question above the dialog."""
    return f"Delete {_name(removal.rows[0]) if len(removal.rows) == 1 else counted(len(removal.rows), 'checkpoint')}?"


def removal_done(removal: Removal) -> str:
    """What was done, for a notice."""
    what = _name(removal.rows[0]) if len(removal.rows) == 1 else counted(len(removal.rows), "checkpoint")
    return f"Deleted {what}."


def removal_words(removal: Removal, loaded: Sequence[Row]) -> Content:
    """The body of the dialog. loaded: what a worker holds now."""
    lines: list[Content] = []
    if removal.rows:
        exact = f"{grouped(removal.freed_bytes)} bytes"
        lines.append(Content.assemble(("Frees ", ""), (file_size(removal.freed_bytes), STRONG), (f", {exact}.", "")))
        if removal.shared_bytes_kept:
            kept = file_size(removal.shared_bytes_kept)
            lines.append(Content.styled(f"{kept} stay, because something else needs these files too.", MUTED))
        if len(removal.rows) > 1:
            lines += _some((_name(row) for row in removal.rows), "", MUTED)
    broken, unmade = told_apart(removal.breaks)
    lines += _some((f"{_name(each.row)}: {clean_line(each.what)}" for each in broken), "Breaks ", BAD)
    lines += _some((f"{_name(each.row)}, {clean_line(each.what)}" for each in unmade), "Keeps ", MUTED)
    lines += _some((f"{_name(each.row)}: {clean_line(each.why)}" for each in removal.refuses), "Stays: ", WARN)
    lines += _some((clean_line(path.name) for path in removal.stays), "Left in your folder: ", MUTED)
    lines += _some((f"{_name(row)} is loaded now." for row in loaded), "", WARN)
    if removal.rows:
        lines += [Content(""), Content.styled("u brings it back until the app closes; then the space is free.", MUTED)]
    return Content("\n").join(lines)


def _some(texts: Iterable[str], before: str, style: str) -> list[Content]:
    """A line each for the first few, and how many more there are."""
    every = list(texts)
    lines = [Content.styled(f"{before}{text}", style) for text in every[:_MOST_LINES]]
    if len(every) > _MOST_LINES:
        lines.append(Content.styled(f"… and {len(every) - _MOST_LINES:,} more", style))
    return lines


def _name(row: Row) -> str:
    return shorten(clean_line(row.alias or row.name), _NAME_CELLS)
