"""Memory of the machine, of its GPUs and of workers, and what a checkpoint will need. All sizes in bytes.

These functions read files and start a program: call them in a thread, not on the event loop.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.model import Checkpoint
from engine.cpu import cpu_has_bf16

GIB = 1 << 30
_WIDTHS = {"float64": 8, "float32": 4, "bfloat16": 2, "float16": 2}
_NVIDIA_SMI_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Memory:
    total: int
    available: int


def ram() -> Memory:
    """The machine's RAM, or what the control group this program runs in leaves of it."""
    import psutil

    machine = psutil.virtual_memory()
    memory = Memory(machine.total, machine.available)
    limited = cgroup_memory(Path("/sys/fs/cgroup"), _own_cgroup())
    if limited is None:
        return memory
    return Memory(min(memory.total, limited.total), min(memory.available, limited.available))


def resident_set(pid: int) -> int:
    """What the process holds in RAM; 0 when it is gone."""
    import psutil

    try:
        rss: int = psutil.Process(pid).memory_info().rss
    except psutil.NoSuchProcess:
        return 0
    return rss


def cgroup_memory(root: Path, group: str) -> Memory | None:
    """The tightest limit on a version 2 control group and its ancestors; None without one.

    root: where the hierarchy is mounted; group: its path below. Page cache that can be dropped counts as
    available. Source: Documentation/admin-guide/cgroup-v2.rst, memory.max, memory.current and memory.stat.
    """
    tightest: Memory | None = None
    directory = root / group.lstrip("/")
    for level in (directory, *directory.parents):
        if not level.is_relative_to(root):
            break
        limit = _read(level / "memory.max")
        if not limit.isdecimal():  # "max", or no such file in the root group
            continue
        used = int(_read(level / "memory.current") or 0)
        statistics = dict(line.split(" ", 1) for line in _read(level / "memory.stat").splitlines())
        available = max(0, int(limit) - used + int(statistics.get("inactive_file", "0")))
        if tightest is None or available < tightest.available:
            tightest = Memory(int(limit), available)
    return tightest


def _own_cgroup() -> str:
    for line in _read(Path("/proc/self/cgroup")).splitlines():
        if line.startswith("0::"):
            return line.removeprefix("0::")
    return ""


def _read(path: Path) -> str:
    try:
        return path.read_text().strip()
    except OSError:  # absent, or not ours to see: then nothing is known of it
        return ""


def vram() -> list[Memory] | None:
    """The memory of each NVIDIA GPU in torch's numbering; empty without any, None when it is unknown."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [
                program,
                "--query-gpu=index,uuid,memory.total,memory.free",
                "--format=csv,noheader,nounits",
            ],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=_NVIDIA_SMI_TIMEOUT_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    if answer.returncode != 0:  # "No devices were found", or a driver that does not fit
        return []
    return visible_gpus(answer.stdout, os.environ.get("CUDA_VISIBLE_DEVICES"))


def visible_gpus(table: str, visible: str | None) -> list[Memory] | None:
    """The rows of nvidia-smi's table (index, uuid, MiB in total, MiB free) in the order torch sees them.

    visible: the value of CUDA_VISIBLE_DEVICES. None when either cannot be understood (a GPU split by MIG).
    """
    gpus: dict[str, Memory] = {}
    uuids: dict[str, Memory] = {}
    for row in table.splitlines():
        cells = [cell.strip() for cell in row.split(",")]
        if len(cells) != 4 or not (cells[2].isdecimal() and cells[3].isdecimal()):
            return None
        gpus[cells[0]] = uuids[cells[1]] = Memory(int(cells[2]) << 20, int(cells[3]) << 20)
    if visible is None:
        return list(gpus.values())
    chosen = []
    for name in filter(None, map(str.strip, visible.split(","))):
        if name.startswith("MIG-"):
            return None
        gpu = gpus.get(name) or next((gpu for uuid, gpu in uuids.items() if uuid.startswith(name)), None)
        if gpu is None:  # CUDA ignores what follows the first name it does not know, such as -1
            break
        chosen.append(gpu)
    return chosen


def with_overhead(weights: int) -> int:
    """What a process with such weights takes: activations, a short KV cache and the libraries on top."""
    return weights + max(GIB // 2, weights // 5)


def load_estimate(checkpoint: Checkpoint, base: Checkpoint | None, dtype: str, on_gpu: bool) -> int:
    """What loading takes at its peak. base: of an adapter. dtype: as asked of the worker."""
    weights = weights_estimate(checkpoint, dtype, on_gpu)
    if base is not None:
        weights += weights_estimate(base, dtype, on_gpu)
    return with_overhead(weights)


def number_width(dtype: str, on_gpu: bool) -> int:
    """Bytes of one number of a model loaded as `dtype`; "auto" as engine.worker.devices decides it."""
    return _WIDTHS.get(dtype) or (2 if on_gpu or cpu_has_bf16() else 4)


def weights_estimate(checkpoint: Checkpoint, dtype: str, on_gpu: bool) -> int:
    """What the weights alone take while they are loaded."""
    width = number_width(dtype, on_gpu)
    if checkpoint.kind == "gguf" and not on_gpu:
        width = max(width, 4)  # its blocks are unpacked to float32 first
    if checkpoint.parameters:
        return checkpoint.parameters * width
    stored = _WIDTHS.get(checkpoint.dtype)
    if stored is None and checkpoint.dtype:  # packed by quantization, and it stays so
        return checkpoint.size_bytes
    return checkpoint.size_bytes * width // (stored or 2)


def human(size: int) -> str:
    """As a person reads it: "512 MiB", "7.4 GiB"."""
    return f"{size / GIB:.1f} GiB" if size >= GIB else f"{size >> 20} MiB"
