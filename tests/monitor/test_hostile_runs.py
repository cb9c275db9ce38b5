"""Run directories that anybody may have written: shown for what they are, and never a traceback."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hugchat_tui.monitor.events_pane import EventsPane
from hugchat_tui.monitor.history import RunHistory
from hugchat_tui.monitor.news import news_of
from hugchat_tui.monitor.rows import RunReader, RunRow
from hugchat_tui.monitor.run_columns import facts, matches, progress_words
from hugchat_tui.monitor.run_header import RunHeader
from hugchat_tui.monitor.samples_pane import SamplesPane
from sft.runs import RunDirectory
from tests.monitor.driving import Written

TYPES = ("run", "phase", "step", "eval", "sample", "checkpoint", "ack", "alert", "heartbeat", "end", "telepathy")
FIELDS = (
    *("name", "base", "total_steps", "world_size", "device", "version", "done", "total", "words", "step", "loss"),
    *("learning_rate", "tokens", "epoch", "best", "prompt", "answer", "index", "path", "bytes", "command", "id"),
    *("kind", "how", "hint", "nonfinite", "tokens_per_s", "trained_tokens_per_s"),
)
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.just(10**400),
    st.just(-(10**30)),
    st.floats(allow_nan=False, allow_infinity=False),
    st.text(max_size=20),
    st.sampled_from(["starting", "done", "failed", "\x1b]0;x\x07", "evaluating"]),
    st.lists(st.integers(), max_size=2),
    st.dictionaries(st.text(max_size=3), st.integers(), max_size=2),
)
TIMES = st.one_of(st.floats(0, 2e9), st.just(10**400), st.just(-1), st.integers(0, 2**40))
RECORDS = st.builds(
    lambda kind, at, fields: {"type": kind, "time": at, **fields},
    st.sampled_from(TYPES),
    TIMES,
    st.dictionaries(st.sampled_from(FIELDS), VALUES, max_size=6),
)
LINES = st.lists(
    st.one_of(RECORDS.map(lambda record: json.dumps(record).encode()), st.binary(max_size=30)), max_size=25
)


class Followed:
    """What the header takes from a follower."""

    def __init__(self, records: list[dict[str, Any]]) -> None:
        self.history = RunHistory()
        self.history.apply(records)
        self.problem = ""


@pytest.fixture(scope="module")
def data() -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp())
    yield folder
    shutil.rmtree(folder)


def read(data: Path, lines: list[bytes]) -> RunRow:
    shutil.rmtree(data / "runs", ignore_errors=True)
    run: RunDirectory = Written(data, "odd").run
    run.events.write_bytes(b"\n".join(lines) + b"\n")
    (row,) = RunReader(data).read().rows
    return row


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(lines=LINES)
def test_whatever_events_say_there_is_a_row_and_a_header(data: Path, lines: list[bytes]) -> None:
    row = read(data, lines)
    assert row.name == "odd" and progress_words(row) is not None and facts(row) is not None and matches(row, "odd")
    records = []
    for line in lines:
        try:
            record = json.loads(line)
        except ValueError:
            continue
        if isinstance(record, dict) and isinstance(record.get("type"), str):
            records.append(record)
    header, samples, events = RunHeader(), SamplesPane(), EventsPane()
    follower: Any = Followed(records)
    for width in (40, 120):
        header.row, header._follower = row, follower
        texts = [header._title(row, width), header._progress(row, width), header.last_line(width)]
        samples._history = events._history = follower.history
        texts += [*samples.lay_out(width), *events.lay_out(width)]
        assert all("\x1b" not in text.plain and text.cell_length <= width for text in texts)
        assert all("\x1b" not in part for part in header._figures(row))


@given(record=RECORDS.filter(lambda record: record["type"] in ("alert", "end")))
def test_whatever_an_end_says_it_is_one_clean_line(record: dict[str, Any]) -> None:
    words = news_of("odd", record).words
    assert words and "\x1b" not in words and "\n" not in words
