"""Records as a run writes them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

from sft.json_lines import Record


def step(number: int, **fields: Any) -> Record:
    values = {
        "loss": 2.0,
        "learning_rate": 1e-4,
        "grad_norm": 1.0,
        "tokens": 100 * number,
        "trained_tokens": 60 * number,
        "tokens_per_s": 900.0,
        "trained_tokens_per_s": 500.0,
        "epoch": number / 100,
        "memory_bytes": 2 << 30,
        "seconds": 0.5,
    }
    return {"type": "step", "time": 1_790_000_000.0 + number, "step": number} | values | fields


def evaluation(number: int, loss: float | None, **fields: Any) -> Record:
    return {"type": "eval", "time": 1_790_000_000.5 + number, "step": number, "loss": loss, "tokens": 5000} | fields


def record(type: str, time: float = 1_790_000_000.0, **fields: Any) -> Record:
    return {"type": type, "time": time} | fields


def lines(records: Iterable[Record]) -> bytes:
    return b"".join(json.dumps(each).encode() + b"\n" for each in records)
