"""From one adapter to another on the base that is loaded, against loading the other anew into a warm worker.

    python -m benchmarks.adapter_switch [DIRECTORY]

Two LoRA adapters of rank 16 on all linear layers of the starter, or of the model in DIRECTORY, in turn. Bar: the median
of the exchanges under half of the median of the loads.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

from benchmarks.program import starter
from engine.checkpoints.adapters import with_base
from engine.checkpoints.describe import describe
from engine.checkpoints.model import Checkpoint
from engine.pool import EnginePool

BAR = 0.5
ROUNDS = 5


def make_adapters(base: Checkpoint, folder: Path) -> list[Checkpoint]:
    import torch
    from peft import LoraConfig, TaskType, get_peft_model
    from transformers import AutoModelForCausalLM

    found = []
    for name in ("one", "two"):
        settings = LoraConfig(
            r=16, target_modules="all-linear", task_type=TaskType.CAUSAL_LM, init_lora_weights="gaussian"
        )
        model = AutoModelForCausalLM.from_pretrained(base.path, dtype=torch.float32)
        get_peft_model(model, settings).save_pretrained(folder / name)
        found.append(with_base(replace(describe(folder / name), base_name=str(base.path)), lambda name: base))
    return found


async def seconds(pool: EnginePool, checkpoint: Checkpoint) -> float:
    begun = time.perf_counter()
    await pool.acquire(checkpoint)
    return time.perf_counter() - begun


async def measure(base: Checkpoint, adapters: list[Checkpoint]) -> tuple[list[float], list[float]]:
    """Seconds of loads into a worker whose imports are done, and of exchanges."""
    loads, exchanges = [], []
    for number in range(ROUNDS):
        pool = EnginePool(lambda words: None)
        pool.warm()
        while pool._spare is None:  # noqa: ASYNC110 - nothing announces it
            await asyncio.sleep(0.05)
        await pool._spare.wait_warm()
        loads.append(await seconds(pool, adapters[number % 2]))
        exchanges += [await seconds(pool, adapters[(number + 1) % 2]), await seconds(pool, adapters[number % 2])]
        await seconds(pool, base)
        await pool.close()
    return loads, exchanges


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("directory", nargs="?", type=Path)
    base = describe(parser.parse_args().directory or starter())
    with tempfile.TemporaryDirectory() as folder:
        loads, exchanges = asyncio.run(measure(base, make_adapters(base, Path(folder))))
    for what, times in (("loading", loads), ("exchanging", exchanges)):
        print(f"{what} an adapter: {statistics.median(times):.2f} s ({min(times):.2f} to {max(times):.2f} s)")
    ratio = statistics.median(exchanges) / statistics.median(loads)
    print(f"{ratio:.2f} of a load (bar {BAR})")
    return 0 if ratio < BAR else 1


if __name__ == "__main__":
    sys.exit(main())
