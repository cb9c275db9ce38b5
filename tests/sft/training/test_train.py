"""What a recipe asks of a training, seen in its events. These runs train in this process, over one prepared set."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch
from safetensors.torch import load_file, save_file

from sft.config import Recipe
from sft.errors import SftError
from sft.events import EventWriter
from sft.preparation import lay_ready
from sft.runs import RunDirectory
from sft.training.__main__ import explained
from sft.training.build import build
from sft.training.train import DivergedError, Run, read_inputs
from sft.training.world import World
from tests.sft.training.driving import curve, events, new_run, tiny_recipe

pytestmark = pytest.mark.slow

ALONE = World(0, 1, torch.device("cpu"), None)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("trainings")
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("HUGCHAT_DATA_DIR", str(folder / "data"))
        yield folder


def changed(recipe: Recipe, **sections: dict[str, Any]) -> Recipe:
    """The recipe with other values, by section."""
    parts = {name: msgspec.structs.replace(getattr(recipe, name), **values) for name, values in sections.items()}
    return msgspec.structs.replace(recipe, **parts)


def ready(recipe: Recipe, place: Path, name: str) -> RunDirectory:
    run = new_run(recipe, place / "data", name)
    with EventWriter(run.events) as writer:
        lay_ready(run, writer)
    return run


def trained(recipe: Recipe, place: Path, name: str) -> tuple[RunDirectory, str]:
    run = ready(recipe, place, name)
    with EventWriter(run.events) as writer:
        return run, Run(run.path, read_inputs(run.path), ALONE, writer).go()


@pytest.fixture
def stopped(place: Path, request: pytest.FixtureRequest) -> RunDirectory:
    """A run with a checkpoint to go on from."""
    name = "stopped-" + re.sub(r"\W+", "-", request.node.name)[:80].strip("-")
    return trained(tiny_recipe(place, steps=2, every=2), place, name)[0]


@pytest.fixture(scope="module")
def plain(place: Path) -> dict[int, float]:
    return curve(trained(tiny_recipe(place, steps=5), place, "plain")[0])


def test_gradient_checkpointing_changes_nothing_but_memory(place: Path, plain: dict[int, float]) -> None:
    recipe = changed(tiny_recipe(place, steps=5), training={"gradient_checkpointing": True})
    run, _ = trained(recipe, place, "checkpointed")
    assert curve(run) == pytest.approx(plain, abs=1e-5)


def test_noise_on_the_embeddings_is_for_training_and_not_for_the_evaluation(place: Path) -> None:
    found = {}
    for alpha in (0.0, 50.0):
        recipe = changed(
            tiny_recipe(place, steps=2, every=0),
            training={"neftune_alpha": alpha, "learning_rate": 1e-12},  # the weights stay as they are
            evaluation={"every": 1},
        )
        run, _ = trained(recipe, place, f"noise-{alpha:.0f}")
        found[alpha] = curve(run), [record["loss"] for record in events(run, "eval")]
    assert all(abs(found[50.0][0][step] - found[0.0][0][step]) > 1e-6 for step in (1, 2))
    assert found[50.0][1] == pytest.approx(found[0.0][1], abs=1e-7)


def test_an_epoch_in_one_step_has_the_same_loss_packed_and_row_by_row(place: Path) -> None:
    run = ready(tiny_recipe(place, every=0), place, "epoch")
    inputs = read_inputs(run.path)
    losses = {}
    for packing in (True, False):
        recipe = changed(inputs.recipe, data={"packing": packing}, checkpoints={"resume": "none"})
        packs = Run(run.path, replace(inputs, recipe=recipe), ALONE, None)._train_order.packs_per_epoch
        recipe = changed(recipe, training={"accumulation": packs, "max_steps": 1})
        with EventWriter(run.events) as writer:
            Run(run.path, replace(inputs, recipe=recipe), ALONE, writer).go()
        losses[packing] = events(run, "step")[-1]["loss"]
    told = events(run, "run")
    assert [record["isolation"] == "single" for record in told] == [False, True]
    assert losses[True] == pytest.approx(losses[False], rel=1e-4)


def test_evaluations_samples_and_the_best_checkpoint(place: Path) -> None:
    recipe = changed(
        tiny_recipe(place, steps=6, every=2),
        evaluation={"every": 2, "prompts": ("What does the mill hold?",), "max_new_tokens": 5},
    )
    run, ended = trained(recipe, place, "evaluated")
    assert ended == "done"
    measured = events(run, "eval")
    assert [record["step"] for record in measured] == [2, 4, 6]
    assert all(record["tokens"] > 0 and record["perplexity"] > 1 for record in measured)
    assert [record["step"] for record in events(run, "sample")] == [2, 4, 6]
    best = min(measured, key=lambda record: record["loss"])["step"]
    assert (run.checkpoints / f"step-{best}").is_dir()


def test_an_evaluation_measures_no_more_rows_than_it_may(place: Path) -> None:
    found = {}
    for most in (0, 1):
        recipe = changed(
            tiny_recipe(place, steps=1, every=0), evaluation={"every": 1, "max_rows": most}, data={"held_out": 0.5}
        )
        (found[most],) = events(trained(recipe, place, f"measured-{most}")[0], "eval")
    assert 0 < found[1]["tokens"] < found[0]["tokens"]


@pytest.mark.parametrize(
    ("section", "values", "words"),
    [
        ("method", {"rank": 4}, "method.rank was 8 when it was written and is 4 now"),
        ("method", {"targets": ("q_proj",)}, "method.targets was all-linear"),
        ("training", {"seed": 7}, "training.seed was 42"),
        ("data", {"packing": False}, "data.packing was True"),
    ],
)
def test_a_run_does_not_go_on_as_another_one(
    place: Path, stopped: RunDirectory, section: str, values: dict[str, Any], words: str
) -> None:
    inputs = read_inputs(stopped.path)
    other = replace(inputs, recipe=changed(inputs.recipe, **{section: values}))
    with EventWriter(stopped.events) as writer, pytest.raises(SftError, match=words):
        Run(stopped.path, other, ALONE, writer)


def test_a_run_goes_on_with_more_steps_and_another_learning_rate(place: Path, stopped: RunDirectory) -> None:
    inputs = read_inputs(stopped.path)
    more = replace(inputs, recipe=changed(inputs.recipe, training={"max_steps": 4, "learning_rate": 1e-4}))
    with EventWriter(stopped.events) as writer:
        assert Run(stopped.path, more, ALONE, writer).go() == "done"
    assert list(curve(stopped)) == [1, 2, 3, 4]


def test_an_adapter_that_lacks_tensors_is_not_gone_on_with(place: Path, stopped: RunDirectory) -> None:
    checkpoint = stopped.checkpoints / "step-2"
    weights = checkpoint / "adapter_model.safetensors"
    tensors = load_file(weights)
    tensors.pop(next(iter(tensors)))
    lacking = place / "lacking"
    shutil.copytree(checkpoint, lacking)
    save_file(tensors, lacking / weights.name)
    inputs = read_inputs(stopped.path)
    with pytest.raises(SftError, match="another shape"):
        build(inputs.recipe, inputs.base, lacking, ALONE, lambda stage, done, total: None)


def test_patience_ends_a_run_that_gets_no_better_with_its_best(place: Path) -> None:
    recipe = changed(
        tiny_recipe(place, steps=100, accumulation=1, every=1),
        training={"learning_rate": 1.0, "schedule": "constant"},
        evaluation={"every": 1, "patience": 2},
    )
    run, ended = trained(recipe, place, "impatient")
    assert ended == "done"
    last = events(run, "step")[-1]["step"]
    best = [record["step"] for record in events(run, "eval") if record["best"]][-1]
    assert last == best + 2
    assert f"taken from step: {best}" in (run.final / "README.md").read_text("utf-8")


def test_a_run_whose_loss_is_no_number_ends_with_words(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = ready(tiny_recipe(place, steps=100, accumulation=1, every=0), place, "diverged")
    with EventWriter(run.events) as writer:
        training = Run(run.path, read_inputs(run.path), ALONE, writer)
        for parameter in training._built.model.parameters():
            if parameter.requires_grad:
                parameter.data.fill_(float("inf"))
        with pytest.raises(DivergedError, match="no finite number") as error:
            training.go()
    assert "learning_rate" in error.value.hint
    assert [alert["kind"] for alert in events(run, "alert")] == ["nonfinite"], "told once, not at each step"
    assert events(run, "step")[0]["nonfinite"], "the reader is told that null is no number"


def test_memory_that_was_not_enough_is_told_with_what_to_change() -> None:
    for error in (
        torch.OutOfMemoryError("CUDA out of memory"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory"),
        MemoryError(),
    ):
        words, hint = explained(error)
        assert "memory was not enough" in words and "gradient_checkpointing" in hint


def test_a_length_beyond_the_context_is_refused(place: Path) -> None:
    run = ready(tiny_recipe(place), place, "long")
    inputs = read_inputs(run.path)
    recipe = changed(inputs.recipe, data={"max_length": 512})
    with pytest.raises(Exception, match="context holds 256"):
        build(recipe, inputs.base, None, ALONE, lambda stage, done, total: None)


def test_layers_that_are_not_there_are_named(place: Path) -> None:
    run = ready(tiny_recipe(place), place, "targets")
    inputs = read_inputs(run.path)
    recipe = changed(inputs.recipe, method={"targets": ("nowhere",)})
    with pytest.raises(Exception, match="No adapter can be put") as error:
        build(recipe, inputs.base, None, ALONE, lambda stage, done, total: None)
    assert "q_proj" in str(error.value)
