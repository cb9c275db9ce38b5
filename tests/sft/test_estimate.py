"""The memory that training takes, against counts that can be made by hand and by PEFT."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from engine.checkpoints.describe import describe
from engine.fit import Room
from engine.memory import GIB
from sft import config
from sft.config import Recipe
from sft.estimate import estimate
from sft.model_shapes import lora_parameters, read_shape
from tests.engine.tiny_models import FAMILIES, make_checkpoint

ROOM = Room(64 * GIB, 64 * GIB, on_gpu=False)
GPU = Room(64 * GIB, 64 * GIB, on_gpu=True)
# What PEFT itself trains of each family, with all linear layers and with DoRA.
COUNT = """
import json, sys
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM
counts = {}
for path in sys.argv[1:]:
    for dora in (False, True):
        model = AutoModelForCausalLM.from_pretrained(path)
        model = get_peft_model(model, LoraConfig(r=4, target_modules="all-linear", use_dora=dora))
        counts[f"{path} {dora}"] = sum(each.numel() for each in model.parameters() if each.requires_grad)
print(json.dumps(counts))
"""


def changed(**values: object) -> Recipe:
    return config.with_values(Recipe(), {key.replace("__", "."): value for key, value in values.items()})


def test_lora_counts_what_peft_trains_for_every_family(tmp_path: Path) -> None:
    paths = {}
    for family in FAMILIES:
        make_checkpoint(tmp_path / family, family)
        paths[str(tmp_path / family)] = read_shape(describe(tmp_path / family))
    counted = subprocess.run([sys.executable, "-c", COUNT, *paths], check=True, capture_output=True, text=True)
    counts = json.loads(counted.stdout.splitlines()[-1])
    ours = {
        f"{path} {dora}": lora_parameters(shape, 4, ["all-linear"], dora=dora)
        for path, shape in paths.items()
        for dora in (False, True)
    }
    assert {key: counts[key] for key in ours if key.endswith("False")} == {
        key: value for key, value in ours.items() if key.endswith("False")
    }
    for key, value in ours.items():
        assert value == pytest.approx(counts[key], rel=0.1), key  # which side has the magnitudes is not known


@pytest.fixture
def base(tmp_path: Path) -> Path:
    return make_checkpoint(tmp_path / "base", "llama")


def test_the_parts_follow_the_formula(base: Path) -> None:
    checkpoint = describe(base)
    count = checkpoint.parameters
    full = estimate(changed(method__kind="full"), checkpoint, room=ROOM)
    assert (full.trainable, full.parameters) == (count, count)
    assert full.parts["weights"] == 4 * count
    assert full.parts["gradients"] == 4 * count
    assert full.parts["optimizer"] == 8 * count
    half = estimate(changed(), checkpoint, room=GPU)
    assert half.parts["weights"] == 2 * count
    assert half.parts["optimizer"] == 12 * half.trainable
    assert half.trainable < count


@pytest.mark.parametrize(
    ("zero", "weights", "gradients", "optimizer"), [(0, 1, 1, 1), (1, 1, 1, 4), (2, 1, 4, 4), (3, 4, 4, 4)]
)
def test_each_stage_splits_what_it_says(base: Path, zero: int, weights: int, gradients: int, optimizer: int) -> None:
    values = {"method__kind": "full", "launch__ranks": 4, "launch__engine": "deepspeed"}
    whole = estimate(changed(**{**values, "launch__ranks": 1, "launch__zero": 0}), describe(base), room=GPU).parts
    split = estimate(changed(**values, launch__zero=zero), describe(base), room=GPU).parts
    for name, by in (("weights", weights), ("gradients", gradients), ("optimizer", optimizer)):
        assert split[name] == whole[name] // by, name


def test_offload_moves_the_optimizer_to_the_machine(base: Path) -> None:
    found = estimate(
        changed(method__kind="full", launch__zero=2, launch__offload="optimizer"), describe(base), room=GPU
    )
    assert found.parts["optimizer"] == 0
    assert found.host == 16 * found.parameters


def test_activations_grow_with_length_and_checkpointing_cuts_them(base: Path) -> None:
    checkpoint = describe(base)
    short = estimate(changed(data__max_length=128), checkpoint, room=ROOM).parts
    long = estimate(changed(data__max_length=1024), checkpoint, room=ROOM).parts
    kept = estimate(changed(data__max_length=1024, training__gradient_checkpointing=True), checkpoint, room=ROOM).parts
    eager = estimate(changed(data__max_length=1024, model__attention="eager"), checkpoint, room=ROOM).parts
    assert long["activations"] == 8 * short["activations"]
    assert kept["activations"] < long["activations"] < eager["activations"]


def test_what_does_not_fit_is_told_with_its_largest_part_and_a_way_out(base: Path) -> None:
    tight = Room(GIB, GIB // 2, on_gpu=True)
    found = estimate(changed(data__max_length=100_000), describe(base), room=tight)
    assert not found.fits
    (problem,) = found.problems
    assert "the largest part is activations" in problem
    assert "gradient_checkpointing" in problem
    assert estimate(changed(), describe(base), room=GPU).fits


def test_ranks_on_one_cpu_share_its_memory(base: Path) -> None:
    assert estimate(changed(launch__ranks=4, launch__device="cpu"), describe(base), room=ROOM).available == 16 * GIB


def test_a_checkpoint_without_config_or_headers_is_estimated_from_what_is_left(tmp_path: Path) -> None:
    folder = tmp_path / "odd"
    folder.mkdir()
    (folder / "config.json").write_text("[")
    assert estimate(changed(), describe(folder), room=ROOM).total > 0
    (folder / "config.json").write_text(
        '{"model_type": "opt", "hidden_size": 64, "num_hidden_layers": 2, "ffn_dim": 256}'
    )
    (folder / "model.safetensors").write_bytes(b"\xff" * 20)
    shape = read_shape(describe(folder))
    assert lora_parameters(shape, 8, ["all-linear"]) == 8 * 2 * (8 * 64 + 2 * (64 + 256))


def test_packed_weights_take_little_more_than_four_bits(base: Path) -> None:
    plain = estimate(changed(), describe(base), room=GPU).parts["weights"]
    packed = estimate(changed(method__base_bits=4), describe(base), room=GPU).parts["weights"]
    assert 0.25 * plain < packed < plain
