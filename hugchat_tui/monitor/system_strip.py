"""What the machine has to give: processor, memory, disk, and its graphics cards where there are any."""

from __future__ import annotations

import asyncio
import shutil
import subprocess
from dataclasses import dataclass, field
from pathlib import Path

import psutil
from textual.app import RenderResult
from textual.content import Content
from textual.timer import Timer
from textual.widget import Widget

from hugchat_tui.common.format import file_size, memory_size
from hugchat_tui.common.tones import BAD, MUTED, STRONG, WARN
from hugchat_tui.library.measuring import free_bytes

_EVERY_S = 2.0
_GPU_QUERY = "utilization.gpu,memory.used,memory.total,power.draw"
_TIMEOUT_S = 5.0
_LITTLE_DISK = 2_000_000_000  # bytes


@dataclass(frozen=True, slots=True)
class Gpu:
    """load: in percent. used, total: bytes of its memory. power: watts; None where it does not tell."""

    load: int | None
    used: int | None
    total: int | None
    power: float | None


@dataclass(frozen=True, slots=True)
class Machine:
    """busy, idle: seconds of all cores since the machine was started. memory_used, memory_total, disk_free: bytes."""

    busy: float
    idle: float
    memory_used: int
    memory_total: int
    disk_free: int
    gpus: tuple[Gpu, ...] = field(default=())


def read_machine(folder: Path) -> Machine:
    """For a thread. folder: whose disk is meant. Raises OSError."""
    # Not psutil.cpu_percent: that compares with the last call of the same thread.
    times, memory = psutil.cpu_times(), psutil.virtual_memory()
    idle = times.idle + getattr(times, "iowait", 0.0)
    busy = sum(times) - idle - getattr(times, "guest", 0.0) - getattr(times, "guest_nice", 0.0)
    used = memory.total - memory.available
    return Machine(busy, idle, used, memory.total, free_bytes(folder), tuple(read_gpus()))


def cpu_share(before: Machine | None, now: Machine) -> float | None:
    """How much of all cores was busy between two readings, 0 to 1; None when they are too near to each other."""
    if before is None:
        return None
    busy, idle = now.busy - before.busy, now.idle - before.idle
    return max(0.0, busy / (busy + idle)) if busy + idle > 0 else None


def read_gpus() -> list[Gpu]:
    """Of NVIDIA's cards, as nvidia-smi tells; none where there is no such program or it fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        told = subprocess.run(
            [program, f"--query-gpu={_GPU_QUERY}", "--format=csv,noheader,nounits"],
            capture_output=True,
            text=True,
            timeout=_TIMEOUT_S,
            check=True,
        ).stdout
    except (OSError, subprocess.SubprocessError):
        return []
    return [gpu for line in told.splitlines() if (gpu := parse_gpu(line)) is not None]


def parse_gpu(line: str) -> Gpu | None:
    """A line of nvidia-smi: "43, 10240, 81559, 312.50"; what a card does not have is "[N/A]"."""
    cells = [_number(cell) for cell in line.split(",")]
    if len(cells) != 4:
        return None
    load, used, total, power = cells
    scale = 1024 * 1024
    return Gpu(
        int(load) if load is not None else None,
        int(used * scale) if used is not None else None,
        int(total * scale) if total is not None else None,
        power,
    )


def _number(text: str) -> float | None:
    try:
        return float(text)
    except ValueError:
        return None


class SystemStrip(Widget):
    """One line; it reads the machine in a thread while its screen is shown."""

    DEFAULT_CSS = """
    SystemStrip { height: 1; background: $boost; }
    """

    def __init__(self) -> None:
        super().__init__()
        self._folder: Path | None = None  # whose disk is meant
        self._machine: Machine | None = None
        self._cpu: float | None = None
        self._reading = False
        self._timer: Timer | None = None

    def watch_machine(self, watching: bool) -> None:
        """Read it again and again, or no longer."""
        if self._timer is None and watching:
            self._timer = self.set_interval(_EVERY_S, self.read)
        elif self._timer is not None and not watching:
            self._timer.stop()
            self._timer = None
        self.read()

    def show(self, folder: Path) -> None:
        """Show the disk on which this folder lies, beside the rest."""
        if folder != self._folder:
            self._folder = folder
            self.read()

    def read(self) -> None:
        """Look at the machine now."""
        if self._folder is not None and not self._reading and self.is_attached and self.screen.is_current:
            self._reading = True
            self.run_worker(self._read(self._folder), group="machine")

    async def _read(self, folder: Path) -> None:
        try:
            before, self._machine = self._machine, await asyncio.to_thread(read_machine, folder)
            self._cpu = cpu_share(before, self._machine)
        except OSError:
            self._machine = None
        finally:
            self._reading = False
        self.refresh()

    def render(self) -> RenderResult:
        machine = self._machine
        if machine is None:
            return Content("")
        share = machine.memory_used / machine.memory_total if machine.memory_total else 0.0
        memory = f"{memory_size(machine.memory_used)} of {memory_size(machine.memory_total)}"
        parts = [
            _part("CPU", f"{100 * self._cpu:.0f} %" if self._cpu is not None else "…", MUTED),
            _part("RAM", memory, BAD if share > 0.95 else WARN if share > 0.85 else MUTED),
            _part("disk", f"{file_size(machine.disk_free)} free", BAD if machine.disk_free < _LITTLE_DISK else MUTED),
        ]
        for number, gpu in enumerate(machine.gpus):
            parts.append(_part(f"GPU {number}" if len(machine.gpus) > 1 else "GPU", _gpu_words(gpu), MUTED))
        line = Content("")
        for place, part in enumerate(parts):
            more = Content.styled(f" +{len(parts) - place}", MUTED)
            if place and line.cell_length + part.cell_length + more.cell_length > self.size.width:
                return Content.assemble(line, more)
            line = Content.assemble(line, part)
        return line


def _part(name: str, words: str, tone: str) -> Content:
    return Content.assemble((f" {name} ", STRONG), (f"{words} ", tone))


def _gpu_words(gpu: Gpu) -> str:
    parts = [f"{gpu.load} %" if gpu.load is not None else ""]
    if gpu.used is not None and gpu.total is not None:
        parts.append(f"{memory_size(gpu.used)} of {memory_size(gpu.total)}")
    parts.append(f"{gpu.power:.0f} W" if gpu.power is not None else "")
    return " · ".join(filter(None, parts)) or "does not tell"
