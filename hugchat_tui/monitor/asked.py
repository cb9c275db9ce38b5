"""What runs were asked, until they have answered."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hugchat_tui.common.clean import clean_line

if TYPE_CHECKING:
    from hugchat_tui.monitor.rows import RunRow
    from sft.json_lines import Record
    from sft.runs import RunDirectory

_ANSWER_SHOWN_S = 12.0


@dataclass(slots=True)
class Asked:
    """Something that was asked of a run. answer: its own words, "" until it has answered."""

    id: str
    path: Path
    name: str
    words: str
    at: float = field(default_factory=time.monotonic)
    answer: str = ""
    answered_at: float = 0.0


class Questions:
    """Every one that waits for its answer, or was answered just now."""

    def __init__(self) -> None:
        self.every: list[Asked] = []

    @property
    def waiting(self) -> list[Asked]:
        return [each for each in self.every if not each.answer]

    def of(self, run: RunDirectory) -> list[Asked]:
        """What this run was asked."""
        return [each for each in self.every if each.path == run.path]

    def will_be_paused(self, row: RunRow) -> bool:
        """Whether it waits, once it has done what it was asked."""
        asked = [each.words for each in self.of(row.run) if not each.answer]
        last = next((words for words in reversed(asked) if words in ("pause", "continue")), "")
        return last == "pause" if last else row.status.state == "paused"

    def answer(self, record: Record) -> bool:
        """Take an answer; False when nothing waits for it."""
        asked = next((each for each in self.waiting if each.id == record.get("id")), None)
        if asked is None:
            return False
        asked.answer, asked.answered_at = clean_line(str(record.get("words") or "done")), time.monotonic()
        return True

    def settle(self, rows: Sequence[RunRow]) -> Iterator[str]:
        """Forget old answers, and what will never be answered; why, in words."""
        now, by_path = time.monotonic(), {row.run.path: row for row in rows}
        for each in list(self.every):
            row = by_path.get(each.path)
            if each.answer:
                old = now - each.answered_at >= _ANSWER_SHOWN_S
            elif old := row is None or (not row.going and row.read_at > each.at):
                yield f"{each.name} ended before it answered: {each.words}."
            if old:
                self.every.remove(each)
