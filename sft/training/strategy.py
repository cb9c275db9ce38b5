"""How gradients become a step: on one device, on several that each hold the whole model, or with DeepSpeed's ZeRO.

A micro step takes the summed loss of its batch times `weight`, the share of one token in the step's mean. What the
ranks average is multiplied by their number before, so that the gradient is that of the mean over the trained tokens of
the global batch, however many ranks and micro steps share it (transformers#34191 tells what comes of a mean of means).
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from sft.errors import SftError
from sft.training.batches import Batch
from sft.training.language_model import LanguageModel
from sft.training.world import World

_OPTIMIZER = "optimizer.pt"
_KEPT_BY_DEEPSPEED = {
    "deepspeed.runtime.fp16.loss_scaler.DynamicLossScaler",
    "deepspeed.runtime.fp16.loss_scaler.LossScaler",
    "deepspeed.runtime.zero.config.ZeroStageEnum",
    "deepspeed.utils.tensor_fragment.fragment_address",
}


class Strategy(Protocol):
    """What the training loop calls. All ranks call each method together."""

    name: str

    def micro_step(self, batch: Batch, weight: float, *, last: bool) -> Tensor:
        """Add a batch's gradient; its summed loss, float32 [], detached. last: of the step."""
        ...

    def step(self, learning_rate: float) -> float:
        """Clip, update, clear; the norm of the gradient before it was clipped."""
        ...

    def loss(self, batch: Batch) -> Tensor:
        """The summed loss of a batch, without a gradient."""
        ...

    def save(self, directory: Path) -> None:
        """Write what resuming needs besides weights in standard files."""
        ...

    def load(self, directory: Path) -> None:
        """Take up what save wrote."""
        ...

    def weights(self, *, trained: bool) -> dict[str, Tensor]:
        """The model's state on rank 0, on the CPU or where it is; nothing elsewhere. trained: what is trained only."""
        ...


def parameter_groups(model: nn.Module, weight_decay: float) -> list[dict[str, Any]]:
    """Trained parameters in two groups: matrices decay, biases and norms, which have one dimension, do not."""
    trained = [each for each in model.parameters() if each.requires_grad]
    # ZeRO-3 has split them into flat parts; what they are is in ds_shape.
    decaying = [each for each in trained if len(getattr(each, "ds_shape", each.shape)) > 1]
    known = {id(each) for each in decaying}
    others = [each for each in trained if id(each) not in known]
    groups = [
        {"params": decaying, "weight_decay": weight_decay},
        {"params": others, "weight_decay": 0.0},
    ]
    return [group for group in groups if group["params"]]


class TorchStrategy:
    """torch alone; DistributedDataParallel with several ranks.

    dtype: float32, or the 16-bit type that products are computed in; float16 has its loss scaled.
    """

    def __init__(
        self,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer,
        world: World,
        *,
        clip_norm: float,
        dtype: torch.dtype,
    ) -> None:
        self.name = "plain" if world.size == 1 else "ddp"
        self._model = model
        self._wrapped: nn.Module = model
        if world.size > 1:
            devices = [world.device] if world.device.type == "cuda" else None
            self._wrapped = DistributedDataParallel(model, device_ids=devices, broadcast_buffers=False)
        self._optimizer = optimizer
        self._world = world
        self._clip_norm = clip_norm
        self._dtype = dtype
        self._scaler = torch.amp.GradScaler(world.device.type, enabled=dtype == torch.float16)
        self._trained = [each for each in model.parameters() if each.requires_grad]

    def _autocast(self) -> AbstractContextManager[object]:
        return torch.autocast(self._world.device.type, self._dtype, enabled=self._dtype != torch.float32)

    def micro_step(self, batch: Batch, weight: float, *, last: bool) -> Tensor:
        apart = isinstance(self._wrapped, DistributedDataParallel) and not last
        with self._wrapped.no_sync() if apart else nullcontext():  # type: ignore[operator]
            with self._autocast():
                loss: Tensor = self._wrapped(batch)
            self._scaler.scale(loss * (weight * self._world.size)).backward()  # type: ignore[no-untyped-call]
        return loss.detach()

    def step(self, learning_rate: float) -> float:
        self._scaler.unscale_(self._optimizer)
        limit = self._clip_norm or float("inf")
        norm = torch.nn.utils.clip_grad_norm_(self._trained, limit)
        for group in self._optimizer.param_groups:
            group["lr"] = learning_rate
        if torch.isfinite(norm):  # one step along a gradient that is no number, and the weights are none either
            self._scaler.step(self._optimizer)
        self._scaler.update()
        self._optimizer.zero_grad(set_to_none=True)
        return float(norm)

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad(), self._autocast():
            loss: Tensor = self._model(batch)
        return loss

    def save(self, directory: Path) -> None:
        if self._world.leads:
            state = {"optimizer": self._optimizer.state_dict(), "scaler": self._scaler.state_dict()}
            torch.save(state, directory / _OPTIMIZER)

    def load(self, directory: Path) -> None:
        state = torch.load(directory / _OPTIMIZER, map_location="cpu", weights_only=True)
        self._optimizer.load_state_dict(state["optimizer"])
        self._scaler.load_state_dict(state["scaler"])

    def weights(self, *, trained: bool) -> dict[str, Tensor]:
        if not self._world.leads:
            return {}
        return _state(self._model, trained)


