"""How much memory training takes on each device, before anything is loaded.

weights       parameters x bytes of the number format; 4-bit layers 4.5 bits; split among the ranks at ZeRO 3
gradients     4 bytes a trained weight; split at ZeRO 2 and 3
optimizer     a float32 copy (4) and AdamW's two means (8) of each trained weight; split from ZeRO 1 on
activations   of each layer, a token (Korthikanti et al. 2022, arXiv:2205.05198, without the attention scores that
              sdpa and flash attention do not keep): 15 x hidden + 2 x hidden + 8 x inner bytes in 16 bits for a
              gated feed-forward part, 15 x hidden + 3 x hidden + 4 x inner for a plain one; + 5 x heads x length
              where attention is eager. With gradient checkpointing 2 x hidden a layer, and one layer in full
logits        vocabulary x 4 bytes x about 3, of the tokens whose loss is computed at once (sft.training.loss)
margin        what libraries and allocators take: engine.memory.with_overhead
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from engine import memory
from engine.checkpoints.model import Checkpoint
from engine.fit import Room, measure_room
from sft.config import Recipe
from sft.model_shapes import ModelShape, linear_parameters, lora_parameters, read_shape

_PACKED_BYTES = 4.5 / 8  # NF4 in blocks of 64 with a float32 scale each
_LOGITS_PART = 64 * 1024 * 1024  # of the logits that are there at once (sft.training.loss)
_LEAST_TOKENS = 16
_LOGIT_COPIES = 3


@dataclass(frozen=True, slots=True)
class Estimate:
    """Bytes. parts: on each device, by name. host: what offload puts into the memory of each machine.

    trainable: weights that are trained. on_gpu: whether the device is a GPU; else all ranks of a machine share its
    memory. available: free for one device; None when unknown. host_available: of the machine.
    """

    parts: dict[str, int]
    host: int
    trainable: int
    parameters: int
    on_gpu: bool
    available: int | None
    host_available: int
    problems: tuple[str, ...] = ()

    @property
    def total(self) -> int:
        return sum(self.parts.values())

    @property
    def fits(self) -> bool:
        """False when it surely does not; an unknown device counts as large enough."""
        return not self.problems


def estimate(recipe: Recipe, base: Checkpoint, *, room: Room | None = None) -> Estimate:
    """What each device of this machine would need, and what of it would not fit.

    room: of one device, measured when it is not given. Reads files and may start nvidia-smi: call it in a thread.
    """
    shape = read_shape(base)
    device = recipe.launch.device
    room = room or measure_room(device="cuda:0" if device == "cuda" else device)
    on_gpu = room.on_gpu if room is not None else device in ("auto", "cuda")
    ranks = recipe.launch.ranks
    trainable = shape.parameters
    if recipe.method.kind == "lora":
        trainable = lora_parameters(shape, recipe.method.rank, recipe.method.targets, dora=recipe.method.dora)
    parts, host = _parts(recipe, shape, trainable, on_gpu)
    host_available = memory.ram().available
    shared = 1 if on_gpu else ranks
    available = room.available // shared if room is not None else None
    found = Estimate(parts, host * ranks, trainable, shape.parameters, on_gpu, available, host_available)
    return replace(found, problems=tuple(_problems(recipe, found)))


def _parts(recipe: Recipe, shape: ModelShape, trainable: int, on_gpu: bool) -> tuple[dict[str, int], int]:
    """(bytes on a device by name, bytes in the machine's memory for each rank)."""
    width = _width(recipe, on_gpu)
    zero, offload, world = recipe.launch.zero, recipe.launch.offload, recipe.world_size
    full = recipe.method.kind == "full"
    if recipe.method.base_bits == 4:
        linear = linear_parameters(shape)
        weights = int(linear * _PACKED_BYTES) + (shape.parameters - linear) * 2
    else:
        # All weights are trained in float32, by themselves; DeepSpeed keeps its own copy.
        weights = shape.parameters * (4 if full and recipe.engine != "deepspeed" else width)
    copies = 8 if full and (width == 4 or recipe.engine != "deepspeed") else 12
    weights //= world if zero == 3 else 1
    gradients = 4 * trainable // (world if zero >= 2 else 1)
    optimizer = copies * trainable // (world if zero >= 1 else 1)
    host = 0
    if offload != "none":
        host, optimizer, gradients = optimizer + gradients, 0, gradients // 4
    if offload == "all":
        host, weights = host + weights, weights // max(1, shape.layers)
    parts = {
        "weights": weights,
        "gradients": gradients,
        "optimizer": optimizer,
        "activations": _activations(recipe, shape, width),
        "logits": _logits(recipe, shape),
    }
    taken = sum(parts.values())
    return {**parts, "margin": memory.with_overhead(taken) - taken}, host


def _width(recipe: Recipe, on_gpu: bool) -> int:
    """Bytes of a number as the ranks choose it: of itself, a CPU trains in float32 and a GPU in 16 bits."""
    if recipe.model.dtype == "auto":
        return 2 if on_gpu else 4
    return 4 if recipe.model.dtype == "float32" else 2


def _activations(recipe: Recipe, shape: ModelShape, width: int) -> int:
    tokens = recipe.training.batch_size * recipe.data.max_length
    feed_forward = 2 * shape.hidden + 8 * shape.inner if shape.gated else 3 * shape.hidden + 4 * shape.inner
    a_layer = 15 * shape.hidden + feed_forward
    if recipe.model.attention == "eager":
        a_layer += 5 * shape.heads * recipe.data.max_length
    if recipe.training.gradient_checkpointing:
        return tokens * (2 * shape.hidden * shape.layers + a_layer) * width // 2
    return tokens * a_layer * shape.layers * width // 2


def _logits(recipe: Recipe, shape: ModelShape) -> int:
    a_token = 4 * max(1, shape.vocabulary)
    tokens = min(max(_LEAST_TOKENS, _LOGITS_PART // a_token), recipe.training.batch_size * recipe.data.max_length)
    return tokens * a_token * _LOGIT_COPIES


def _problems(recipe: Recipe, found: Estimate) -> list[str]:
    """What would not fit, and what to change about it."""
    problems = []
    if found.available is not None and found.total > found.available:
        largest = max((name for name in found.parts if name != "margin"), key=found.parts.__getitem__)
        problems.append(
            f"A device needs about {memory.human(found.total)} and {memory.human(found.available)} is free;"
            f" the largest part is {largest}, {memory.human(found.parts[largest])}. {_remedy(recipe, largest)}"
        )
    if found.on_gpu and found.host > found.host_available:
        problems.append(
            f"launch.offload needs about {memory.human(found.host)} of the machine's memory and"
            f" {memory.human(found.host_available)} is free."
        )
    return problems


def _remedy(recipe: Recipe, largest: str) -> str:
    match largest:
        case "weights" if recipe.method.kind == "lora" and recipe.method.base_bits == 16:
            return "Choose a smaller base, or with NVIDIA GPUs set method.base_bits = 4 or launch.zero = 3."
        case "weights":
            return "Choose a smaller base, or spread it over more devices with launch.zero = 3."
        case "gradients" | "optimizer":
            return 'Set method.kind = "lora", or spread it over more devices with launch.zero = 2.'
        case "activations" if not recipe.training.gradient_checkpointing:
            return "Set training.gradient_checkpointing = true, or lower training.batch_size or data.max_length."
        case _:
            return "Lower training.batch_size or data.max_length."
