"""The model of a run: the base from disk, an adapter's layers in it, and the strategy that trains them."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from engine.checkpoints.model import Checkpoint
from engine.errors import EngineError
from engine.worker.devices import choose_device
from engine.worker.loading import LoadedCheckpoint, context_length, load_checkpoint
from sft.config import Recipe
from sft.errors import SftError
from sft.training.isolation import choose_isolation
from sft.training.language_model import LanguageModel, choose_head
from sft.training.strategy import DeepSpeedStrategy, Strategy, TorchStrategy, deepspeed_configuration, parameter_groups
from sft.training.world import World

Say = Callable[[str, int, int], None]
"""Progress of what takes long: stage, done, total."""


@dataclass(frozen=True, slots=True)
class Built:
    """tokenizer_path: of the directory that its files are copied from. adapted: the PEFT model around it, if any."""

    model: PreTrainedModel
    adapted: Any | None
    language_model: LanguageModel
    strategy: Strategy
    tokenizer: PreTrainedTokenizerBase
    tokenizer_path: Path
    dtype: torch.dtype
    deepspeed: dict[str, Any] | None

    @property
    def parameters(self) -> int:
        return sum(_count(each) for each in self.model.parameters())

    @property
    def trained_parameters(self) -> int:
        return sum(_count(each) for each in self.model.parameters() if each.requires_grad)


def _count(parameter: Tensor) -> int:
    return int(getattr(parameter, "ds_numel", parameter.numel()))


def device_of(recipe: Recipe) -> torch.device:
    """Raises EngineError when the device that is asked for is not there."""
    return choose_device(recipe.launch.device)


def dtype_of(recipe: Recipe, device: torch.device) -> torch.dtype:
    """What products are computed in; of itself, a CPU trains in float32."""
    asked = recipe.model.dtype
    if asked != "auto":
        return {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}[asked]
    if device.type == "cuda":
        return torch.bfloat16 if torch.cuda.is_bf16_supported(including_emulation=False) else torch.float16
    return torch.float32


def engine_of(recipe: Recipe, world_size: int) -> str:
    """plain, ddp or deepspeed. Stage 0 splits nothing, which is what DDP does; DeepSpeed adds nothing to it."""
    if recipe.launch.zero:
        return "deepspeed"
    return "ddp" if world_size > 1 else "plain"


def build(recipe: Recipe, base: Checkpoint, resume_from: Path | None, world: World, say: Say) -> Built:
    """Load, adapt, prove and wrap. All ranks together.

    resume_from: a whole checkpoint of this run, whose weights are taken up (its optimizer: `Strategy.load`).
    Raises EngineError, SftError, MemoryError.
    """
    if base.kind == "adapter":
        raise SftError(
            f"{base.name} is an adapter, and an adapter on an adapter cannot be loaded by anything.",
            "Merge it into its base first: hugchat models merge",
        )
    engine = engine_of(recipe, world.size)
    dtype = dtype_of(recipe, world.device)
    full = recipe.method.kind == "full"
    if recipe.launch.offload != "none":
        if world.device.type != "cuda":
            raise SftError(
                "launch.offload moves what is on a GPU, and there is none here.", 'Set launch.offload = "none".'
            )
        say("compiling DeepSpeed's optimizer, which takes minutes the first time", 0, 0)
    deepspeed = _deepspeed(recipe, dtype, world) if engine == "deepspeed" else None
    partitioned = deepspeed is not None and recipe.launch.zero == 3
    # With torch alone full weights are kept in float32 and 16 bits are for products; DeepSpeed keeps its own copy.
    stored = torch.float32 if full and deepspeed is None else dtype
    # The weights of a fully trained model are whole in its checkpoint; an adapter is laid over its base again.
    source = resume_from if full and deepspeed is None and resume_from is not None else base.path
    if partitioned and recipe.method.base_bits == 4:
        raise SftError("A base in 4 bits cannot be split by ZeRO-3.", "Set launch.zero = 2, or method.base_bits = 16.")
    with _loading_in_parts(deepspeed, partitioned):
        loaded = _load(source, torch.device("cpu") if partitioned else world.device, stored, recipe, say)
    model = loaded.model
    if recipe.model.attention != "auto":
        _set_attention(model, recipe.model.attention)
    _check_length(model, recipe.data.max_length)
    torch.manual_seed(recipe.training.seed)  # before the adapter's matrices are drawn
    adapted = None if full else _adapt(model, recipe)
    if adapted is None:
        model.requires_grad_(True)
    elif resume_from is not None and deepspeed is None:
        _load_adapter(adapted, resume_from)
    if recipe.training.gradient_checkpointing:
        model.enable_input_require_grads()
        model.gradient_checkpointing_enable(gradient_checkpointing_kwargs={"use_reentrant": False})
    if recipe.training.neftune_alpha:
        _add_noise(model, recipe.training.neftune_alpha)
    model.train()
    language_model = LanguageModel(model)
    strategy = _strategy(recipe, language_model, deepspeed, dtype, world)
    say("proving the model", 0, 0)  # wrapped, as with ZeRO-3 only then it can be called
    language_model.isolation = choose_isolation(model, packing=recipe.data.packing)
    language_model.head = choose_head(model, partitioned=partitioned)
    return Built(model, adapted, language_model, strategy, loaded.tokenizer, loaded.tokenizer_path, dtype, deepspeed)


def _load(path: Path, device: torch.device, dtype: torch.dtype, recipe: Recipe, say: Say) -> LoadedCheckpoint:
    if recipe.method.base_bits == 4:
        from sft.training.four_bit import load_in_4_bits

        return load_in_4_bits(path, device, dtype)
    return load_checkpoint(path, None, device, dtype, say)


def _loading_in_parts(deepspeed: dict[str, Any] | None, partitioned: bool) -> AbstractContextManager[object]:
    """While transformers loads weights, each rank keeps its share of them only."""
    if not partitioned or deepspeed is None:
        return nullcontext()
    from transformers.integrations import HfDeepSpeedConfig

    return _Kept(HfDeepSpeedConfig(dict(deepspeed)))


class _Kept(AbstractContextManager[object]):
    """transformers knows the configuration as long as somebody holds it."""

    def __init__(self, configuration: object) -> None:
        self._configuration: object | None = configuration

    def __exit__(self, *error: object) -> None:
        self._configuration = None


def _deepspeed(recipe: Recipe, dtype: torch.dtype, world: World) -> dict[str, Any]:
    if world.device.type == "cpu":
        os.environ.setdefault("DS_ACCELERATOR", "cpu")
    import deepspeed

    # Shared-memory collectives would be compiled with g++ at the first start; gloo's need nothing.
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
    deepspeed.init_distributed(dist_backend="gloo" if world.device.type == "cpu" else "nccl")
    chosen = recipe.training
    offloads = recipe.launch.offload != "none"
    optimizer = {
        "lr": chosen.learning_rate,
        "betas": (chosen.beta1, chosen.beta2),
        "eps": chosen.epsilon,
        "weight_decay": chosen.weight_decay,
    }
    return deepspeed_configuration(
        stage=recipe.launch.zero,
        offload=recipe.launch.offload,
        rows=chosen.batch_size,
        micro_steps=chosen.accumulation,
        clip_norm=chosen.clip_norm,
        dtype=dtype,
        optimizer=optimizer if offloads else None,
    )


def _strategy(
    recipe: Recipe, model: LanguageModel, deepspeed: dict[str, Any] | None, dtype: torch.dtype, world: World
) -> Strategy:
    chosen = recipe.training
    optimizer = None
    if deepspeed is None or "optimizer" not in deepspeed:
        optimizer = torch.optim.AdamW(
            parameter_groups(model, chosen.weight_decay),
            lr=chosen.learning_rate,
            betas=(chosen.beta1, chosen.beta2),
            eps=chosen.epsilon,
        )
    if deepspeed is not None:
        adapter = recipe.method.kind == "lora"
        return DeepSpeedStrategy(model, optimizer, deepspeed, adapter=adapter, weight_decay=chosen.weight_decay)
    assert optimizer is not None
    return TorchStrategy(model, optimizer, world, clip_norm=chosen.clip_norm, dtype=dtype)


def _adapt(model: PreTrainedModel, recipe: Recipe) -> Any:
    from peft import LoraConfig, get_peft_model

    method = recipe.method
    targets = "all-linear" if method.targets == ("all-linear",) else list(method.targets)
    config = LoraConfig(
        task_type="CAUSAL_LM",
        r=method.rank,
        lora_alpha=method.alpha if method.alpha % 1 else int(method.alpha),
        lora_dropout=method.dropout,
        target_modules=targets,
        use_rslora=method.rslora,
        use_dora=method.dora,
    )
    try:
        return get_peft_model(model, config)
    except ValueError as error:
        names = sorted({name.rpartition(".")[2] for name, each in model.named_modules() if _is_linear(each)})
        raise SftError(
            f"No adapter can be put on this model: {' '.join(str(error).split())[:300]}",
            f"method.targets may name: {', '.join(names[:30])}, or all-linear.",
        ) from error


def _is_linear(module: nn.Module) -> bool:
    return isinstance(module, nn.Linear) or type(module).__name__ == "Conv1D"


def _load_adapter(adapted: Any, checkpoint: Path) -> None:
    from peft import set_peft_model_state_dict
    from peft.utils import load_peft_weights

    report = set_peft_model_state_dict(adapted, load_peft_weights(str(checkpoint), device="cpu"))
    trained = {name for name, parameter in adapted.named_parameters() if parameter.requires_grad}
    if report.unexpected_keys or trained.intersection(report.missing_keys):
        raise SftError(
            f"{checkpoint.name} holds an adapter of another shape than the recipe asks for.",
            "Start a new run, or set method back to what the run began with.",
        )


def _set_attention(model: PreTrainedModel, name: str) -> None:
    try:
        model.set_attn_implementation(name)
    except (ValueError, ImportError) as error:
        raise EngineError(
            f"This model cannot use attention {name!r} here: {' '.join(str(error).split())[:300]}",
            "Set model.attention = auto.",
        ) from error


def _check_length(model: PreTrainedModel, length: int) -> None:
    context = context_length(model.config)
    if context and length > context:
        raise SftError(
            f"data.max_length is {length:,} tokens, and this model's context holds {context:,}.",
            f"Set data.max_length to {context} or less.",
        )


def _add_noise(model: PreTrainedModel, alpha: float) -> None:
    """NEFTune (arXiv 2310.05914): uniform noise of alpha / sqrt(length x width) on the embeddings while training."""

    def noisy(module: nn.Module, inputs: tuple[Tensor, ...], output: Tensor) -> Tensor:
        if not module.training:
            return output
        size = alpha / (output.shape[1] * output.shape[2]) ** 0.5
        return output + torch.empty_like(output).uniform_(-size, size)

    model.get_input_embeddings().register_forward_hook(noisy)
