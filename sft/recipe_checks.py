"""What does not go together in a recipe, found without the model, the data or the machine."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from sft.recipe_fields import Problem

if TYPE_CHECKING:
    from engine.checkpoints.model import Checkpoint
    from sft.config import Recipe


def check(recipe: Recipe) -> list[Problem]:
    """Every contradiction, at the place of the key to be changed; empty when there is none."""
    return [*_method(recipe), *_training(recipe), *_evaluation(recipe), *_launch(recipe)]


def check_sources(recipe: Recipe) -> list[Problem]:
    """Whether it names rows to train on. A recipe that ships does not: they are the person's own."""
    if recipe.data.sources:
        return []
    return [
        Problem("data.sources", 'is empty: name a file, such as sources = [{ path = "rows.jsonl" }], or use --data')
    ]


def check_base(recipe: Recipe, base: Checkpoint) -> list[Problem]:
    """What the recipe asks of its base that this cannot do."""
    found = []
    if base.kind == "adapter":
        message = f"{base.name} is an adapter: merge it into its base first, with hugchat models merge"
        found.append(Problem("model.base", message))
    if base.problem is not None:
        found.append(Problem("model.base", f"{base.name} cannot be loaded: {base.problem}"))
    length = recipe.data.max_length
    if base.context_length and length > base.context_length:
        message = f"{length:,} is more than the {base.context_length:,} tokens that {base.name} was built for"
        found.append(Problem("data.max_length", message))
    return found


def check_machine(recipe: Recipe, gpus: int | None) -> list[Problem]:
    """What this machine cannot do of it. gpus: NVIDIA GPUs that may be used; None when that is not known."""
    launch = recipe.launch
    if gpus is None or launch.device in ("cpu", "mps"):
        return []
    if gpus:
        if launch.ranks > gpus:
            return [Problem("launch.ranks", f"{launch.ranks} ranks need as many GPUs, and {gpus} are here")]
        return []
    found = []
    if launch.device == "cuda":
        found.append(Problem("launch.device", '"cuda" is not here: there is no NVIDIA GPU'))
    if recipe.method.base_bits == 4:
        found.append(Problem("method.base_bits", "4 bits need an NVIDIA GPU, and there is none here"))
    if recipe.model.dtype == "float16" and sys.platform != "darwin":
        found.append(Problem("model.dtype", "float16 is for GPUs, and there is none here: use auto (without --fp16)"))
    if recipe.model.attention == "flash_attention_2":
        found.append(Problem("model.attention", "flash_attention_2 needs an NVIDIA GPU, and there is none here"))
    return found


def _method(recipe: Recipe) -> list[Problem]:
    model, method, device = recipe.model, recipe.method, recipe.launch.device
    found = []
    if method.base_bits == 4:
        if method.kind != "lora":
            found.append(
                Problem("method.base_bits", '4 bits cannot be trained themselves: it needs method.kind = "lora"')
            )
        if device in ("cpu", "mps"):
            found.append(Problem("method.base_bits", f"4 bits need an NVIDIA GPU, and launch.device is {device}"))
    if method.kind == "lora":
        if not method.targets:
            found.append(Problem("method.targets", 'is empty: name layers, or "all-linear"'))
        elif "all-linear" in method.targets and len(method.targets) > 1:
            found.append(Problem("method.targets", '"all-linear" stands for all of them: it goes with no other name'))
        if "" in method.targets:
            found.append(Problem("method.targets", "holds an empty name"))
    if model.dtype == "float16" and device == "cpu":
        found.append(Problem("model.dtype", "float16 is for GPUs: on a CPU use float32 or auto"))
    if model.attention == "flash_attention_2":
        if device in ("cpu", "mps"):
            found.append(
                Problem("model.attention", f"flash_attention_2 needs an NVIDIA GPU, and launch.device is {device}")
            )
        if model.dtype == "float32":
            found.append(
                Problem("model.attention", "flash_attention_2 computes in 16 bits, and model.dtype is float32")
            )
    return found


def _training(recipe: Recipe) -> list[Problem]:
    training = recipe.training
    found = []
    if training.max_steps and training.warmup_steps >= training.max_steps:
        message = (
            f"{training.warmup_steps} steps of warm-up leave none of the {training.max_steps} of training.max_steps"
        )
        found.append(Problem("training.warmup_steps", message))
    if training.warmup_ratio == 1 and not training.warmup_steps:
        found.append(
            Problem("training.warmup_ratio", "1 is all of the run: the learning rate never gets to its height")
        )
    return found


def _evaluation(recipe: Recipe) -> list[Problem]:
    evaluation, data = recipe.evaluation, recipe.data
    has_rows = bool(data.held_out or data.held_out_source)
    found = []
    if evaluation.patience and not evaluation.every:
        found.append(Problem("evaluation.patience", "needs evaluations, and evaluation.every is 0"))
    if evaluation.patience and not has_rows:
        found.append(
            Problem("evaluation.patience", "needs rows to evaluate on: set data.held_out or data.held_out_source")
        )
    if evaluation.every and not has_rows and not evaluation.prompts:
        message = "there is nothing to evaluate: set data.held_out or evaluation.prompts, or this to 0"
        found.append(Problem("evaluation.every", message))
    if evaluation.prompts and not evaluation.every:
        found.append(Problem("evaluation.prompts", "are never asked, as evaluation.every is 0"))
    return found


def _launch(recipe: Recipe) -> list[Problem]:
    launch = recipe.launch
    found = []
    if launch.zero and launch.engine in ("plain", "ddp"):
        message = (
            f'stage {launch.zero} is DeepSpeed\'s, and launch.engine is "{launch.engine}": set that to "deepspeed"'
        )
        found.append(Problem("launch.zero", message))
    if launch.offload == "optimizer" and launch.zero < 2:
        found.append(Problem("launch.offload", '"optimizer" needs launch.zero 2 or 3'))
    if launch.offload == "all" and launch.zero < 3:
        found.append(Problem("launch.offload", '"all" needs launch.zero 3'))
    if recipe.method.dora and launch.zero == 3:
        found.append(Problem("launch.zero", "3 splits the weights whose norms DoRA takes (method.dora): set it to 2"))
    if launch.offload != "none" and launch.device == "cpu":
        found.append(Problem("launch.offload", 'moves what is on a GPU, and launch.device is "cpu": set it to "none"'))
    if launch.engine == "plain" and recipe.world_size > 1:
        message = f'"plain" is one process, and there are {recipe.world_size}: use "ddp", "deepspeed" or "auto"'
        found.append(Problem("launch.engine", message))
    if launch.zero and launch.device == "mps":
        found.append(Problem("launch.zero", "DeepSpeed does not run on Apple's GPUs"))
    if launch.device == "mps" and recipe.world_size > 1:
        found.append(Problem("launch.ranks", "Apple's GPU takes one process"))
    if launch.rendezvous and launch.hostfile:
        found.append(Problem("launch.hostfile", "is another way than launch.rendezvous: set one of them"))
    if launch.nodes > 1 and not launch.rendezvous and not launch.hostfile:
        found.append(Problem("launch.nodes", f"{launch.nodes} machines need launch.rendezvous or launch.hostfile"))
    if launch.nodes == 1 and launch.rendezvous not in ("", "slurm"):
        found.append(Problem("launch.rendezvous", "is for several machines, and launch.nodes is 1"))
    port = launch.rendezvous.rpartition(":")[2]
    if port.isdecimal() and not 0 < int(port) < 65_536:
        found.append(Problem("launch.rendezvous", f"{port} is no port: they go from 1 to 65,535"))
    return found
