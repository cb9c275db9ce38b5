"""What a run is doing: state, progress, time left, speed, best evaluation, and what it was asked."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from textual.app import RenderResult
from textual.content import Content
from textual.widget import Widget

from hugchat_tui.common.clean import clean_line
from hugchat_tui.common.format import counted, duration, rate, sentences, shorten, shorten_middle
from hugchat_tui.common.line_list import justify
from hugchat_tui.common.tones import ACCENT, BAD, FAINT, GOOD, MUTED, STRONG, WARN
from hugchat_tui.library.transfer_list import bar
from hugchat_tui.monitor.batches import finite
from hugchat_tui.monitor.pace import left_s
from hugchat_tui.monitor.run_columns import MARKS, ago, share_words
from hugchat_tui.sft_text import loss_text

if TYPE_CHECKING:
    from hugchat_tui.monitor.asked import Asked
    from hugchat_tui.monitor.follower import RunFollower
    from hugchat_tui.monitor.rows import RunRow

_LATE_S = 30.0  # a run tells of itself every ten seconds
_BAR = 24


class RunLine(Widget):
    """The header's last line, below the list of runs where the header is not in view."""

    DEFAULT_CSS = """
    RunLine { height: 1; padding: 0 1; }
    """

    def __init__(self, header: RunHeader) -> None:
        super().__init__()
        self._header = header

    def render(self) -> RenderResult:
        return self._header.last_line(self.size.width)


