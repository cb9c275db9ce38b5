"""What runs are sorted, filtered and shown by."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import duration, file_size
from hugchat_tui.common.tones import ACCENT, BAD, GOOD, MUTED, WARN
from hugchat_tui.monitor.rows import RunRow
from hugchat_tui.sft_text import loss_text

MARKS = {
    "created": ("◌", MUTED),
    "preparing": ("◔", ACCENT),
    "running": ("●", GOOD),
    "paused": ("‖", WARN),
    "done": ("✓", GOOD),
    "stopped": ("■", MUTED),
    "failed": ("✕", BAD),
    "killed": ("✕", BAD),
    "crashed": ("✕", BAD),
}
"""By a run's state: a glyph and its tone."""

_ORDER = ("running", "paused", "preparing", "crashed", "failed", "killed", "stopped", "created", "done")
_CONDITION = re.compile(r"(state|base|data|tag|method|name):(.+)")


@dataclass(frozen=True, slots=True)
class RunColumn:
    """One order of the list. value: what is sorted by; None stands last. descending: the usual way round."""

    id: str
    title: str
    value: Callable[[RunRow], float | str | None]
    descending: bool = False


RUN_COLUMNS: tuple[RunColumn, ...] = (
    RunColumn("state", "state", lambda row: _ORDER.index(row.status.state)),
    RunColumn("name", "name", lambda row: row.name.lower()),
    RunColumn("best", "best evaluation", lambda row: row.best[1] if row.best is not None else None),
    RunColumn("base", "base", lambda row: row.base.lower() or None),
    RunColumn("data", "data", lambda row: row.data.lower() or None),
    RunColumn("duration", "duration", lambda row: row.duration_s() or None, descending=True),
    RunColumn("size", "size", lambda row: row.size_bytes or None, descending=True),
    RunColumn("begun", "begun", lambda row: row.begun_at or None, descending=True),
)


def in_order(rows: Sequence[RunRow], column: RunColumn, *, reverse: bool) -> list[RunRow]:
    """Sorted by a column, those without a value last either way; of equals the newest first."""
    newest = sorted(rows, key=lambda row: (-row.begun_at, row.name))
    known = [row for row in newest if column.value(row) is not None]
    known.sort(key=lambda row: _key(column.value(row)), reverse=column.descending != reverse)
    return known + [row for row in newest if column.value(row) is None]


def _key(value: float | str | None) -> tuple[float, str]:
    return (0.0, value) if isinstance(value, str) else (value if value is not None else 0.0, "")


def matches(row: RunRow, text: str) -> bool:
    """Whether every word of a filter occurs in what is known of a run; `state:failed` and the like look at one thing.

    The words look at name, base, data, method, state, tag and note.
    """
    fields = {
        "name": row.name,
        "state": row.status.state,
        "base": row.base,
        "data": row.data,
        "method": row.method,
        "tag": row.said.tag,
    }
    everything = "\n".join([*fields.values(), row.said.note]).lower()
    for word in text.lower().split():
        condition = _CONDITION.fullmatch(word)
        if condition is not None and condition[2] not in fields[condition[1]].lower():
            return False
        if condition is None and word not in everything:
            return False
    return True


def progress_words(row: RunRow) -> str:
    """How far it is: "43 %", or its state once it goes no more."""
    status = row.status
    if status.state in ("running", "paused") and status.total_steps:
        share = share_words(status.step, status.total_steps)
        return share if status.state == "running" else f"paused {share}"
    return status.state


def share_words(step: int, total: int) -> str:
    """How much of the steps is done, never more than is: "43 %"."""
    return f"{min(100, 100 * step // total)} %"


def facts(row: RunRow) -> list[str]:
    """Best evaluation, duration and size, as far as they are known."""
    parts = [f"best {loss_text(row.best[1])}"] if row.best is not None else []
    if seconds := row.duration_s():
        parts.append(briefly(seconds))
    if row.size_bytes:
        parts.append(file_size(row.size_bytes))
    return parts


def briefly(seconds: float) -> str:
    """A span of time in one number: "42 s", "3 min", "2.2 h", "12 d"."""
    for unit, size, most in (("s", 1, 60), ("min", 60, 3600), ("h", 3600, 48 * 3600)):
        if seconds < most:
            amount = seconds / size
            return f"{amount:.1f} {unit}" if unit == "h" and amount < 9.95 else f"{amount:.0f} {unit}"
    return f"{seconds / 86_400:.0f} d"


def ago(seconds: float) -> str:
    """How long ago, without parts of a second: "3 s", "4 min 05 s"."""
    whole = max(1, round(seconds))
    return f"{whole} s" if whole < 60 else duration(whole)


def base_name(row: RunRow) -> str:
    """The last part of its base, which says most."""
    base = clean_line(row.base).rstrip("/")
    return base if base.startswith("runs/") else base.rpartition("/")[2]
