"""engine.fit: what fits into memory, how tight, and how much context there is room for."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from engine import memory
from engine.checkpoints.model import Checkpoint
from engine.fit import Fit, Room, estimate, estimates, measure_room
from engine.memory import GIB, Memory

BILLION = Checkpoint(
    name="b",
    path=Path("/b"),
    kind="model",
    source="folder",
    dtype="bfloat16",
    parameters=10**9,
    size_bytes=2 * 10**9,
    context_length=32_768,
    kv_bytes_per_token=100_000,
)
LOADED = 2 * 10**9 + GIB // 2  # in 16 bits, with the margin


def _fit(checkpoint: Checkpoint, budget: int, available: int, context: int = 0, dtype: str = "bfloat16") -> Fit:
    return estimate(checkpoint, dtype=dtype, context=context, room=Room(budget, available, on_gpu=False))


@pytest.mark.parametrize(
    ("budget", "available", "context", "verdict"),
    [
        (8 * GIB, 8 * GIB, 4096, "fits"),
        (8 * GIB, LOADED * 10 // 9 - GIB // 8, 0, "tight"),
        (8 * GIB, LOADED - 1, 0, "tight"),
        (LOADED, 8 * GIB, 0, "tight"),
        (LOADED - 1, 8 * GIB, 0, "no"),
        (LOADED + GIB, 8 * GIB, 20_000, "no"),
    ],
)
def test_the_verdict_weighs_weights_and_cache_against_budget_and_free_memory(
    budget: int, available: int, context: int, verdict: str
) -> None:
    found = _fit(BILLION, budget, available, context)
    assert (found.verdict, found.available) == (verdict, min(budget, available))
    assert found.needed == LOADED + context * 100_000


def test_the_largest_context_is_what_there_is_room_for(monkeypatch: pytest.MonkeyPatch) -> None:
    room = LOADED + 1000 * 100_000
    assert _fit(BILLION, 64 * GIB, room).largest_context == 1000
    assert _fit(BILLION, room, 64 * GIB).largest_context == 1000
    assert _fit(BILLION, 64 * GIB, 64 * GIB).largest_context == 32_768, "no more than it was built for"
    assert _fit(BILLION, 64 * GIB, LOADED - 1).largest_context == 0
    assert _fit(replace(BILLION, kv_bytes_per_token=0), 64 * GIB, 64 * GIB).largest_context == 0
    wide = 4 * 10**9 + 4 * 10**9 // 5 + 1000 * 100_000
    assert _fit(BILLION, 64 * GIB, wide, dtype="float32").largest_context == 500, "a wide cache takes twice as much"


def test_what_is_not_known_is_not_guessed(monkeypatch: pytest.MonkeyPatch) -> None:
    adapter = replace(BILLION, kind="adapter", parameters=10**7, size_bytes=10**7)
    room = Room(8 * GIB, 8 * GIB, on_gpu=False)
    assert _fit(replace(BILLION, size_bytes=0), 8 * GIB, 8 * GIB).verdict == "unknown"
    assert estimate(adapter, None, room=room).verdict == "unknown"
    assert estimate(adapter, BILLION, dtype="bfloat16", room=room) == Fit(
        "fits", memory.load_estimate(adapter, BILLION, "bfloat16", False), 8 * GIB, 32_768
    )
    monkeypatch.setattr(memory, "vram", lambda: None)
    assert estimate(BILLION, device="cuda") == Fit("unknown")


def test_room_is_where_the_pool_would_load(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "ram", lambda: Memory(10 * GIB, 4 * GIB))
    monkeypatch.setattr(memory, "vram", lambda: [Memory(20 * GIB, 7 * GIB), Memory(90 * GIB, 90 * GIB)])
    on_gpu = Room(18 * GIB, 7 * GIB, on_gpu=True)
    assert measure_room() == measure_room(device="cuda:0") == on_gpu
    assert measure_room(device="cpu") == Room(8 * GIB, 4 * GIB, on_gpu=False)
    assert measure_room(device="cpu", ram_budget=5) == Room(5, 4 * GIB, on_gpu=False)
    monkeypatch.setattr(memory, "vram", list)
    assert measure_room() == Room(8 * GIB, 4 * GIB, on_gpu=False)
    assert measure_room(device="cuda") is None
    monkeypatch.setattr(memory, "vram", lambda: None)
    assert measure_room() is None


def test_estimates_are_made_of_those_that_can_be_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(memory, "vram", list)
    monkeypatch.setattr(memory, "ram", lambda: Memory(10 * GIB, 4 * GIB))
    models = {
        parameters: replace(BILLION, path=Path(f"/{parameters}"), parameters=parameters * 10**9)
        for parameters in (1, 2, 4)
    }
    broken = replace(BILLION, path=Path("/broken"), parameters=10**12, problem="broken")
    found = estimates([*models.values(), broken], dtype="bfloat16")
    assert {key: fit.verdict for key, fit in found.items()} == {"/1": "fits", "/2": "tight", "/4": "no"}
