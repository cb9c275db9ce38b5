"""The flags of HugNLP's scripts: each mapped, found to need nothing, or refused with a reason."""

from __future__ import annotations

import json
import shlex
from pathlib import Path

import pytest
from hypothesis import given as hypothesis_given
from hypothesis import settings
from hypothesis import strategies as st

from sft import config
from sft.config import Recipe, RecipeError
from sft.seed_flags import KNOWN, Given, known_flag, read_flags, unknown_words


def given(line: str) -> Given:
    flags = [each.removeprefix("--").partition("=") for each in shlex.split(line)]
    return read_flags([(name, value if equals else "true") for name, equals, value in flags])


def values(line: str) -> dict[str, object]:
    found = given(line)
    assert found.problems == []
    return found.values


def refusal(line: str) -> str:
    (problem,) = given(line).problems
    return str(problem)


def test_the_seeds_script_for_opt_with_lora_is_taken_as_it_stands() -> None:
    """applications/instruction_prompting/HugChat/supervised_finetuning/run_causal_instruction_opt_lora.sh"""
    found = given(
        "--model_name_or_path=facebook/opt-6.7b --data_dir=/data/instruction_corpora --max_seq_length=512"
        " --output_dir=./outputs/opt/ --do_train --per_device_train_batch_size=4 --per_device_eval_batch_size=1"
        " --evaluation_strategy=no --save_strategy=steps --gradient_accumulation_steps=1 --learning_rate=1e-4"
        " --logging_steps=10000000 --save_steps=10000 --save_total_limit=10 --num_train_epochs=2 --lora_dim=8"
        " --report_to=none --task_name=causal_instruction --task_type=auto_causal_lm --model_type=auto"
        " --exp_name=causal-instruciton --warmup_steps=6000 --ignore_data_skip --remove_unused_columns=False"
        " --cache_dir=/wjn/.cache --overwrite_output_dir"
        " --user_defined='causal_lm_name=opt stop_token=<|endoftext|> language=en'"
        " --deepspeed=./deepspeed/ds_config_fp16_z3.json --fp16"
    )
    assert found.problems == []
    assert (found.output, found.name, found.sources) == (
        "./outputs/opt/",
        "causal-instruciton",
        ["/data/instruction_corpora"],
    )
    recipe = config.with_values(Recipe(), found.values)
    assert (recipe.model.base, recipe.model.dtype) == ("facebook/opt-6.7b", "float16")
    assert (recipe.method.kind, recipe.method.rank) == ("lora", 8)
    assert (recipe.launch.zero, recipe.launch.engine, recipe.launch.offload) == (3, "deepspeed", "none")
    assert (recipe.training.learning_rate, recipe.training.accumulation, recipe.training.batch_size) == (1e-4, 1, 4)
    assert (recipe.evaluation.every, recipe.checkpoints.every, recipe.checkpoints.keep) == (0, 10_000, 10)
    assert any("--cache_dir changes nothing" in note for note in found.notes)
    assert any("stage 3 was taken from its name" in note for note in found.notes)


@pytest.mark.parametrize(
    ("line", "place", "value"),
    [
        ("--max_steps=-1", "training.max_steps", 0),
        ("--max_steps=80", "training.max_steps", 80),
        ("--lora_dim=0", "method.kind", "full"),
        ("--lora_alpha=32", "method.alpha", 32.0),
        ("--lora_target_modules=q_proj,v_proj", "method.targets", ["q_proj", "v_proj"]),
        ("--block_size=256", "data.max_length", 256),
        ("--train_file=a.json", "data.sources", [{"path": "a.json"}]),
        ("--validation_split_percentage=5", "data.held_out", 0.05),
        ("--validation_file=b.json", "data.held_out_source", "b.json"),
        ("--lr_scheduler_type=constant_with_warmup", "training.schedule", "constant"),
        ("--bf16", "model.dtype", "bfloat16"),
        ("--no_cuda", "launch.device", "cpu"),
        ("--gradient_checkpointing=True", "training.gradient_checkpointing", True),
        ("--eval_strategy=no", "evaluation.every", 0),
        ("--adam_beta2=0.95", "training.beta2", 0.95),
        ("--max_grad_norm=0.5", "training.clip_norm", 0.5),
        ("--nproc_per_node=4", "launch.ranks", 4),
        ("--early_stopping_patience=3", "evaluation.patience", 3),
    ],
)
def test_a_flag_is_the_recipes_key(line: str, place: str, value: object) -> None:
    assert values(line)[place] == value


