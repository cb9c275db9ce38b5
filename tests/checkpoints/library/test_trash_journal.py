"""The journal of a trash: what a process that died left half done is put right by the next one."""

from __future__ import annotations

import json
import resource
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import RemovalError, Trash
from tests.checkpoints.builders import make_model
from tests.checkpoints.library.repositories import WEIGHTS, contents, du, plan, trashes, two_revisions

# Deletes a row, and at the given point of it ends as if it were killed.
DELETER = """
import os, signal, sys
from pathlib import Path
from engine.checkpoints.library.removal import plan_removal
from engine.checkpoints.library.rows import Places
from engine.checkpoints.library.trash import Trash
from tests.checkpoints.library.repositories import rows_of

cache, data, key, point, left = *sys.argv[1:5], int(sys.argv[5])
places = Places(Path(cache), Path(data))
rows = rows_of(places)
trash = Trash(places)
rename = Path.rename

def rename_and_die(self, target):
    global left
    if left == 0:
        os.kill(os.getpid(), signal.SIGKILL)
    left -= 1
    return rename(self, target)

if point == "discarding":
    Path.rename = rename_and_die
discarded = trash.discard(plan_removal([row for row in rows if row.key == key], rows, places))
if point == "restoring":
    Path.rename = rename_and_die
    trash.restore(discarded)
print("done", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def places(tmp_path: Path) -> Places:
    made = Places(tmp_path / "hf" / "hub", tmp_path / "data")
    made.cache_dir.mkdir(parents=True)
    return made


def delete_in_a_process(places: Places, key: Path, point: str, left: int = 0) -> subprocess.Popen[str]:
    arguments = [str(places.cache_dir), str(places.data_dir), str(key), point, str(left)]
    return subprocess.Popen(
        [sys.executable, "-c", DELETER, *arguments], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("point", ["discarding", "restoring"])
def test_killed_at_every_move_everything_is_put_back_at_the_next_start(places: Places, point: str) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    moves = len(plan(places, one).paths)
    for left in range(moves):
        process = delete_in_a_process(places, one, point, left)
        process.communicate()
        assert process.returncode == -signal.SIGKILL
        assert Trash(places).settle() == ()
        assert contents(places.cache_dir) == was
        assert trashes(places) == []
        assert list((places.data_dir / "trash").iterdir()) == []


def test_a_dead_process_trash_is_emptied_and_a_living_one_is_left_alone(places: Places) -> None:
    one, two = two_revisions(places)
    process = delete_in_a_process(places, one, "all of it")
    assert process.stdout is not None
    assert process.stdout.readline() == "done\n"
    size = du(places.cache_dir.parent)
    other = Trash(places)
    assert other.settle() == ()
    assert len(trashes(places)) == 1
    assert du(places.cache_dir.parent) == size
    process.kill()
    process.communicate()
    assert other.settle() == ()
    assert trashes(places) == []
    assert du(places.cache_dir.parent) < size
    assert not one.exists()
    assert (two / "model.safetensors").read_bytes() == WEIGHTS
    assert list((places.data_dir / "trash").iterdir()) == []


def test_a_journal_cut_off_in_its_last_line_is_read_as_far_as_it_goes(places: Places) -> None:
    one, _ = two_revisions(places)
    was = contents(places.cache_dir)
    Trash(places).discard(plan(places, one))  # its lock goes with it
    journal = next((places.data_dir / "trash").glob("*.jsonl"))
    lines = journal.read_text().splitlines()
    journal.write_text("\n".join([*lines[:-1], '{"do']))
    assert Trash(places).settle() == ()
    assert contents(places.cache_dir) == was, "that it was done is not known"


@pytest.mark.parametrize(
    "line",
    [
        '{"later": 1}',
        '{"done": 1, "how": "quickly"}',
        '{"number": 2, "moves": [["/a", "/b"]], "copied": true}',
        '{"number": 2, "moves": {"/a": "/b"}}',
        '{"number": 2, "moves": [["/a"]]}',
        '{"done": 7}',
        "5",
        '{"number": 2, "mo\n{"done": 1}',
    ],
)
def test_a_journal_that_says_something_else_is_left_alone_with_its_trash(places: Places, line: str) -> None:
    """Of a newer version, or damaged: the program did not start, or a deletion that is not understood was undone."""
    one, _ = two_revisions(places)
    Trash(places).discard(plan(places, one))
    journal = next((places.data_dir / "trash").glob("*.jsonl"))
    journal.write_text(f"{journal.read_text()}{line}\n")
    was = contents(places.cache_dir.parent)
    (problem,) = Trash(places).settle()
    assert str(journal) in problem
    assert "another version" in problem
    assert contents(places.cache_dir.parent) == was
    assert journal.exists()


def test_a_line_that_a_full_disk_cut_off_spoils_none_of_those_after_it(places: Places) -> None:
    """What was deleted next, once there was room again, stayed in the trash for ever and could not be put back."""
    one, two = two_revisions(places)
    trash = Trash(places)
    trash.discard(plan(places, one))
    (journal,) = (places.data_dir / "trash").glob("*.jsonl")
    was, said = contents(places.cache_dir), journal.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    removal = plan(places, two)
    resource.setrlimit(resource.RLIMIT_FSIZE, (journal.stat().st_size + 20, hard))
    try:
        with pytest.raises(RemovalError, match="too large"):
            trash.discard(removal)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert (contents(places.cache_dir), journal.read_bytes()) == (was, said)
    trash.discard(plan(places, two))
    assert trash.empty() == ()
    assert trashes(places) == []


def test_a_journal_can_delete_nothing_but_trash(places: Places, tmp_path: Path) -> None:
    precious = make_model(tmp_path / "precious")
    folder = places.data_dir / "trash"
    folder.mkdir(parents=True)
    lines = [{"number": 1, "moves": [["/nowhere", str(precious)]]}, {"done": 1}]
    (folder / "1-abc.jsonl").write_text("\n".join(map(json.dumps, lines)))
    Trash(places).settle()
    assert (precious / "config.json").exists()
