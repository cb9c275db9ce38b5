"""The ranks of a run, and the little that they say to each other besides gradients."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from torch._C._distributed_c10d import HashStore

T = TypeVar("T")

_PATIENCE = timedelta(minutes=30)  # a rank may write a checkpoint of many gigabytes while the others wait


@dataclass(frozen=True, slots=True)
class World:
    """rank: of this process among `size`; device: the one it computes on. group: for words, on the CPU; None alone."""

    rank: int
    size: int
    device: torch.device
    group: dist.ProcessGroup | None

    @property
    def leads(self) -> bool:
        """Whether this process writes events and checkpoints."""
        return self.rank == 0

    def total(self, *values: float) -> list[float]:
        """The sums of each value over all ranks, in float64."""
        if self.group is None:
            return list(values)
        summed = torch.tensor(values, dtype=torch.float64)
        dist.all_reduce(summed, group=self.group)
        found: list[float] = summed.tolist()
        return found

    def told(self, value: T) -> T:
        """Rank 0's value, on every rank."""
        if self.group is None:
            return value
        said: list[Any] = [value]
        dist.broadcast_object_list(said, src=0, group=self.group)
        told: T = said[0]
        return told

    def everyone(self, value: object) -> Sequence[Any]:
        """Each rank's value, on every rank."""
        if self.group is None:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value, group=self.group)
        return values

    def meet(self) -> None:
        """Wait until every rank is here."""
        if self.group is not None:
            dist.barrier(self.group)


def join(device: torch.device, *, always: bool) -> World:
    """Meet the other ranks that torchrun, DeepSpeed or Slurm started, as RANK, WORLD_SIZE and MASTER_ADDR name them.

    always: a process group even of one rank, which DeepSpeed wants.
    """
    rank, size = int(os.environ.get("RANK", "0")), int(os.environ.get("WORLD_SIZE", "1"))
    if device.type == "cuda":
        device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
        torch.cuda.set_device(device)
    if size == 1 and not always:
        return World(0, 1, device, None)
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    if "RANK" in os.environ:
        dist.init_process_group(backend, timeout=_PATIENCE)
    else:
        dist.init_process_group(backend, store=HashStore(), rank=0, world_size=1)
    group = dist.new_group(backend="gloo", timeout=_PATIENCE)
    return World(rank, size, device, group)


def part() -> None:
    """Leave the process group; nothing when there is none."""
    if dist.is_available() and dist.is_initialized():
        dist.destroy_process_group()
