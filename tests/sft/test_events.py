"""Events are whole lines or none, and reading them along costs what is new, whatever a crash left behind."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sft.events import VERSION, EventWriter, last_records, recent, tail
from sft.json_lines import Record


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "events.jsonl"


def write(path: Path, *steps: int) -> None:
    with EventWriter(path) as events:
        for step in steps:
            events.write("step", step=step, loss=1.5)


def steps(records: list[Record]) -> list[int]:
    return [record["step"] for record in records]


def test_what_is_written_is_read_from_any_line_on(path: Path) -> None:
    write(path, 1, 2)
    first = tail(path)
    assert steps(first.records) == [1, 2]
    assert (first.torn, first.restarted, first.newer, first.more) == (0, False, 0, False)
    assert first.records[0]["loss"] == 1.5
    write(path, 3)
    assert steps(tail(path, first.offset).records) == [3]
    assert tail(path, path.stat().st_size) == ([], path.stat().st_size, 0, False, 0, False)


def test_a_file_that_is_not_there_holds_nothing(path: Path) -> None:
    assert tail(path) == ([], 0, 0, False, 0, False)
    assert last_records(path) == []
    assert recent(path, 5) == ([], 0)


def test_numbers_that_are_not_finite_are_null_and_named(path: Path) -> None:
    """json.dumps writes NaN, which no other reader takes."""
    with EventWriter(path) as events:
        events.write("step", loss=math.nan, grad_norm=-math.inf, step=1, deep={"a": [1.0, math.inf]})
    (record,) = tail(path).records
    assert (record["loss"], record["grad_norm"], record["deep"]) == (None, None, {"a": [1.0, None]})
    assert record["nonfinite"] == ["loss", "grad_norm", "deep.a[1]"]
    assert "NaN" not in path.read_text()


def test_numbers_of_numpy_paths_and_texts_that_are_no_unicode_are_written(path: Path) -> None:
    with EventWriter(path) as events:
        events.write("checkpoint", loss=np.float32(0.5), step=np.int64(3), path=Path("/a"), words="\udcff\n\u2028")
    (record,) = tail(path).records
    assert (record["loss"], record["step"], record["path"]) == (0.5, 3, "/a")
    assert record["words"] == "\\udcff\n\u2028"


def test_a_line_without_its_end_is_left_for_later(path: Path) -> None:
    write(path, 1)
    whole = path.stat().st_size
    with path.open("ab") as file:
        file.write(b'{"type": "step", "time": 1.0, "st')
    read = tail(path)
    assert (steps(read.records), read.offset, read.torn) == ([1], whole, 0)
    with path.open("ab") as file:
        file.write(b'ep": 2}\n')
    assert steps(tail(path, read.offset).records) == [2]


def test_who_writes_next_closes_the_line_that_a_kill_left(path: Path) -> None:
    write(path, 1)
    with path.open("ab") as file:
        file.write(b'{"type": "step"')
    write(path, 2)
    read = tail(path)
    assert (steps(read.records), read.torn) == ([1, 2], 1)


def test_a_writer_that_comes_between_two_lines_of_another_mixes_no_lines(path: Path) -> None:
    """The supervisor and rank 0 write the same file."""
    script = f"""
from pathlib import Path
from sft.events import EventWriter
events = EventWriter(Path({str(path)!r}))
for step in range(400):
    events.write("step", step=step, words="x" * 500)
