"""Where a model runs, and in which number format."""

from __future__ import annotations

import platform

import torch

from engine.cpu import cpu_field, cpu_has_bf16
from engine.errors import EngineError

_DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}


def choose_device(asked: str) -> torch.device:
    """The device of that name; "auto" is cuda, else mps, else cpu. Raises EngineError when it is not there."""
    if asked == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda:0")
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(asked)
    except RuntimeError:
        raise EngineError(f"{asked!r} is no device.", "Devices are auto, cpu, cuda, cuda:N and mps.") from None
    there = {
        "cpu": True,
        "cuda": torch.cuda.is_available() and (device.index or 0) < torch.cuda.device_count(),
        "mps": torch.backends.mps.is_available(),
    }
    if not there.get(device.type, False):
        raise EngineError(
            f"The device {asked} is not there: torch sees {torch.cuda.device_count()} CUDA devices"
            f" and {'an' if there['mps'] else 'no'} MPS device.",
            "Choose device auto or cpu.",
        )
    return torch.device("cuda:0") if asked == "cuda" else device


def choose_dtype(asked: str, device: torch.device) -> tuple[torch.dtype, str]:
    """The dtype to load in, and why, in words for the person.

    auto: bfloat16 where the device computes in it, else float16 on a GPU and float32 on a CPU. On two cores
    with avx512_bf16, SmolLM2-135M reads 1,024 tokens in 1.6 s in bfloat16 and 2.2 s in float32, and writes
    17 and 14 tokens a second; without such instructions bfloat16 is five times slower than float32 at
    reading.
    """
    slow_bf16 = device.type == "cpu" and not cpu_has_bf16()
    if asked != "auto":
        if asked not in _DTYPES:
            raise EngineError(f"{asked!r} is no dtype.", f"Choose one of: auto, {', '.join(_DTYPES)}.")
        slow = asked == "bfloat16" and slow_bf16
        return _DTYPES[asked], f"{asked} as asked" + (
            "; this CPU has no bfloat16 instructions, float32 would be faster" if slow else ""
        )
    if device.type == "cuda":
        if torch.cuda.is_bf16_supported(including_emulation=False):
            return torch.bfloat16, "bfloat16 because this GPU computes in it"
        return torch.float16, "float16 because this GPU has no bfloat16"
    if device.type == "mps":
        return torch.float16, "float16 because it is the faster one on MPS"
    if slow_bf16:
        return torch.float32, "float32 because this CPU has no bfloat16 instructions"
    return torch.bfloat16, "bfloat16 because this CPU has instructions for it"


def device_name(device: torch.device) -> str:
    """What a person calls the device: "NVIDIA H100", the CPU's model name."""
    if device.type == "cuda":
        return torch.cuda.get_device_name(device)
    if device.type == "mps":
        return f"Apple {platform.machine()}"
    return cpu_field("model name") or platform.processor() or platform.machine()