class RunHeader(Widget):
    """Four lines about the run under the cursor, which is `row`."""

    DEFAULT_CSS = """
    RunHeader { height: 4; padding: 0 1; }
    """

    def __init__(self) -> None:
        super().__init__()
        self.row: RunRow | None = None
        self._follower: RunFollower | None = None
        self._asked: Sequence[Asked] = ()

    def show(self, row: RunRow | None, follower: RunFollower | None, asked: Sequence[Asked]) -> None:
        self.row, self._follower, self._asked = row, follower, asked
        self.refresh()

    def render(self) -> RenderResult:
        row, width = self.row, self.size.width
        if row is None:
            return Content("")
        lines = [
            self._title(row, width),
            self._progress(row, width),
            Content.styled(_as_many_as_fit(self._figures(row), width), MUTED),
            self.last_line(width),
        ]
        return Content("\n").join(lines)

    def _title(self, row: RunRow, width: int) -> Content:
        glyph, tone = MARKS[row.status.state]
        right = self._heartbeat(row)
        state = Content.assemble((f"{glyph} {row.status.state}  ", tone))
        tag = f" {clean_line(row.said.tag)}" if row.said.tag else ""
        room = width - state.cell_length - right.cell_length - len(tag) - 2
        name = shorten_middle(clean_line(row.name), max(8, room))
        return justify(Content.assemble(state, (name, STRONG), (tag, ACCENT)), right, width)

    @staticmethod
    def _heartbeat(row: RunRow) -> Content:
        """How long it has been silent, and on which machine, where that matters."""
        quiet = row.quiet_s()
        if not row.status.quiet_s:
            return Content("")
        words = f"last word {ago(quiet)} ago"
        if row.going and row.status.state != "paused" and quiet > _LATE_S:
            return Content.styled(words, WARN)
        return Content.styled(words, FAINT)

    def _progress(self, row: RunRow, width: int) -> Content:
        """A bar, and how far it is in steps, epochs and time."""
        status = row.status
        step, total = self._step(row), status.total_steps
        phase = self._phase(row)
        if phase:
            done, all_of_it = _whole(self._latest("phase"), "done"), _whole(self._latest("phase"), "total")
            meter = bar(done, all_of_it, min(_BAR, width // 4), ACCENT)
            parts = [phase]
            if begin := status.step:
                share = f" of {total:,}, {share_words(begin, total)}" if total else ""
                parts.append(f"goes on from step {begin:,}{share}")
            return Content.assemble(meter, " ", (_as_many_as_fit(parts, width - meter.cell_length - 1), MUTED))
        if not step and not total:
            return Content("")
        tone = GOOD if status.going or status.state == "done" else MUTED
        meter = bar(step, total, min(_BAR, width // 4), WARN if status.state == "paused" else tone)
        parts = [f"step {step:,} of {total:,}" if total else f"step {step:,}"]
        if total:
            parts.append(share_words(step, total))
        epoch = _number(self._latest("step"), "epoch")
        if not math.isnan(epoch):
            parts.append(f"epoch {epoch:.2f}")
        left = left_s(self._follower.history, step, total) if self._follower is not None and status.going else None
        if left is not None:
            parts.insert(2, f"{duration(left)} left" if status.state == "running" else f"{duration(left)} of work left")
        if busy := self._busy_with(row):
            parts.insert(1, busy)
        return Content.assemble(meter, " ", (_as_many_as_fit(parts, width - meter.cell_length - 1), "$foreground"))

    def _step(self, row: RunRow) -> int:
        """The newest of what the list and the run's events say."""
        return max(row.status.step if not row.going else 0, _whole(self._latest("step"), "step")) or row.status.step

    def _phase(self, row: RunRow) -> str:
        """What it does when it is not training, while it does it."""
        record = self._latest("phase")
        if row.status.state != "preparing" or record is None:
            return ""
        name, words = clean_line(str(record.get("name") or "")), clean_line(str(record.get("words") or ""))
        return name if words in ("", name) else f"{name}: {words}"

    def _busy_with(self, row: RunRow) -> str:
        """What it does between two steps, which may take long: "evaluating"."""
        phase, step = self._latest("phase"), self._latest("step")
        if row.status.state != "running" or phase is None or step is None or not phase["time"] > step["time"]:
            return ""
        return clean_line(str(phase.get("name") or ""))

    def _figures(self, row: RunRow) -> list[str]:
        step = self._latest("step")
        parts = []
        loss = _number(step, "loss")
        if not math.isnan(loss):
            parts.append(f"loss {loss_text(loss)}")
        elif step is not None:
            parts.append("loss not finite")
        best = self._follower.history.best if self._follower is not None else None
        best = best or row.best
        if best is not None:
            parts.append(f"best evaluation {loss_text(best[1])} at step {best[0]:,}")
        trained, every = _number(step, "trained_tokens_per_s"), _number(step, "tokens_per_s")
        if row.going and not math.isnan(trained) and not math.isnan(every):
            parts.append(f"{rate(trained)} of {rate(every)} tokens/s trained")
        run = self._latest("run")
        if run is not None:
            ranks, device = run.get("world_size"), clean_line(str(run.get("device") or ""))
            parts.append(f"{ranks} × {device}" if isinstance(ranks, int) and ranks > 1 else device)
        return [part for part in parts if part]

    def last_line(self, width: int) -> Content:
        """What is waited for, or what is wrong; the newest matters most."""
        row = self.row
        if row is None:
            return Content("")
        waiting = [each for each in self._asked if not each.answer]
        if waiting:
            more = f" (and {len(waiting) - 1} more)" if len(waiting) > 1 else ""
            since = ago(time.monotonic() - waiting[0].at)
            words = f"… {waiting[0].words}: asked {since} ago, it answers after its step{more}"
            return Content.styled(shorten(words, width), ACCENT)
        if self._asked and row.going:
            newest = self._asked[-1]
            return Content.styled(shorten(f"✓ {newest.words}: {newest.answer}", width), GOOD)
        trouble = self._trouble(row)
        if trouble:
            return Content.styled(shorten(clean_line(trouble), width), BAD)
        history = self._follower.history if self._follower is not None else None
        if history is not None and history.alert is not None and row.going:
            alert = history.alert
            words = clean_line(f"! step {alert.get('step', '?')}: {alert.get('words', '')}")
            return Content.styled(shorten(words, width), WARN)
        if row.status.words and not row.going:
            words = sentences(*row.status.words.splitlines()[:1], row.status.hint)
            tone = MUTED if row.status.state in ("done", "stopped") else BAD
            return Content.styled(shorten(clean_line(words), width), tone)
        return Content.styled(shorten(clean_line(row.said.note.partition("\n")[0]), width), FAINT)

    def _trouble(self, row: RunRow) -> str:
        follower = self._follower
        if follower is not None and follower.problem:
            return follower.problem
        if row.problem or row.status.problem:
            return row.problem or row.status.problem
        if follower is None:
            return ""
        history = follower.history
        if history.newer:
            return f"It is of a newer hugchat (format {history.newer}): some of what it tells is not understood."
        if history.torn:
            return f"{counted(history.torn, 'line')} of its events made no sense and had to be passed over."
        return ""

    def _latest(self, kind: str) -> Mapping[str, Any] | None:
        if self._follower is None:
            return None
        history = self._follower.history
        return {"step": history.step, "phase": history.phase, "run": history.run}[kind]


def _as_many_as_fit(parts: Sequence[str], width: int) -> str:
    """The parts in a line, the last ones left out where it is too narrow."""
    shown = list(parts)
    while len(shown) > 1 and len(" · ".join(shown)) > width:
        shown.pop()
    return shorten(" · ".join(shown), width)


def _number(record: Mapping[str, Any] | None, name: str) -> float:
    return finite(record.get(name)) if record is not None else math.nan


def _whole(record: Mapping[str, Any] | None, name: str) -> int:
    number = _number(record, name)
    return int(number) if math.isfinite(number) and abs(number) < 1e15 else 0
