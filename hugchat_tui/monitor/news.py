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


_CHAT, _RESUME = "c chats with it.", "r resumes it."
_ENDED = {"done": "was done", "stopped": "was stopped", "failed": "failed", "killed": "was killed"}


class News(NamedTuple):
    """Of a run. words: cleaned. advice: on what to press in the monitor, where that goes to this run."""

    name: str
    words: str
    severity: Severity = "information"
    advice: str = ""


def news_of(name: str, record: Record) -> News:
    """Of an alert or an end that a run told."""
    if record["type"] == "alert":
        return News(name, clean_line(f"{name}: {record.get('words', '')}"), "warning")
    how, step = record.get("how"), record.get("step")
    at = f" at step {step:,}" if isinstance(step, int) and step else ""
    if how == "done":
        return News(name, clean_line(f"{name} is done{at}."), advice=_CHAT)
    words = str(record.get("words") or "").partition("\n")[0], str(record.get("hint") or "")
    if how == "stopped":
        return News(name, clean_line(sentences(f"{name} was stopped{at}", *words)))
    verb = "was killed" if how == "killed" else "failed"
    return News(name, clean_line(sentences(f"{name} {verb}{at}", *words)), "error")


def losses(before: Sequence[RunRow], now: Sequence[RunRow]) -> Iterator[News]:
    """Of runs that went before: whose processes are gone without a word, or whose directory is."""
    went = {row.run.path for row in before if row.going}
    for row in now:
        if row.run.path in went and row.status.state == "crashed":
            words = f"{row.name} ended without a word, at step {row.status.step:,}."
            yield News(row.name, clean_line(words), "error", _RESUME if row.status.resumable else "")
    here = {row.run.path for row in now}
    for row in before:
        if row.going and row.run.path not in here:
            words = f"{row.name} is not there any more: {row.run.path} was deleted or unmounted."
            yield News(row.name, clean_line(words), "error")


def missed(going_before: Sequence[str], now: Sequence[RunRow]) -> Iterator[News]:
    """Of runs that went when the program was last there, and do not any more."""
    for row in now:
        if str(row.run.path) in going_before and not row.going:
            state = row.status.state
            words = clean_line(f"{row.name} {_ENDED.get(state, 'ended without a word')} while the app was closed.")
            advice = _CHAT if state == "done" else _RESUME if row.status.resumable else ""
            yield News(row.name, words, "information" if state in ("done", "stopped") else "error", advice)
