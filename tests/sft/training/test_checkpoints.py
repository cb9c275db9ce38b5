"""Checkpoints are whole or absent, and one that is not whole is never resumed from."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

import pytest
import torch

from sft.errors import SftError
from sft.manifest import MANIFEST, manifest_problem
from sft.training.checkpoints import NoRoomError, Progress, newest_whole, prune, read_progress, save, set_aside
from sft.training.strategy import check_pickle
from sft.training.world import World

ALONE = World(0, 1, torch.device("cpu"), None)


def write(content: bytes) -> Callable[[Path], None]:
    def written(directory: Path) -> None:
        (directory / "weights.bin").write_bytes(content)

    return written


def made(run: Path, *steps: int) -> list[Path]:
    nothing = lambda directory: None  # noqa: E731
    return [save(run, Progress(step=step), ALONE, nothing, write(b"w" * 1000)) for step in steps]


def test_what_is_saved_is_found_and_read(tmp_path: Path) -> None:
    _, newest = made(tmp_path, 2, 10)
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == newest and not said
    assert read_progress(newest).step == 10


Damage = Callable[[Path], object]
DAMAGES: dict[str, Damage] = {
    "a flipped byte": lambda path: (path / "weights.bin").write_bytes(b"v" * 1000),
    "a cut file": lambda path: (path / "weights.bin").write_bytes(b"w" * 999),
    "a missing file": lambda path: (path / "weights.bin").unlink(),
    "a foreign file": lambda path: (path / "other.bin").write_bytes(b""),
    "no manifest": lambda path: (path / MANIFEST).unlink(),
    "a manifest of another shape": lambda path: (path / MANIFEST).write_text("[1]"),
    "a torn manifest": lambda path: (path / MANIFEST).write_text('{"files": {"a"'),
    "a deep manifest": lambda path: (path / MANIFEST).write_text("[" * 100_000),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_one_is_passed_over_with_a_word(tmp_path: Path, damage: str) -> None:
    older, newer = made(tmp_path, 2, 4)
    DAMAGES[damage](newer)
    said: list[str] = []
    assert newest_whole(tmp_path, said.append) == older
    assert len(said) == 1 and said[0].startswith("step-4 was passed over: ")
    assert manifest_problem(newer, hashes=True)


def test_one_that_was_not_finished_is_none_and_is_cleared_away(tmp_path: Path) -> None:
    (older,) = made(tmp_path, 2)
    shutil.copytree(older, tmp_path / "checkpoints" / "tmp-step-4")
    assert newest_whole(tmp_path, lambda words: None) == older
    made(tmp_path, 6)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-2", "step-6"]


def test_a_failure_leaves_nothing(tmp_path: Path) -> None:
    def fail(directory: Path) -> None:
        (directory / "half.bin").write_bytes(b"x")
        raise OSError("the disk is gone")

    with pytest.raises(OSError, match="gone"):
        save(tmp_path, Progress(step=1), ALONE, lambda directory: None, fail)
    assert list((tmp_path / "checkpoints").iterdir()) == []


class Usage(NamedTuple):
    total: int
    used: int
    free: int


def test_without_room_nothing_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (older,) = made(tmp_path, 2)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 9_000, 500))
    with pytest.raises(NoRoomError, match="are free"):
        made(tmp_path, 4)
    assert list((tmp_path / "checkpoints").iterdir()) == [older]


def test_the_first_one_is_not_begun_either_where_it_cannot_fit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: Usage(10_000, 9_000, 1_000))
    with pytest.raises(NoRoomError, match="are free"):
        save(tmp_path, Progress(step=1), ALONE, lambda directory: None, write(b"w"), expected=1_000)
    assert not (tmp_path / "checkpoints").exists()


def test_the_newest_and_the_best_stay(tmp_path: Path) -> None:
    made(tmp_path, 1, 2, 3, 4, 5)
    gone = prune(tmp_path, keep=2, best_step=2)
    assert sorted(path.name for path in gone) == ["step-1", "step-3"]
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["step-2", "step-4", "step-5"]


def test_the_same_step_is_written_anew(tmp_path: Path) -> None:
    (first,) = made(tmp_path, 3)
    save(tmp_path, Progress(step=3, tokens=7), ALONE, lambda directory: None, write(b"other"))
    assert (first / "weights.bin").read_bytes() == b"other"
    assert read_progress(first).tokens == 7
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-3"]


def test_progress_that_makes_no_sense_is_told(tmp_path: Path) -> None:
    (path,) = made(tmp_path, 3)
    (path / "training" / "progress.json").write_text('{"step": "three"}')
    with pytest.raises(SftError, match="cannot be resumed"):
        read_progress(path)


class Harmful:
    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch {self.marker}",)


def test_a_state_that_would_run_code_is_refused_unread(tmp_path: Path) -> None:
    state = tmp_path / "zero_pp_rank_0_optim_states.pt"
    torch.save({"optimizer": torch.ones(2), "more": Harmful(tmp_path / "ran")}, state)
    with pytest.raises(SftError, match=r"names code to be run .*system"):
        check_pickle(state)
    assert not (tmp_path / "ran").exists()
    torch.save({"optimizer": torch.ones(2)}, state)
    check_pickle(state)


def test_what_lies_behind_the_step_that_a_run_begins_at_is_set_aside(tmp_path: Path) -> None:
    """Counted among the newest, it had the checkpoint that was just written deleted in its place."""
    made(tmp_path, 3, 1000)
    set_aside(tmp_path, 3)
    made(tmp_path, 4)
    prune(tmp_path, keep=1, best_step=0)
    assert sorted(path.name for path in (tmp_path / "checkpoints").iterdir()) == ["earlier-step-1000", "step-4"]
