"""What is told of runs in whatever mode the person is: that they ended, failed, alerted, or are gone."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import sentences
from hugchat_tui.library.telling import Severity

if TYPE_CHECKING:
    from hugchat_tui.monitor.rows import RunRow
    from sft.json_lines import Record


class News(NamedTuple):
    """words: cleaned."""

    words: str
    severity: Severity = "information"


def news_of(name: str, record: Record) -> News:
    """Of an alert or an end that a run told."""
    if record["type"] == "alert":
        return News(clean_line(f"{name}: {record.get('words', '')}"), "warning")
    how, step = record.get("how"), record.get("step")
    at = f" at step {step:,}" if isinstance(step, int) and step else ""
    if how == "done":
        return News(clean_line(f"{name} is done{at}. f9, then c, chats with it."))
    words = str(record.get("words") or "").partition("\n")[0], str(record.get("hint") or "")
    if how == "stopped":
        return News(clean_line(sentences(f"{name} was stopped{at}", *words)))
    verb = "was killed" if how == "killed" else "failed"
    return News(clean_line(sentences(f"{name} {verb}{at}", *words)), "error")


def losses(before: Sequence[RunRow], now: Sequence[RunRow]) -> Iterator[News]:
    """Of runs that went before: whose processes are gone without a word, or whose directory is."""
    went = {row.run.path for row in before if row.going}
    for row in now:
        if row.run.path in went and row.status.state == "crashed":
            words = f"{row.name} ended without a word, at step {row.status.step:,}. f9, r resumes it."
            yield News(clean_line(words), "error")
    here = {row.run.path for row in now}
    for row in before:
        if row.going and row.run.path not in here:
            words = f"{row.name} is not there any more: {row.run.path} was deleted or unmounted."
            yield News(clean_line(words), "error")


def missed(going_before: Sequence[str], now: Sequence[RunRow]) -> Iterator[News]:
    """Of runs that went when the program was last there, and do not any more."""
    for row in now:
        if str(row.run.path) in going_before and not row.going:
            state = row.status.state
            words = "it is done. f9, then c, chats with it" if state == "done" else state
            good = state in ("done", "stopped")
            ended = clean_line(f"{row.name} ended while the app was closed: {words}.")
            yield News(ended, "information" if good else "error")