"""
    writers = [subprocess.Popen([sys.executable, "-c", script]) for _ in range(3)]
    assert [writer.wait() for writer in writers] == [0, 0, 0]
    read = tail(path, 0, 1 << 30)
    assert (len(read.records), read.torn) == (1200, 0)


def test_a_full_disk_is_told_and_the_next_line_stands_by_itself(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    events = EventWriter(path)
    real = os.write
    monkeypatch.setattr(os, "write", lambda descriptor, data: real(descriptor, data[:9]))
    with pytest.raises(OSError, match="only 9 of"):
        events.write("step", step=1)
    monkeypatch.setattr(os, "write", real)
    events.write("step", step=2)
    events.close()
    read = tail(path)
    assert (steps(read.records), read.torn) == ([2], 1)


def test_lines_that_are_no_records_are_counted_and_stepped_over(path: Path) -> None:
    bad = [b"nonsense", b"[1]", b'{"type": 5, "time": 1}', b'{"type": "step"}', b'{"type": "x", "time": true}', b"\xff"]
    deep = b"[" * 100_000
    path.write_bytes(b"\n".join([*bad, deep, b"", b'{"type": "step", "time": 1, "step": 7}', b""]))
    read = tail(path)
    assert (steps(read.records), read.torn) == ([7], 7)


def test_a_file_that_became_shorter_is_read_from_its_beginning_and_that_is_told(path: Path) -> None:
    write(path, 1, 2, 3)
    offset = tail(path).offset
    path.unlink()
    write(path, 9)
    read = tail(path, offset)
    assert (steps(read.records), read.restarted) == ([9], True)


def test_a_newer_version_is_told_and_what_is_not_known_passes_through(path: Path) -> None:
    with EventWriter(path) as events:
        events.write("run", version=VERSION + 1, hue="green")
        events.write("unheard-of", step=1)
    read = tail(path)
    assert read.newer == VERSION + 1
    assert [record["type"] for record in read.records] == ["run", "unheard-of"]
    assert read.records[0]["hue"] == "green"


def test_reading_takes_no_more_than_its_limit_at_once(path: Path) -> None:
    write(path, *range(100))
    seen: list[int] = []
    offset, calls = 0, 0
    while True:
        read = tail(path, offset, 500)
        assert read.offset - offset <= 500
        seen += steps(read.records)
        offset, calls = read.offset, calls + 1
        if not read.more:
            break
    assert seen == list(range(100))
    assert calls > 10


def test_a_line_longer_than_the_limit_is_stepped_over_and_counted(path: Path) -> None:
    path.write_bytes(b"x" * 5000 + b"\n")
    write(path, 4)
    read = tail(path, 0, 100)
    assert (read.records, read.offset, read.torn, read.more) == ([], 5001, 1, True)
    assert steps(tail(path, read.offset, 100).records) == [4]
    path.write_bytes(b"x" * 5000)  # not ended yet
    assert tail(path, 0, 100) == ([], 0, 0, False, 0, False)


def test_the_cost_of_a_read_does_not_depend_on_what_was_before(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with path.open("wb") as file:
        file.truncate(1 << 40)  # a terabyte of nothing
        file.seek(0, os.SEEK_END)
        file.write(b'\n{"type": "step", "time": 1, "step": 5}\n')
    read_bytes = 0
    real = os.pread

    def counted(descriptor: int, size: int, offset: int) -> bytes:
        nonlocal read_bytes
        data = real(descriptor, size, offset)
        read_bytes += len(data)
        return data

    monkeypatch.setattr(os, "pread", counted)
    assert steps(tail(path, 1 << 40).records) == [5]
    assert read_bytes < 100


def test_the_last_records_of_a_long_file(path: Path) -> None:
    write(path, *range(3000))
    assert steps(last_records(path, 1000))[-1] == 2999
    assert 5 < len(last_records(path, 1000)) < 20
    records, offset = recent(path, 2000)
    assert steps(records) == list(range(1000, 3000))
    assert offset == path.stat().st_size
    assert steps(recent(path, 2)[0]) == [2998, 2999]
    assert len(recent(path, 10_000)[0]) == 3000


_FIELDS = st.dictionaries(
    st.text(max_size=8).filter(lambda name: name not in ("type", "time", "nonfinite", "self")),
    st.recursive(
        st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats() | st.text(),
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
        max_leaves=8,
    ),
    max_size=5,
)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(_FIELDS, max_size=5), st.integers(0, 10_000))
def test_whatever_is_written_comes_back_from_wherever_it_was_cut(path: Path, records: list[Record], cut: int) -> None:
    path.unlink(missing_ok=True)
    with EventWriter(path) as events:
        for record in records:
            events.write("step", **record)
    data = path.read_bytes()
    assert data.count(b"\n") == len(records)
    assert all(json.loads(line)["type"] == "step" for line in data.splitlines())
    whole = tail(path)
    assert (len(whole.records), whole.torn) == (len(records), 0)
    path.write_bytes(data[:cut])
    read = tail(path)
    assert read.torn == 0
    assert read.records == whole.records[: len(read.records)]
    assert len(read.records) == data[:cut].count(b"\n")


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.binary(max_size=300), st.integers(0, 400), st.integers(1, 50))
def test_whatever_lies_in_the_file_reading_it_ends(path: Path, data: bytes, offset: int, limit: int) -> None:
    path.write_bytes(data)
    for _ in range(400):
        read = tail(path, offset, limit)
        assert 0 <= read.offset <= len(data)
        offset = read.offset
        if not read.more:
            return
    raise AssertionError("it never came to its end")
