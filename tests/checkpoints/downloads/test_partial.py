"""The two files of a download that is on its way, and what is believed of them after every kind of end."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, SupportsIndex

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.checkpoints.downloads import partial as module
from engine.checkpoints.downloads.partial import Partial, discard, written_bytes

SIZE, SEGMENT = 250, 100


def _open(blobs: Path, segment: int = SEGMENT) -> Partial:
    return Partial(blobs, "e", SIZE, segment)


def _write(partial: Partial, index: int, count: int) -> None:
    start = partial.start_of(index) + partial.done[index]
    assert partial.write(index, partial.era, bytes(range(start, start + count)))


def test_what_was_written_is_known_to_the_next_one_without_any_closing(tmp_path: Path) -> None:
    first = _open(tmp_path)
    _write(first, 0, 60)
    _write(first, 2, 50)
    second = _open(tmp_path)
    assert (second.done, second.prefix, second.written, second.unfinished) == ([60, 0, 50], 60, 110, [0, 1])
    assert written_bytes(tmp_path, "e", SIZE) == 110
    _write(second, 0, 40)
    _write(second, 1, 100)
    assert (second.prefix, second.unfinished) == (SIZE, [])
    second.finish(tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == bytes(range(SIZE))
    assert [path.name for path in tmp_path.iterdir()] == ["e"]


def test_after_another_boot_only_what_was_synced_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """When the machine went down, the table may have reached the disk before the bytes did."""
    first = _open(tmp_path)
    _write(first, 0, 30)
    first.sync()
    _write(first, 0, 30)
    first.close()
    monkeypatch.setattr(module, "_boot", lambda: b"another boot id.")
    assert _open(tmp_path).done == [30, 0, 0]


def test_a_new_beginning_forgets_everything_and_refuses_late_writers(tmp_path: Path) -> None:
    partial = _open(tmp_path)
    _write(partial, 0, 60)
    era = partial.era
    partial.begin_again(segment=SIZE)
    assert (partial.done, partial.written) == ([0], 0)
    assert not partial.write(0, era, b"late")
    assert _open(tmp_path).done == [0]


def test_bytes_that_the_file_no_longer_has_are_not_believed(tmp_path: Path) -> None:
    partial = _open(tmp_path)
    _write(partial, 0, 100)
    _write(partial, 1, 80)
    partial.close()
    with partial.path.open("r+b") as file:
        file.truncate(120)
    assert _open(tmp_path).done == [100, 20, 0]


def test_a_table_for_another_size_or_without_its_file_counts_nothing(tmp_path: Path) -> None:
    partial = _open(tmp_path)
    _write(partial, 0, 100)
    partial.close()
    assert written_bytes(tmp_path, "e", SIZE + 1) == 0
    partial.path.unlink()
    assert written_bytes(tmp_path, "e", SIZE) == 0
    assert _open(tmp_path).done == [0, 0, 0]


@given(content=st.binary(max_size=200))
def test_a_damaged_table_is_begun_anew(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    blobs = tmp_path_factory.mktemp("blobs")
    (blobs / "e.hugchat.map").write_bytes(content)
    (blobs / "e.hugchat.incomplete").write_bytes(b"x" * 70)
    partial = _open(blobs)
    assert partial.done == [0, 0, 0]
    partial.close()


def test_a_file_without_bytes_is_complete(tmp_path: Path) -> None:
    partial = Partial(tmp_path, "e", 0, SEGMENT)
    assert (partial.unfinished, partial.prefix) == ([], 0)
    partial.finish(tmp_path / "e")
    assert (tmp_path / "e").read_bytes() == b""


def test_discard_leaves_nothing(tmp_path: Path) -> None:
    _write(_open(tmp_path), 0, 10)
    discard(tmp_path, "e")
    assert list(tmp_path.iterdir()) == []


class _Counting(list[int]):
    looks = 0

    def __getitem__(self, index: SupportsIndex | slice) -> Any:
        self.looks += 1
        return super().__getitem__(index)

    def __iter__(self) -> Iterator[int]:
        for value in super().__iter__():
            self.looks += 1
            yield value


def test_the_start_without_a_gap_is_known_without_looking_at_every_segment(tmp_path: Path) -> None:
    """A file of a terabyte has 32,000 of them, and its checksum asks after each packet."""
    count = 1000
    partial = Partial(tmp_path, "e", count, 1)
    partial.done = counting = _Counting(partial.done)
    for index in range(count):
        assert partial.prefix == index
        partial.write(index, partial.era, b"x")
    assert partial.prefix == count
    assert counting.looks < 10 * count


@given(order=st.permutations(range(6)), size=st.integers(16, 18))
def test_the_start_without_a_gap_is_what_the_segments_say(
    tmp_path_factory: pytest.TempPathFactory, order: list[int], size: int
) -> None:
    partial = Partial(tmp_path_factory.mktemp("blobs"), "e", size, 3)
    for index in order:
        for data in (b"x", b"y" * (partial.length_of(index) - 1)):
            partial.write(index, partial.era, data)
            gaps = [at for at in range(size) if at % 3 >= partial.done[at // 3]]
            assert partial.prefix == (gaps[0] if gaps else size)
    partial.begin_again()
    assert partial.prefix == 0
    partial.close()
