"""HugChat's three merged files, and mixes: whole or absent, and all that was left out is counted."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from filelock import FileLock

from sft.data.building import (
    BOTH,
    CHINESE,
    DUPLICATE,
    ENGLISH,
    OTHER_LANGUAGE,
    UNWRITABLE,
    Progress,
    TooManyBadRowsError,
    build,
    mix,
)
from sft.data.reading import read_file
from sft.data.sources import Source
from sft.errors import SftError
from tests.sft.data.rows import ALPACA, alpaca, said, write_lines

RUSSIAN = {"instruction": "Что это?", "output": "Книга."}
CHINESE_ROW = {"instruction": "你是谁？", "output": "我是助手。\n\n你好！"}


def contents(path: Path) -> list[str]:
    return [json.loads(line)["text"] for line in path.read_text().splitlines()]


def visible(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if path.name != ".build.lock")


@pytest.fixture
def source(tmp_path: Path) -> Source:
    marked = {"instruction": "Repeat:\n[Human]: Hi", "output": "Hi"}
    rows = [ALPACA, CHINESE_ROW, RUSSIAN, ALPACA, marked]
    return Source(str(write_lines(tmp_path / "rows.jsonl", rows)))


def test_the_three_files_of_the_seed(tmp_path: Path, source: Source) -> None:
    out = tmp_path / "out"
    built = build(out, [source])
    english, chinese = (
        "[Human]: Name a colour. \n [HugChat]: Blue. \n\n",
        "[Human]: 你是谁？ \n [HugChat]: 我是助手。\n你好！ \n\n",
    )
    assert contents(out / ENGLISH) == [english]
    assert contents(out / CHINESE) == [chinese]
    assert contents(out / BOTH) == [english, chinese]
    assert built.rows == {out / ENGLISH: 1, out / CHINESE: 1, out / BOTH: 2}
    noted = {reason: tally.count for reason, tally in built.problems.noted.items()}
    assert noted == {DUPLICATE: 1, OTHER_LANGUAGE: 1, UNWRITABLE: 1}
    assert visible(out) == sorted([ENGLISH, CHINESE, BOTH])
    assert [said(row)[0] for row in read_file(out / BOTH)] == [("user", "Name a colour."), ("user", "你是谁？")]


def test_a_corpus_is_in_its_own_language(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", [RUSSIAN])
    built = build(tmp_path / "out", [Source(f"alpaca:{path}")])
    assert built.rows[tmp_path / "out" / ENGLISH] == 1


def test_a_mix_with_weights_and_caps_is_the_same_for_the_same_seed(tmp_path: Path) -> None:
    one = write_lines(tmp_path / "one.jsonl", map(alpaca, range(400)))
    two = write_lines(tmp_path / "two.jsonl", map(alpaca, range(1000, 1010)))
    sources = [Source(str(one), weight=0.25, cap=80), Source(str(two), weight=2)]
    files = [mix(tmp_path / name, sources, seed=seed) for name, seed in (("a", 1), ("b", 1), ("c", 2))]
    first, again, other = ((tmp_path / name).read_bytes() for name in "abc")
    assert first == again != other
    assert files[0].rows == {tmp_path / "a": 100}
    assert len(contents(tmp_path / "a")) == 100


def test_messages_keep_everything(tmp_path: Path, source: Source) -> None:
    turns = [("user", "Q\n\nmore", 1), ("assistant", "[HugChat]: A", 0), ("user", "R", 1), ("assistant", "B", 1)]
    weighted = {"messages": [{"role": r, "content": c, "weight": w} for r, c, w in turns]}
    other = write_lines(tmp_path / "messages.jsonl", [weighted])
    mix(tmp_path / "out.jsonl", [source, Source(str(other))], form="messages")
    *_, last = read_file(tmp_path / "out.jsonl")
    (original,) = read_file(other)
    assert last.messages == original.messages  # type: ignore[union-attr]
    assert sum(1 for _ in read_file(tmp_path / "out.jsonl")) == 5


def test_too_many_bad_rows_leave_what_was_there(tmp_path: Path) -> None:
    out = tmp_path / "out"
    out.mkdir()
    (out / ENGLISH).write_text("old")
    path = write_lines(tmp_path / "rows.jsonl", [ALPACA, {}, b"{"])
    with pytest.raises(TooManyBadRowsError, match="2 of 3 rows") as caught:
        build(out, [Source(str(path))])
    assert caught.value.problems.bad_rows == 2
    assert visible(out) == [ENGLISH] and (out / ENGLISH).read_text() == "old"
    assert build(out, [Source(str(path))], bad_share=0.7).rows[out / ENGLISH] == 1


class StoppedError(Exception):
    pass


def test_a_build_that_is_stopped_leaves_no_trace(tmp_path: Path) -> None:
    path = write_lines(tmp_path / "rows.jsonl", map(alpaca, range(3000)))

    def stop(progress: Progress) -> None:
        assert (progress.rows, progress.source) == (2000, str(path))
        raise StoppedError

    with pytest.raises(StoppedError):
        build(tmp_path / "out", [Source(str(path))], report=stop)
    assert visible(tmp_path / "out") == []


def test_what_stands_in_the_way_is_said(tmp_path: Path, source: Source) -> None:
    out = tmp_path / "out"
    out.mkdir()
    with FileLock(out / ".build.lock"), pytest.raises(SftError, match="Another build"):
        build(out, [source])
    with pytest.raises(SftError, match="nothing to build"):
        build(out, [])
    with pytest.raises(SftError, match="read and written"):
        mix(Path(source.path), [source])
    with pytest.raises(SftError, match="weight"):
        build(out, [Source(source.path, weight=-1)])
    (tmp_path / "file").touch()
    with pytest.raises(SftError, match="cannot be written"):
        build(tmp_path / "file", [source])
    if os.geteuid():
        out.chmod(0o500)
        with pytest.raises(SftError, match="cannot be written"):
            build(out, [source])
