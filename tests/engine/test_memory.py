"""engine.memory: control groups, GPU tables, and what a checkpoint is expected to need."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from engine import memory
from engine.checkpoints.model import Checkpoint
from engine.memory import GIB, Memory

BILLION = Checkpoint(name="b", path=Path("/b"), kind="model", source="folder", dtype="bfloat16", parameters=10**9)


def write_group(directory: Path, limit: str, used: int, inactive: int) -> None:
    directory.mkdir(parents=True, exist_ok=True)
    (directory / "memory.max").write_text(f"{limit}\n")
    (directory / "memory.current").write_text(f"{used}\n")
    (directory / "memory.stat").write_text(f"anon 5\ninactive_file {inactive}\n")


def test_the_tightest_control_group_counts_and_its_droppable_cache_is_available(tmp_path: Path) -> None:
    write_group(tmp_path / "user", "8000", used=7000, inactive=1500)
    write_group(tmp_path / "user" / "app", "6000", used=1000, inactive=0)
    write_group(tmp_path / "user" / "app" / "inner", "max", used=900, inactive=0)
    assert memory.cgroup_memory(tmp_path, "/user/app/inner") == Memory(total=8000, available=2500)
    assert memory.cgroup_memory(tmp_path, "/elsewhere") is None


def test_the_machine_has_memory_and_this_process_uses_some_of_it() -> None:
    machine = memory.ram()
    assert 0 < machine.available <= machine.total
    assert 0 < memory.resident_set(os.getpid()) < machine.total


@pytest.mark.parametrize(
    ("visible", "free_gib"),
    [
        (None, [70, 60]),
        ("1", [60]),
        ("1,0", [60, 70]),
        ("GPU-bb", [60]),
        ("", []),
        ("-1", []),
        ("1,9,0", [60]),
        ("MIG-aa", None),
    ],
)
def test_gpus_are_numbered_as_torch_sees_them(visible: str | None, free_gib: list[int] | None) -> None:
    table = f"0, GPU-aa11, {80 << 10}, {70 << 10}\n1, GPU-bb22, {80 << 10}, {60 << 10}\n"
    gpus = memory.visible_gpus(table, visible)
    assert (None if gpus is None else [gpu.available // GIB for gpu in gpus]) == free_gib


def test_a_gpu_that_hides_its_memory_is_unknown_and_not_empty() -> None:
    assert memory.visible_gpus("0, GPU-aa11, [N/A], [N/A]\n", None) is None


def test_estimates_follow_the_dtype_and_add_a_fifth_or_half_a_gibibyte(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def estimate(checkpoint: Checkpoint, dtype: str, *, on_gpu: bool = False, bf16: bool = False) -> int:
        monkeypatch.setattr(memory, "cpu_has_bf16", lambda: bf16)
        return memory.load_estimate(checkpoint, None, dtype, on_gpu)

    def plus(weights: int) -> int:
        return weights + max(GIB // 2, weights // 5)

    assert estimate(BILLION, "auto") == plus(4 * 10**9)
    assert estimate(BILLION, "auto", bf16=True) == estimate(BILLION, "auto", on_gpu=True) == plus(2 * 10**9)
    assert estimate(BILLION, "bfloat16") == plus(2 * 10**9)
    assert estimate(replace(BILLION, kind="gguf", dtype="Q4_K_M"), "bfloat16") == plus(4 * 10**9)
    assert estimate(replace(BILLION, parameters=10**6), "float32") == 4 * 10**6 + GIB // 2
    pickled = replace(BILLION, parameters=0, size_bytes=6 * 10**9)
    assert estimate(replace(pickled, dtype="float32"), "bfloat16") == plus(3 * 10**9)
    assert estimate(replace(pickled, dtype=""), "float32") == plus(12 * 10**9)
    assert estimate(replace(pickled, dtype="bitsandbytes"), "float32") == plus(6 * 10**9)
    adapter = replace(BILLION, kind="adapter", parameters=10**7)
    assert memory.load_estimate(adapter, BILLION, "float16", False) == plus(2 * (10**9 + 10**7))


def test_sizes_read_as_a_person_would_say_them() -> None:
    assert [memory.human(size) for size in (0, 512 << 20, int(7.4 * GIB))] == ["0 MiB", "512 MiB", "7.4 GiB"]
