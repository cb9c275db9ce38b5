"""Run directories: whole or absent, found by name, and their state told from their files alone."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path

import psutil
import pytest

from engine.checkpoints.runs import find_run_checkpoint, run_checkpoints
from sft import config
from sft.config import Recipe
from sft.errors import SftError
from sft.events import EventWriter
from sft.manifest import write_manifest
from sft.runs import (
    RunDirectory,
    RunExistsError,
    RunNotFoundError,
    create_run,
    find_run,
    list_runs,
    made_name,
    newest_whole_checkpoint,
    read_status,
)

RECIPE = config.with_values(Recipe(), {"data.sources": [{"path": "/data/my rows.jsonl"}]})


def test_a_run_is_made_whole_and_found_by_its_name_and_its_place(tmp_path: Path) -> None:
    run = create_run(RECIPE, tmp_path, name="first")
    assert config.load(run.recipe) == RECIPE
    assert run.path == tmp_path / "runs" / "first"
    for reference in ("first", "runs/first", str(run.path)):
        assert find_run(tmp_path, reference) == run
    assert list_runs(tmp_path) == [run]
    assert os.listdir(tmp_path / "runs") == ["first"]  # noqa: PTH208


def test_a_made_name_says_base_data_and_day_and_is_free(tmp_path: Path) -> None:
    assert made_name(RECIPE, date(2026, 1, 31)) == "starter-my-rows-2026-01-31"
    hub = config.with_values(RECIPE, {"model.base": "org/Model 1.5B*", "data.sources": [{"path": "../数据/*.json"}]})
    assert made_name(hub, date(2026, 1, 31)) == "Model-1.5B-2026-01-31"
    names = [create_run(RECIPE, tmp_path).name for _ in range(3)]
    assert names[1:] == [f"{names[0]}-2", f"{names[0]}-3"]


@pytest.mark.parametrize("name", ["..", ".hidden", "a/b", "a b", "-x", "x.", "", "x" * 101, "ä", "a\n"])
def test_a_name_that_is_none_is_refused(tmp_path: Path, name: str) -> None:
    if name:
        with pytest.raises(SftError, match="cannot be the name of a run"):
            create_run(RECIPE, tmp_path, name=name)


def test_a_taken_name_and_a_folder_in_use_are_refused(tmp_path: Path) -> None:
    create_run(RECIPE, tmp_path, name="first")
    with pytest.raises(RunExistsError, match="hugchat sft resume first"):
        create_run(RECIPE, tmp_path, name="first")
    full = tmp_path / "full"
    full.mkdir()
    (full / "thesis.doc").touch()
    with pytest.raises(RunExistsError, match="is not empty"):
        create_run(RECIPE, tmp_path, output=full)
    with pytest.raises(RunExistsError, match="There is a file"):
        create_run(RECIPE, tmp_path, output=full / "thesis.doc")
    assert (full / "thesis.doc").exists()


def test_a_run_that_lies_elsewhere_is_found_by_everything(tmp_path: Path) -> None:
    data, output = tmp_path / "data", tmp_path / "deep" / "my run"
    run = create_run(RECIPE, data, output=output)
    assert (run.path, run.name) == (output, "my-run")
    assert [each.path for each in list_runs(data)] == [output]
    assert find_run(data, "my-run") == find_run(data, str(output)) == run
    (output / "final").mkdir()
    assert list(run_checkpoints(data / "runs")) == [("runs/my-run", data / "runs" / "my-run" / "final")]
    assert find_run_checkpoint(data / "runs", "my-run") is not None
    with pytest.raises(RunExistsError, match="There is a run in"):
        create_run(RECIPE, data, output=output)
    empty = tmp_path / "empty"
    empty.mkdir()
    assert create_run(RECIPE, data, output=empty, name="named").name == "named"
    (output / "recipe.toml").unlink()
    assert [each.name for each in list_runs(data)] == ["named"]


def test_a_run_that_is_not_there_is_answered_with_near_ones(tmp_path: Path) -> None:
    create_run(RECIPE, tmp_path, name="colours")
    with pytest.raises(RunNotFoundError, match="Nearest: colours"):
        find_run(tmp_path, "colors")
    with pytest.raises(RunNotFoundError):
        find_run(tmp_path, "x\0y")
    with pytest.raises(RunNotFoundError):
        find_run(tmp_path, "")


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return create_run(RECIPE, tmp_path, name="trial")


@pytest.fixture
def living() -> Iterator[subprocess.Popen[bytes]]:
    process = subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)
    yield process
    process.kill()
    process.wait()


def launched(run: RunDirectory, pid: int, *, started: float | None = None, host: str | None = None) -> None:
    begun = psutil.Process(pid).create_time() if started is None else started
    launch = {"host": host or socket.gethostname(), "pid": pid, "pid_started": begun, "started_at": time.time()}
    run.launch.write_text(json.dumps(launch))


def told(run: RunDirectory, *records: tuple[str, Mapping[str, object]]) -> None:
    with EventWriter(run.events) as events:
        for kind, fields in records:
            events.write(kind, **fields)


STEP = ("step", {"step": 3, "loss": 0.5})
BEGUN = ("run", {"total_steps": 10, "version": 1})


def test_the_states_of_a_run(run: RunDirectory, living: subprocess.Popen[bytes]) -> None:
    assert read_status(run).state == "created"
    launched(run, living.pid)
    assert read_status(run).state == "preparing"
    told(run, ("phase", {"name": "preparing data", "done": 1, "total": 2, "words": "9 rows"}))
    status = read_status(run)
    assert (status.state, status.words, status.going, status.resumable) == ("preparing", "9 rows", True, False)
    told(run, BEGUN, STEP, ("phase", {"name": "saving", "words": ""}))
    status = read_status(run)
    assert (status.state, status.step, status.total_steps, status.loss) == ("running", 3, 10, 0.5)
    told(run, ("ack", {"command": "pause", "id": "x"}))
    assert read_status(run).state == "paused"
    told(run, ("ack", {"command": "save", "id": "z"}), ("heartbeat", {"step": 3, "paused": True}))
    assert read_status(run).state == "paused", "what else it answers does not make it go on"
    told(run, *[("heartbeat", {"step": 3, "paused": True})] * 1500)
    assert read_status(run).state == "paused", "also when the word itself is far back"
    told(run, ("ack", {"command": "continue", "id": "y"}), ("eval", {"step": 3, "loss": 0.7}))
    assert (read_status(run).state, read_status(run).eval_loss) == ("running", 0.7)
    told(run, ("ack", {"command": "pause", "id": "w"}), ("phase", {"name": "starting"}), BEGUN)
    assert read_status(run).state == "running", "it was asked of an earlier start"
    told(run, ("end", {"how": "failed", "step": 5, "words": "no memory", "hint": "less"}))
    status = read_status(run)
    assert (status.state, status.step, status.words, status.hint, status.going) == (
        "failed",
        5,
        "no memory",
        "less",
        False,
    )
    assert status.resumable
    told(run, ("phase", {"name": "starting", "words": ""}))
    assert read_status(run).state == "preparing"
    living.kill()
    living.wait()
    status = read_status(run)
    assert (status.state, status.resumable) == ("crashed", True)
    told(run, ("end", {"how": "done", "step": 10, "words": ""}))
    assert (read_status(run).state, read_status(run).resumable) == ("done", False)


def test_a_run_that_was_killed_and_is_started_again_prepares_until_its_ranks_tell_of_themselves(
    run: RunDirectory, living: subprocess.Popen[bytes]
) -> None:
    launched(run, living.pid)
    starting = ("phase", {"name": "starting", "words": ""})
    told(run, starting, BEGUN, ("step", {"step": 9, "loss": 0.5}), ("eval", {"step": 9, "loss": 0.7}))
    checkpoint(run, 5)
    told(run, starting, ("phase", {"name": "preparing data", "words": "9 rows"}))
    status = read_status(run)
    assert (status.state, status.words, status.step, status.total_steps) == ("preparing", "9 rows", 5, 10)
    assert (status.loss, status.eval_loss) == (None, None), "they are of the processes before"
    told(run, ("run", {"total_steps": 10, "version": 1, "resumed_from": 4}))
    assert (read_status(run).state, read_status(run).step) == ("running", 4)
    told(run, ("step", {"step": 6, "loss": 0.25}))
    assert (read_status(run).step, read_status(run).loss) == (6, 0.25)
    living.kill()
    living.wait()
    told(run, starting)
    assert (read_status(run).state, read_status(run).step) == ("crashed", 6)


def test_another_process_that_got_the_pid_is_not_the_run(run: RunDirectory, living: subprocess.Popen[bytes]) -> None:
    launched(run, living.pid, started=psutil.Process(living.pid).create_time() - 3600)
    told(run, BEGUN, STEP)
    assert read_status(run).state == "crashed"


def test_a_run_of_another_machine_goes_on_while_it_tells_of_itself(run: RunDirectory) -> None:
    launched(run, 1, started=1.0, host="elsewhere")
    told(run, BEGUN, STEP)
    assert (read_status(run).state, read_status(run).host) == ("running", "elsewhere")
    os.utime(run.events, (0, 0))
    assert read_status(run).state == "crashed"


def test_a_long_run_is_described_from_a_bounded_part_of_its_events(run: RunDirectory) -> None:
    told(run, BEGUN, *[("step", {"step": step, "loss": 1.0, "words": "x" * 200}) for step in range(2000)])
    told(run, ("heartbeat", {"step": 1999}))
    assert (read_status(run).step, read_status(run).total_steps) == (1999, 10)


def test_files_that_make_no_sense_are_told_and_raise_nothing(run: RunDirectory) -> None:
    run.launch.write_text("{")
    run.events.write_bytes(b"\xff\n{}\n" * 10)
    status = read_status(run)
    assert (status.state, status.going) == ("crashed", False)
    assert "launch.json" in status.problem
    told(run, ("end", {"how": 5, "step": "x", "words": None}), ("step", {"step": None, "loss": "low"}))
    assert read_status(run).step == 0


def checkpoint(run: RunDirectory, step: int) -> Path:
    path = run.checkpoints / f"step-{step}"
    path.mkdir(parents=True)
    (path / "adapter_model.safetensors").write_bytes(b"weights" * step)
    write_manifest(path)
    return path


def test_the_newest_whole_checkpoint_is_found_and_torn_ones_are_told(run: RunDirectory) -> None:
    assert newest_whole_checkpoint(run) is None
    for step in (2, 10, 30, 40):
        checkpoint(run, step)
    (run.checkpoints / "tmp-step-50").mkdir()
    (run.checkpoints / "step-30" / "adapter_model.safetensors").write_bytes(b"cut")
    damaged = run.checkpoints / "step-40" / "adapter_model.safetensors"
    damaged.write_bytes(bytes(len(damaged.read_bytes())))
    said: list[str] = []
    assert newest_whole_checkpoint(run, say=said.append) == (40, run.checkpoints / "step-40")  # of the right size
    assert newest_whole_checkpoint(run, hashes=True, say=said.append) == (10, run.checkpoints / "step-10")
    assert [words.split(" ")[0] for words in said] == ["step-40", "step-30"]
    assert "is not what was written" in said[0]
    # The engine lists the same steps under the same names.
    names = [name for name, _ in run_checkpoints(run.path.parent)]
    assert names == [f"runs/trial/step-{step}" for step in (40, 30, 10, 2)]