@pytest.mark.parametrize(
    "line",
    [
        *("--fp16=false", "--report_to=none", "--optim=adamw_torch", "--do_eval", "--resume_from_checkpoint=False"),
        *("--ema=0", "--push_to_hub=no", "--save_strategy=steps", "--task_name=causal_instruction", "--do_train=1"),
    ],
)
def test_what_is_so_anyway_is_taken(line: str) -> None:
    assert values(line) == {}


@pytest.mark.parametrize(
    ("line", "words"),
    [
        ("--learning_rate=fast", '--learning_rate: "fast" is not a number'),
        ("--learning_rate=nan", "not a number that could be used"),
        ("--max_steps=1.5", "not a whole number"),
        ("--fp16=maybe", "neither true nor false"),
        ("--lr_scheduler_type=polynomial", "there is no schedule"),
        ("--evaluation_strategy=epoch", "give the number of steps"),
        ("--do_train=False", "trains"),
        ("--do_predict", "hugchat chat"),
        ("--resume_from_checkpoint=out/checkpoint-5", "hugchat sft resume"),
        ("--report_to=wandb", "events.jsonl"),
        ("--optim=adafactor", "the optimizer is AdamW"),
        ("--task_name=clue", "chat models are trained"),
        ("--deepspeed=none.json", "its name tells no stage"),
        ("--model_revision=main", "--model org/name@revision"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_reason(line: str, words: str) -> None:
    assert words in refusal(line)


@pytest.mark.parametrize(
    ("document", "zero", "offload"),
    [
        ({"zero_optimization": {"stage": 1}}, 1, "none"),
        ({"zero_optimization": {"stage": 2, "offload_optimizer": {"device": "cpu"}}}, 2, "optimizer"),
        ({"zero_optimization": {"stage": 3, "offload_param": {"device": "cpu"}}}, 3, "all"),
        ({"zero_optimization": {"stage": 3, "offload_optimizer": {"device": "none"}}}, 3, "none"),
        ({"train_batch_size": 8}, 0, "none"),
    ],
)
def test_a_deepspeed_file_gives_stage_and_offload(
    tmp_path: Path, document: dict[str, object], zero: int, offload: str
) -> None:
    path = tmp_path / "ds_config_z2.json"  # its content counts, not its name
    path.write_text(json.dumps(document))
    found = values(f"--deepspeed={path}")
    assert (found["launch.zero"], found["launch.offload"], found["launch.engine"]) == (zero, offload, "deepspeed")


@pytest.mark.parametrize(
    ("name", "zero", "offload"),
    [("ds_config_fp16_z1.json", 1, "none"), ("zero_stage2.json", 2, "none"), ("ds_zero3_offload.json", 3, "all")],
)
def test_a_deepspeed_file_that_is_not_here_is_known_by_its_name(name: str, zero: int, offload: str) -> None:
    found = values(f"--deepspeed=nowhere/{name}")
    assert (found["launch.zero"], found["launch.offload"]) == (zero, offload)


def test_a_broken_deepspeed_file_is_told(tmp_path: Path) -> None:
    for text, words in (("{", "not valid JSON"), ('{"zero_optimization": {"stage": 7}}', "has the stage 7")):
        path = tmp_path / "z3.json"
        path.write_text(text)
        assert words in refusal(f"--deepspeed={path}")


def test_flags_are_known_with_hyphens_too_and_unknown_ones_by_the_nearest() -> None:
    assert known_flag("learning-rate") == "learning_rate"
    assert known_flag("lerning_rate") == ""
    assert "did you mean --learning_rate?" in unknown_words("lerning-rate", [])
    assert "did you mean --dry-run?" in unknown_words("dryrun", ["dry-run"])


@settings(max_examples=300, deadline=None)
@hypothesis_given(
    st.lists(st.tuples(st.sampled_from(KNOWN), st.text(max_size=20) | st.sampled_from(["1", "-1", "no"])))
)
def test_any_value_of_any_flag_is_taken_or_named(flags: list[tuple[str, str]]) -> None:
    found = read_flags(flags)
    assert all(problem.place.startswith("--") and problem.message for problem in found.problems)
    try:
        config.with_values(Recipe(), found.values)
    except RecipeError as error:
        assert error.problems
