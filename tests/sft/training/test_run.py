"""A run from its recipe to a checkpoint that answers, with everything real: supervisor, preparation, ranks."""

from __future__ import annotations

from pathlib import Path

import pytest

from sft import control
from sft.manifest import manifest_problem
from tests.sft.training.driving import curve, events, log_of, new_run, start, tiny_recipe, train


def test_a_run_ends_with_a_whole_result(tmp_path: Path) -> None:
    run = train(tiny_recipe(tmp_path, steps=8, every=3), tmp_path / "data")
    (told,) = events(run, "run")
    assert (told["engine"], told["world_size"], told["dtype"], told["total_steps"]) == ("plain", 1, "float32", 8)
    assert told["trainable"] < told["parameters"]
    assert list(curve(run)) == [1, 2, 3, 4, 5, 6, 7, 8]
    assert [record["step"] for record in events(run, "checkpoint")] == [3, 6, 8]
    assert sorted(path.name for path in run.checkpoints.iterdir()) == ["step-6", "step-8"], "two are kept"
    assert all(manifest_problem(path, hashes=True) is None for path in [*run.checkpoints.iterdir(), run.final])
    assert events(run, "end")[-1]["how"] == "done", log_of(run)


@pytest.mark.parametrize("kind", ["lora", "full"])
def test_a_run_that_was_killed_goes_on_with_the_same_curve(tmp_path: Path, kind: str) -> None:
    recipe = tiny_recipe(tmp_path, kind=kind, steps=9, every=3)
    whole = train(recipe, tmp_path / "data", "whole")
    run = new_run(recipe, tmp_path / "data", "killed")
    running = start(run, tmp_path / "data")
    running.until("step", step=5)
    running.kill_everything()
    again = start(run, tmp_path / "data")
    assert again.until("run")["resumed_from"] == 3
    assert again.wait() == 0, log_of(run)
    assert curve(run) == pytest.approx(curve(whole), abs=1e-5)


def test_commands_are_obeyed_and_acknowledged(tmp_path: Path) -> None:
    run = new_run(tiny_recipe(tmp_path, steps=2000, every=0), tmp_path / "data")
    running = start(run, tmp_path / "data")
    running.until("step")
    paused = control.send(run.path, "pause")
    running.until("ack", id=paused)
    slower = control.send(run.path, "set", learning_rate=1e-5)
    running.until("ack", id=slower)
    control.send(run.path, "save")
    going_on = control.send(run.path, "continue")
    running.until("ack", id=going_on)
    running.until("checkpoint")
    assert running.until("step")["learning_rate"] == pytest.approx(1e-5, rel=0.05)  # early on a long cosine
    stop = control.send(run.path, "stop")
    running.until("ack", id=stop)
    running.until("checkpoint")
    assert running.until("end")["how"] == "stopped"
    assert running.wait() == 0, log_of(run)
    assert manifest_problem(run.final, hashes=True) is None, "stopped and kept"


def test_being_told_to_end_saves_and_stops(tmp_path: Path) -> None:
    run = new_run(tiny_recipe(tmp_path, steps=2000, every=0), tmp_path / "data")
    running = start(run, tmp_path / "data")
    running.until("step")
    running.process.terminate()
    checkpoint = running.until("checkpoint")
    assert running.until("end")["how"] == "stopped"
    running.wait()
    assert manifest_problem(run.path / checkpoint["path"], hashes=True) is None


def test_a_torn_checkpoint_is_passed_over_with_a_word(tmp_path: Path) -> None:
    run = train(tiny_recipe(tmp_path, steps=6, every=3), tmp_path / "data")
    state = run.checkpoints / "step-6" / "training" / "optimizer.pt"
    data = bytearray(state.read_bytes())
    data[len(data) // 2] ^= 1
    state.write_bytes(data)
    again = start(run, tmp_path / "data")
    assert again.until("run")["resumed_from"] == 3
    assert again.wait() == 0, log_of(run)
    assert any("step-6 was passed over" in alert["words"] for alert in events(run, "alert"))
    assert manifest_problem(run.checkpoints / "step-6", hashes=True) is None, "it was written anew"