class DeepSpeedStrategy:
    """DeepSpeed, at any stage of ZeRO. configuration: complete, as `deepspeed_configuration` writes it."""

    name = "deepspeed"
    _TAG = "state"

    def __init__(
        self,
        model: LanguageModel,
        optimizer: torch.optim.Optimizer | None,
        configuration: dict[str, Any],
        *,
        adapter: bool,
        weight_decay: float,
    ) -> None:
        import deepspeed

        self._zero = deepspeed.zero
        self._adapter = adapter
        self._model = model
        self._partitioned = configuration["zero_optimization"]["stage"] == 3
        self._engine, *_ = deepspeed.initialize(
            model=model,
            model_parameters=None if optimizer is not None else parameter_groups(model, weight_decay),
            optimizer=optimizer,
            config=configuration,
        )
        self._world_size: int = self._engine.world_size
        self._leads = self._engine.global_rank == 0

    def micro_step(self, batch: Batch, weight: float, *, last: bool) -> Tensor:
        loss: Tensor = self._engine(batch)
        self._engine.backward(loss * (weight * self._world_size), scale_wrt_gas=False)
        if not last:
            self._engine.step()  # counts the micro step; only the last one of a step changes weights
        return loss.detach()

    def step(self, learning_rate: float) -> float:
        for group in self._engine.optimizer.param_groups:
            group["lr"] = learning_rate
        self._engine.step()
        norm = self._engine.get_global_grad_norm()
        return float(norm) if norm is not None else float("nan")

    def loss(self, batch: Batch) -> Tensor:
        with torch.no_grad():
            loss: Tensor = self._engine(batch)
        return loss

    def save(self, directory: Path) -> None:
        self._engine.save_checkpoint(directory, tag=self._TAG, exclude_frozen_parameters=self._adapter)
        if self._leads:
            for script in directory.glob("*.py"):  # programs that DeepSpeed lays beside; a checkpoint is data
                script.unlink()

    def load(self, directory: Path) -> None:
        for path in sorted((directory / self._TAG).glob("*.pt")):
            check_pickle(path)
        found, _ = self._engine.load_checkpoint(directory, tag=self._TAG, load_module_strict=not self._adapter)
        if found is None:
            raise SftError(f"DeepSpeed found nothing to resume in {directory.parent.name}.", "Start a new run.")

    def weights(self, *, trained: bool) -> dict[str, Tensor]:
        if not self._partitioned:
            return _state(self._model, trained) if self._leads else {}
        whole = {}
        for name, parameter in self._model.model.named_parameters():
            if parameter.requires_grad or not trained:
                with self._zero.GatheredParameters([parameter]):  # one by one: all of them may not fit anywhere
                    if self._leads:
                        whole[name] = parameter.detach().cpu().clone()
        return whole


def _state(model: LanguageModel, trained: bool) -> dict[str, Tensor]:
    state: dict[str, Tensor] = model.model.state_dict()
    if not trained:
        return state
    names = {name for name, parameter in model.model.named_parameters() if parameter.requires_grad}
    return {name: tensor for name, tensor in state.items() if name in names}


def check_pickle(path: Path) -> None:
    """Raises SftError when loading a file would do more than make tensors and what DeepSpeed keeps beside them.

    DeepSpeed loads its files as pickles that may name anything to be called, and a run's folder can come from anywhere.
    """
    if foreign := set(torch.serialization.get_unsafe_globals_in_checkpoint(path)) - _KEPT_BY_DEEPSPEED:
        raise SftError(
            f"{path.name} names code to be run ({', '.join(sorted(foreign))[:200]}), which no checkpoint of ours does.",
            "Resume from another checkpoint.",
        )


def deepspeed_configuration(
    *,
    stage: int,
    offload: str,
    rows: int,
    micro_steps: int,
    clip_norm: float,
    dtype: torch.dtype,
    optimizer: dict[str, object] | None,
) -> dict[str, Any]:
    """The whole of DeepSpeed's configuration; nothing is left to its defaults that changes a run.

    optimizer: betas, epsilon and weight decay for DeepSpeed's own Adam, which offloading wants; None: torch's is used.
    """
    zero: dict[str, Any] = {
        "stage": stage,
        "overlap_comm": False,
        "contiguous_gradients": True,
        "reduce_bucket_size": 50_000_000,
        "allgather_bucket_size": 50_000_000,
    }
    if stage == 3:
        zero |= {
            "stage3_gather_16bit_weights_on_model_save": True,
            "stage3_prefetch_bucket_size": 50_000_000,
            "stage3_param_persistence_threshold": 10_000,
            "stage3_max_live_parameters": 1_000_000_000,
        }
    if offload in ("optimizer", "all"):
        zero["offload_optimizer"] = {"device": "cpu", "pin_memory": True}
    if offload == "all":
        zero["offload_param"] = {"device": "cpu", "pin_memory": True}
    configuration: dict[str, Any] = {
        "train_micro_batch_size_per_gpu": rows,
        "gradient_accumulation_steps": micro_steps,
        "gradient_clipping": clip_norm,
        "zero_optimization": zero,
        "zero_allow_untested_optimizer": True,
        "zero_force_ds_cpu_optimizer": False,
        "bf16": {"enabled": dtype == torch.bfloat16},
        "fp16": {"enabled": dtype == torch.float16, "loss_scale": 0, "initial_scale_power": 16},
        "steps_per_print": 1_000_000_000,
        "wall_clock_breakdown": False,
    }
    if optimizer is not None:
        configuration["optimizer"] = {"type": "AdamW", "params": dict(optimizer)}
    return configuration
