"""What the header says of a run, from its files as they are at that moment."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from hugchat_tui.monitor.asked import Asked
from hugchat_tui.monitor.follower import RunFollower
from hugchat_tui.monitor.rows import RunReader
from hugchat_tui.monitor.run_columns import facts, progress_words
from hugchat_tui.monitor.run_header import RunHeader
from hugchat_tui.monitor.run_notes import set_note
from hugchat_tui.sft_text import event_line, loss_text
from sft.events import tail
from tests.monitor.driving import Written
from tests.monitor.records import lines

WIDTH = 160


def header_of(written: Written, data: Path, asked: list[Asked] | None = None) -> RunHeader:
    header = RunHeader()
    (header.row,) = RunReader(data).read().rows
    follower = RunFollower(written.run, lambda: None)
    follower.history.apply(tail(written.run.events).records)
    header._follower, header._asked = follower, asked or ()
    return header


def lines_of(header: RunHeader) -> list[str]:
    row = header.row
    assert row is not None
    lines = [header._title(row, WIDTH).plain, header._progress(row, WIDTH).plain]
    return [*lines, " · ".join(header._figures(row)), header.last_line(WIDTH).plain]


def started_again(written: Written) -> None:
    written.events.write("phase", name="starting", done=0, total=0, words="")


def test_a_run_that_is_started_again_shows_nothing_of_its_dead_processes(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched().steps(1, 97)
    written.checkpoint(50)
    started_again(written)
    written.events.write("phase", name="preparing data", done=1, total=4, words="9 rows")
    title, progress, figures, _ = lines_of(header_of(written, tmp_path))
    assert title.startswith("◔ preparing")
    assert "preparing data: 9 rows · goes on from step 50 of 100, 50 %" in progress
    assert "97" not in progress and "left" not in progress
    assert "loss" not in figures and "tokens/s" not in figures
    written.events.write("run", name="trial", total_steps=100, world_size=1, device="cpu", resumed_from=50)
    title, progress, figures, _ = lines_of(header_of(written, tmp_path))
    assert "step 50 of 100 · 50 %" in progress and "left" not in progress and "tokens/s" not in figures
    written.steps(51, 53)
    title, progress, figures, _ = lines_of(header_of(written, tmp_path))
    assert title.startswith("● running") and "step 53 of 100" in progress and "left" in progress
    assert "300 of 500 tokens/s trained" in figures


def test_an_alert_is_shown_while_it_is_of_this_start_and_recent_and_then_the_note(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched().steps(1, 10)
    set_note(tmp_path, written.run.path, "shorter rows")
    written.events.write("alert", kind="slow", words="It is slow.", step=10)
    assert lines_of(header_of(written, tmp_path))[3] == "! step 10: It is slow."
    written.steps(11, 59)
    assert lines_of(header_of(written, tmp_path))[3] == "! step 10: It is slow."
    written.steps(60, 60)
    assert lines_of(header_of(written, tmp_path))[3] == "shorter rows"
    written.events.write("alert", kind="flat", words="It is flat.", step=60)
    assert lines_of(header_of(written, tmp_path))[3] == "! step 60: It is flat."
    started_again(written)
    assert lines_of(header_of(written, tmp_path))[3] == "shorter rows"


def test_an_answer_is_not_shown_of_a_run_that_has_ended_since(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched().steps(1, 10)
    asked = [Asked("x", written.run.path, "trial", "stop and keep", answer="the run saves and ends")]
    assert lines_of(header_of(written, tmp_path, asked))[3] == "✓ stop and keep: the run saves and ends"
    written.ended("stopped", 10, "It was told to.")
    assert lines_of(header_of(written, tmp_path, asked))[3] == "It was told to."


def test_the_list_and_the_header_tell_the_same_share(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched()
    written.events.write("run", name="trial", total_steps=62, world_size=1, device="cpu", version=1)
    header = header_of(written.steps(1, 8), tmp_path)
    assert header.row is not None and progress_words(header.row) == "12 %"
    assert " · 12 % · " in lines_of(header)[1]


@pytest.mark.parametrize("going", [True, False])
def test_the_duration_goes_on_while_a_run_that_is_going_is_quiet(tmp_path: Path, going: bool) -> None:
    written = Written(tmp_path, "trial").launched(going=going)
    begun = time.time() - 600
    phases = (("starting", begun), ("preparing data", begun + 30))
    records = [{"type": "phase", "time": at, "name": name} for name, at in phases]
    written.run.events.write_bytes(lines(records))
    (row,) = RunReader(tmp_path).read().rows
    assert facts(row)[0] == ("10 min" if going else "30 s")


@pytest.mark.parametrize(
    ("loss", "text"),
    [
        (3.25, "3.2500"),
        (0.0012, "0.0012"),
        (0.00087, "0.00087"),
        (2.834e-5, "2.83e-5"),
        (1e-12, "1e-12"),
        (0.0, "0.0000"),
    ],
)
def test_a_small_loss_keeps_its_digits(loss: float, text: str) -> None:
    assert loss_text(loss) == text


def test_a_small_loss_is_told_alike_everywhere(tmp_path: Path) -> None:
    written = Written(tmp_path, "trial").launched().evaluated(3, 3.1e-5)
    step: dict[str, Any] = {"step": 3, "loss": 2.8e-5}
    written.events.write("step", **step)
    header = header_of(written, tmp_path)
    assert header.row is not None and "best 3.1e-5" in facts(header.row)
    assert "loss 2.8e-5 · best evaluation 3.1e-5 at step 3" in lines_of(header)[2]
    assert "loss 2.8e-5," in event_line({"type": "step", "time": 0, **step})
    assert "loss 3.1e-5," in event_line({"type": "eval", "time": 0, "step": 3, "loss": 3.1e-5})
