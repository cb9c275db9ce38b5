"""What the kernel says of the processor, without torch."""

from __future__ import annotations

from functools import cache
from pathlib import Path

# x86 instructions for bfloat16 products. Without them such a product is far slower than in float32.
_BF16_FLAGS = frozenset(("avx512_bf16", "amx_bf16"))


@cache
def cpu_field(name: str) -> str:
    """The field's value for the first processor of /proc/cpuinfo; "" where there is none."""
    path = Path("/proc/cpuinfo")
    if not path.exists():
        return ""
    for line in path.read_text(encoding="utf-8", errors="replace").splitlines():
        key, _, value = line.partition(":")
        if key.strip() == name:
            return value.strip()
    return ""


def cpu_has_bf16() -> bool:
    """Whether the kernel reports bfloat16 instructions (Linux on x86; elsewhere they are not counted on)."""
    return not _BF16_FLAGS.isdisjoint(cpu_field("flags").split())
