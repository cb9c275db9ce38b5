"""However many ranks share a step, and whatever ZeRO splits among them, the curve is the same; and so after kills."""

from __future__ import annotations

import random
from pathlib import Path

import msgspec
import pytest

from sft.config import Evaluation
from sft.manifest import manifest_problem
from tests.sft.training.driving import Running, curve, events, log_of, new_run, start, tiny_recipe, train

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]

STEPS = 10
KILLS = 4


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One base and one set of rows for all runs, so that their data is prepared once."""
    return tmp_path_factory.mktemp("runs")


@pytest.fixture(scope="module")
def alone(place: Path) -> dict[str, dict[int, float]]:
    """The curves of one rank, by kind."""
    kinds = ("lora", "full")
    return {
        kind: curve(train(tiny_recipe(place, kind=kind, steps=STEPS, accumulation=4), place / "data", f"one-{kind}"))
        for kind in kinds
    }


@pytest.mark.parametrize("zero", [0, 1, 2, 3])
@pytest.mark.parametrize("kind", ["lora", "full"])
def test_two_ranks_give_the_curve_of_one(place: Path, alone: dict[str, dict[int, float]], zero: int, kind: str) -> None:
    recipe = tiny_recipe(place, kind=kind, steps=STEPS, ranks=2, zero=zero, accumulation=2)
    evaluation = Evaluation(every=4, prompts=("What does the mill hold?",), max_new_tokens=6)
    recipe = msgspec.structs.replace(recipe, evaluation=evaluation)
    run = train(recipe, place / "data", f"two-{zero}-{kind}")
    (told,) = events(run, "run")
    assert (told["world_size"], told["zero"]) == (2, zero)
    assert told["engine"] == ("deepspeed" if zero else "ddp")
    assert curve(run) == pytest.approx(alone[kind], abs=1e-4)
    assert [record["step"] for record in events(run, "eval")] == [4, 8, STEPS]
    assert len(events(run, "sample")) == 3
    assert manifest_problem(run.final, hashes=True) is None


@pytest.mark.parametrize(("ranks", "zero"), [(1, 0), (2, 2), (2, 3)])
def test_kills_leave_the_curve_as_it_was(place: Path, ranks: int, zero: int) -> None:
    """At random steps, and while a checkpoint is being written."""
    data = place / "data"
    recipe = tiny_recipe(place, steps=24, ranks=ranks, zero=zero, accumulation=4 // ranks, every=2)
    whole = train(recipe, data, f"whole-{ranks}-{zero}")
    run = new_run(recipe, data, f"killed-{ranks}-{zero}")
    chance = random.Random(ranks * 10 + zero)
    for kill in range(KILLS):
        running = start(run, data)
        if kill % 2:
            running.until("phase", name="saving")
        else:
            _let_steps_pass(running, chance.randint(1, 4))
        running.kill_everything()
    last = start(run, data)
    assert last.wait() == 0, log_of(run)
    assert curve(run) == pytest.approx(curve(whole), abs=1e-5)
    assert len(curve(run)) == 24
    assert all(manifest_problem(path, hashes=True) is None for path in [*run.checkpoints.iterdir(), run.final])


def _let_steps_pass(running: Running, steps: int) -> None:
    for _ in range(steps):
        running.until("step")


def test_a_rank_that_dies_ends_the_run_with_words_and_it_can_be_resumed(place: Path) -> None:
    recipe = tiny_recipe(place, steps=400, ranks=2, zero=2, accumulation=2, every=2)
    run = new_run(recipe, place / "data", "half-dead")
    running = start(run, place / "data")
    running.until("checkpoint")
    victim = running.ranks()[-1]
    victim.kill()
    end = running.until("end")
    assert end["how"] in ("failed", "killed") and end["words"] and end["hint"], end
    assert running.wait() != 0
    again = start(run, place / "data")
    assert again.until("run")["resumed_from"] >= 2
    again.process.terminate()
    assert again.until("end")["how"] == "stopped"
    again.wait()
