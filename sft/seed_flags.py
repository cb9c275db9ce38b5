"""The flags of HugNLP's training scripts, each mapped to the recipe, found to need nothing, or refused with a reason.

They are those of transformers' TrainingArguments and HugNLP's own. A value that is not given is the recipe's, not
HugNLP's: its learning rate of 5e-5, for one, is no good for LoRA.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engine.checkpoints.reading import UnreadableError, read_json_object
from sft.recipe_fields import Problem, nearest, quoted

TRUE, FALSE = ("true", "1", "yes", "y", "t", "on"), ("false", "0", "no", "n", "f", "off")
NOTHING = ("none", "null", "")


@dataclass
class Given:
    """What flags came to. values: for the recipe, by place. output, name: of the run. notes: what had no effect."""

    values: dict[str, Any] = field(default_factory=dict)
    sources: list[str] = field(default_factory=list)
    output: str = ""
    name: str = ""
    notes: list[str] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


# Flags that are a key of the recipe under another name, and the type of their values.
_PLACES: dict[str, tuple[str, type]] = {
    "model": ("model.base", str),
    "model_name_or_path": ("model.base", str),
    "attn_implementation": ("model.attention", str),
    "max_seq_length": ("data.max_length", int),
    "block_size": ("data.max_length", int),
    "validation_file": ("data.held_out_source", str),
    "lora_alpha": ("method.alpha", float),
    "lora_dropout": ("method.dropout", float),
    "learning_rate": ("training.learning_rate", float),
    "per_device_train_batch_size": ("training.batch_size", int),
    "gradient_accumulation_steps": ("training.accumulation", int),
    "num_train_epochs": ("training.epochs", float),
    "warmup_steps": ("training.warmup_steps", int),
    "warmup_ratio": ("training.warmup_ratio", float),
    "weight_decay": ("training.weight_decay", float),
    "adam_beta1": ("training.beta1", float),
    "adam_beta2": ("training.beta2", float),
    "adam_epsilon": ("training.epsilon", float),
    "max_grad_norm": ("training.clip_norm", float),
    "neftune_noise_alpha": ("training.neftune_alpha", float),
    "gradient_checkpointing": ("training.gradient_checkpointing", bool),
    "seed": ("training.seed", int),
    "per_device_eval_batch_size": ("evaluation.batch_size", int),
    "eval_steps": ("evaluation.every", int),
    "max_eval_samples": ("evaluation.max_rows", int),
    "early_stopping_patience": ("evaluation.patience", int),
    "save_steps": ("checkpoints.every", int),
    "save_total_limit": ("checkpoints.keep", int),
    "nproc_per_node": ("launch.ranks", int),
    "nnodes": ("launch.nodes", int),
}

# Flags that change nothing here, whatever their value, and why.
_NOTHING_TO_DO = {
    "do_eval": "the evaluation is set by --eval_steps",
    "overwrite_output_dir": "a run is never written over: a folder that holds one is refused",
    "overwrite_cache": "prepared data is found by what it was made of, and made anew when that changes",
    "logging_steps": "every step is logged",
    "logging_strategy": "every step is logged",
    "logging_first_step": "every step is logged",
    "logging_dir": "the log lies in the run's folder",
    "cache_dir": "models are looked for in the Hugging Face cache, where HF_HOME says",
    "model_type": "it is read from the checkpoint",
    "ignore_data_skip": "a resumed run finds its place in the data at once",
    "remove_unused_columns": "only what a conversation needs is read",
    "preprocessing_num_workers": "all cores prepare the data",
    "dataloader_num_workers": "the prepared data is read from memory maps",
    "dataloader_pin_memory": "the prepared data is read from memory maps",
    "ddp_find_unused_parameters": "all that is trained is used",
    "local_rank": "the ranks are started by hugchat",
    "master_port": "a free port is taken; for several machines set launch.rendezvous",
    "use_fast_tokenizer": "the fast tokenizer is used",
    "pad_to_max_length": "rows are packed, not padded",
    "user_defined": "the chat template says how a conversation is written and where an answer ends",
    "disable_tqdm": "progress is shown by: hugchat sft tail",
    "skip_memory_metrics": "memory is measured at every step",
    "do_lower_case": "the checkpoint's tokenizer decides",
    "group_by_length": "rows are packed by length",
}

# Flags that ask for what there is not, unless their value says "no".
_REFUSED = {
    "do_predict": "answers are written by: hugchat chat --model runs/NAME",
    "do_adv": "adversarial training is not here",
    "do_predict_during_train": "set evaluation.prompts in a recipe: they are answered at each evaluation",
    "pre_train_from_scratch": "only a checkpoint is fine-tuned",
    "config_name": "the checkpoint's own configuration is used",
    "config_overrides": "the checkpoint's own configuration is used",
    "tokenizer_name": "the checkpoint's own tokenizer is used",
    "model_revision": "write it behind the model: --model org/name@revision",
    "use_auth_token": "nothing is downloaded: get the model with: hugchat models pull",
    "freeze_epochs": "freezing by epochs is not here",
    "ema": "averaging of weights is not here",
    "use_prompt_for_cls": "only chat models are trained",
    "use_freezing": "for parameter-efficient training use --lora_dim",
    "resume_from_checkpoint": "a run goes on with: hugchat sft resume RUN",
    "push_to_hub": "nothing is uploaded",
    "load_best_model_at_end": "the best checkpoint is kept beside the last one",
    "fp16_full_eval": "the evaluation computes as the training does",
    "label_smoothing_factor": "label smoothing is not here",
    "train_on_inputs": "the loss is taken on the assistant's turns alone",
    "dataset_name": "name a Hub data set so: --data hub:org/name",
    "max_train_samples": "set a cap on the source in a recipe",
    "use_semi": "semi-supervised training is not here",
    "data_seed": "the order of the rows follows --seed",
    "tracking_uri": "nothing is sent anywhere",
    "auto_find_batch_size": "hugchat sft run --dry-run shows what would fit",
    "torch_compile": "compiled, the training measured half as fast",
}


def _boolean(text: str) -> bool:
    if text.lower() in TRUE:
        return True
    if text.lower() in (*FALSE, *NOTHING):
        return False
    raise ValueError(f"{quoted(text)} is neither true nor false")


def _number(kind: type) -> Callable[[str], Any]:
    def read(text: str) -> Any:
        try:
            value = kind(text)
        except ValueError:
            words = "a whole number" if kind is int else "a number"
            raise ValueError(f"{quoted(text)} is not {words}") from None
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{quoted(text)} is not a number that could be used")
        return value

    return read


_READ: dict[type, Callable[[str], Any]] = {str: str, bool: _boolean, int: _number(int), float: _number(float)}


def _max_steps(text: str, given: Given) -> None:
    given.values["training.max_steps"] = max(0, _READ[int](text))  # -1 is transformers' word for "by epochs"


def _data(text: str, given: Given) -> None:
    given.sources.append(text)


def _output(text: str, given: Given) -> None:
    given.output = text


def _name(text: str, given: Given) -> None:
    given.name = text


def _lora_dim(text: str, given: Given) -> None:
    rank = _READ[int](text)
    given.values["method.kind"] = "lora" if rank else "full"
    if rank:
        given.values["method.rank"] = rank


def _targets(text: str, given: Given) -> None:
    given.values["method.targets"] = [name for name in re.split(r"[,\s]+", text) if name]


def _held_out(text: str, given: Given) -> None:
    given.values["data.held_out"] = _READ[float](text) / 100


def _scheduler(text: str, given: Given) -> None:
    schedules = {"linear": "linear", "cosine": "cosine", "constant": "constant", "constant_with_warmup": "constant"}
    if text not in schedules:
        raise ValueError(f"there is no schedule {quoted(text)} here; there are linear, cosine and constant")
    given.values["training.schedule"] = schedules[text]
    if text == "constant":
        given.values |= {"training.warmup_steps": 0, "training.warmup_ratio": 0.0}


def _dtype(dtype: str) -> Callable[[str, Given], None]:
    def take(text: str, given: Given) -> None:
        if _boolean(text):
            given.values["model.dtype"] = dtype

    return take


def _cpu(text: str, given: Given) -> None:
    if _boolean(text):
        given.values["launch.device"] = "cpu"


def _strategy(place: str) -> Callable[[str, Given], None]:
    def take(text: str, given: Given) -> None:
        if text == "no":
            given.values[place] = 0
        elif text != "steps":
            raise ValueError(f"{quoted(text)} is not here: give the number of steps")

    return take


def _only(*allowed: str, why: str) -> Callable[[str, Given], None]:
    def take(text: str, given: Given) -> None:
        if text.lower() not in (*allowed, *NOTHING):
            raise ValueError(f"{quoted(text)} is not here: {why}")

    return take


def _do_train(text: str, given: Given) -> None:
    if not _boolean(text):
        raise ValueError("hugchat sft run trains")


def _deepspeed(text: str, given: Given) -> None:
    """The stage and offload of a DeepSpeed configuration file, from its content or, where it is not here, its name."""
    path = Path(text)
    try:
        document = read_json_object(path) if text.endswith(".json") else None
    except UnreadableError as error:
        raise ValueError(str(error)) from None
    if document is None:
        match = re.search(r"(?:zero|stage|z)[_-]?(?:stage)?[_-]?([0-3])(?!\d)", path.stem.lower())
        if match is None:
            raise ValueError(f"there is no file {quoted(text)}, and its name tells no stage, such as _z3")
        stage, offload = int(match[1]), "offload" in path.stem.lower()
        given.values["launch.zero"] = stage
        given.values["launch.offload"] = "none" if not offload else "all" if stage == 3 else "optimizer"
        given.notes.append(f"--deepspeed: there is no file {text}; stage {stage} was taken from its name")
    else:
        zero = document.get("zero_optimization")
        zero = zero if isinstance(zero, dict) else {}
        stage = zero.get("stage", 0)
        if isinstance(stage, bool) or stage not in (0, 1, 2, 3):
            raise ValueError(f"{path.name} has the stage {quoted(stage)}")
        given.values["launch.zero"] = stage
        parameters, optimizer = _offloads(zero, "offload_param"), _offloads(zero, "offload_optimizer")
        given.values["launch.offload"] = "all" if parameters else "optimizer" if optimizer else "none"
        given.notes.append(
            "--deepspeed: its stage and offload are used; all else in the configuration follows the recipe"
        )
    given.values["launch.engine"] = "deepspeed"


def _offloads(zero: Mapping[str, Any], key: str) -> bool:
    section = zero.get(key)
    return isinstance(section, dict) and section.get("device", "none") != "none"


_TAKEN: dict[str, Callable[[str, Given], None]] = {
    "max_steps": _max_steps,
    "data": _data,
    "data_dir": _data,
    "train_file": _data,
    "output": _output,
    "output_dir": _output,
    "name": _name,
    "run_name": _name,
    "exp_name": _name,
    "lora_dim": _lora_dim,
    "lora_rank": _lora_dim,
    "lora_target_modules": _targets,
    "validation_split_percentage": _held_out,
    "lr_scheduler_type": _scheduler,
    "fp16": _dtype("float16"),
    "bf16": _dtype("bfloat16"),
    "no_cuda": _cpu,
    "use_cpu": _cpu,
    "evaluation_strategy": _strategy("evaluation.every"),
    "eval_strategy": _strategy("evaluation.every"),
    "save_strategy": _strategy("checkpoints.every"),
    "do_train": _do_train,
    "deepspeed": _deepspeed,
    "report_to": _only(why="a run tells of itself in its events.jsonl alone"),
    "optim": _only("adamw_torch", "adamw_hf", "adamw", "adamw_torch_fused", why="the optimizer is AdamW"),
    "task_name": _only("causal_instruction", "causal_chat", why="chat models are trained, on instructions"),
    "task_type": _only("auto_causal_lm", "causal_lm", why="causal language models are trained"),
}

KNOWN = (*_PLACES, *_TAKEN, *_NOTHING_TO_DO, *_REFUSED)


def known_flag(name: str) -> str:
    """The flag's own spelling; "" when there is none. --learning-rate is --learning_rate."""
    spelled = name.replace("-", "_")
    return spelled if spelled in KNOWN else ""


def unknown_words(name: str, others: Iterable[str]) -> str:
    """What to say of an unknown flag. others: flags that are known besides those of the seed."""
    near = nearest(f"--{name.replace('-', '_')}", [f"--{known}" for known in (*KNOWN, *others)])
    return f"there is no flag --{name}{near}"


def read_flags(flags: Iterable[tuple[str, str]]) -> Given:
    """What flags with their values ask; a flag without a value has "true". All that is wrong is in `problems`."""
    given = Given()
    for name, text in flags:
        try:
            if name in _PLACES:
                place, kind = _PLACES[name]
                given.values[place] = _READ[kind](text)
            elif name in _TAKEN:
                _TAKEN[name](text, given)
            elif name in _NOTHING_TO_DO:
                given.notes.append(f"--{name} changes nothing: {_NOTHING_TO_DO[name]}")
            elif text.lower() not in (*FALSE, *NOTHING):
                raise ValueError(_REFUSED[name])
        except ValueError as error:
            given.problems.append(Problem(f"--{name}", str(error)))
    if given.sources:
        given.values["data.sources"] = [{"path": source} for source in given.sources]
    return given
