"""Open a run of 1,000,000 steps in the monitor, follow it, and draw 100,000 points. Exits 1 when a bar is missed.

python -m benchmarks.monitor_open [--steps N] [--runs N] [--keep FOLDER]

Bars: the whole picture in 1 s at the median, an event that is appended is told of within 0.5 s at the beginning of a
file and at its end, and every frame of the charts takes less than 33 ms at the 95th percentile.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
from textual.app import App, ComposeResult

from hugchat_tui.monitor.charts_pane import ChartsPane
from hugchat_tui.monitor.follower import RunFollower
from hugchat_tui.monitor.history import RunHistory
from sft.events import EventWriter, Record
from sft.runs import RunDirectory

BAR_OPEN_S = 1.0
BAR_TOLD_S = 0.5
BAR_FRAME_MS = 33.0
POINTS = 100_000
CHANGES = 40


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--steps", type=int, default=1_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--keep", type=Path, help="write the run here, or use the one that is there already")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        run = RunDirectory.at((options.keep or Path(folder)) / "long")
        if not run.events.exists():
            run.path.mkdir(parents=True)
            with run.events.open("w") as file:
                file.writelines(json.dumps(record) + "\n" for record in told(options.steps))
        print(f"{options.steps:,} steps, {run.events.stat().st_size / 1e6:.0f} MB of events")
        missed = asyncio.run(measure_opening(run, options.steps, options.runs))
        missed |= asyncio.run(measure_telling(run, RunDirectory.at(Path(folder) / "short")))
    return int(asyncio.run(measure_frames()) or missed)


def told(steps: int) -> Iterator[Record]:
    """What a run tells that goes well, is evaluated every 500 steps and asked four prompts then."""
    chance = random.Random(1)
    now = 1_790_000_000.0
    yield {"type": "run", "time": now, "name": "long", "base": "starter", "total_steps": steps, "version": 1}
    for step in range(1, steps + 1):
        now += 0.3 + chance.random() / 20
        loss = 1.2 + 2.6 * math.exp(-4 * step / steps) + chance.gauss(0, 0.15)
        yield {
            "type": "step",
            "time": now,
            "step": step,
            "loss": loss,
            "learning_rate": 2e-4 * (1 - step / steps),
            "grad_norm": abs(chance.gauss(0.9, 0.2)),
            "tokens": step * 2048,
            "trained_tokens": step * 1100,
            "tokens_per_s": chance.gauss(6400, 200),
            "trained_tokens_per_s": chance.gauss(3400, 150),
            "epoch": step / 10_000,
            "memory_bytes": 2_100_000_000 + step % 1000,
            "seconds": 0.3 + chance.random() / 20,
        }
        if step % 100 == 0:
            yield {"type": "heartbeat", "time": now, "step": step}
        if step % 500 == 0:
            yield {"type": "phase", "time": now, "name": "evaluating", "done": 0, "total": 0, "words": "evaluating"}
            yield {"type": "eval", "time": now, "step": step, "loss": loss + 0.1, "perplexity": 9.0, "best": False}
            for index in range(4):
                yield {"type": "sample", "time": now, "step": step, "prompt": "Why?", "answer": "So. " * 40} | {
                    "index": index
                }


async def measure_opening(run: RunDirectory, steps: int, runs: int) -> bool:
    took: list[float] = []
    gaps: list[float] = []
    process = psutil.Process()
    before = process.memory_info().rss
    for _ in range(runs):
        with run.events.open("rb") as file:  # else the disk is measured
            while file.read(1 << 20):
                pass
        follower = RunFollower(run, lambda: None)
        begun = time.perf_counter()
        watching = asyncio.create_task(_watch(gaps))
        follower.start()
        while not follower.loaded:  # noqa: ASYNC110 - told of, but only so often
            await asyncio.sleep(0.001)
        took.append(time.perf_counter() - begun)
        watching.cancel()
        await follower.close()
        last = follower.history.step
        if last is None or last["step"] != steps:
            raise SystemExit("not everything was read")
    gaps.sort()
    grown = process.memory_info().rss - before
    print(f"opened in             {statistics.median(took):.3f} s ({max(took):.3f})  bar {BAR_OPEN_S:.1f} s")
    print(f"event loop held       p99 {gaps[int(len(gaps) * 0.99)] * 1000:.1f} ms, at most {gaps[-1] * 1000:.1f} ms")
    print(f"memory for it         {grown / 1e6:.0f} MB, {len(follower.history.curves['loss']):,} points")
    return statistics.median(took) > BAR_OPEN_S


async def _watch(gaps: list[float]) -> None:
    last = time.perf_counter()
    while True:
        await asyncio.sleep(0.002)
        now = time.perf_counter()
        gaps.append(now - last - 0.002)
        last = now


async def measure_telling(long: RunDirectory, short: RunDirectory) -> bool:
    """From an append until a follower has told of it; and the computer time that one quiet second costs."""
    missed = False
    for words, run in (("in a short run", short), ("in the long run", long)):
        run.path.mkdir(exist_ok=True)
        size = run.events.stat().st_size if run.events.exists() else 0
        changed = asyncio.Event()
        follower = RunFollower(run, changed.set)
        follower.start()
        while not follower.loaded:  # noqa: ASYNC110 - told of, but only so often
            await asyncio.sleep(0.01)
        took = []
        used = time.process_time()
        await asyncio.sleep(2)
        used = (time.process_time() - used) / 2
        with EventWriter(run.events) as writer:
            for _ in range(15):
                changed.clear()
                begun = time.perf_counter()
                writer.write("heartbeat", step=1)
                await changed.wait()
                took.append(time.perf_counter() - begun)
                await asyncio.sleep(random.random() / 5)
        await follower.close()
        with run.events.open("r+b") as file:
            file.truncate(size)
        slowest = max(took)
        print(f"told of {words:14}{slowest:.3f} s at most  bar {BAR_TOLD_S} s; {used * 100:.2f} % of a core when quiet")
        missed |= slowest > BAR_TOLD_S
    return missed


class Charts(App[None]):
    def compose(self) -> ComposeResult:
        yield ChartsPane()


async def measure_frames() -> bool:
    """Each frame of a change, the change itself with the first one, until all rows of its charts are drawn."""
    history = RunHistory()
    history.apply(told(POINTS))
    app = Charts()
    missed = False
    async with app.run_test(size=(160, 48)) as pilot:
        pane = app.query_one(ChartsPane)
        pane.show([("long", history)])
        await pilot.pause()

        def frames(work: Callable[[], None]) -> Iterator[float]:
            begun = time.perf_counter()
            work()
            while True:
                for chart in pane.charts:
                    chart.render_lines(chart.size.region)
                yield (time.perf_counter() - begun) * 1000
                pane._next_group.cancel()
                if not pane._groups:
                    return
                begun = time.perf_counter()
                pane._draw_group()

        def step() -> None:
            last = history.step
            assert last is not None
            history.apply([last | {"step": last["step"] + 1}])
            pane._draw()

        pane.action_move_cursor(-1)
        works: dict[str, Callable[[], None]] = {
            "a new step": step,
            "the cursor moved": lambda: pane.action_move_cursor(-1),
            "zoomed": lambda: pane.action_zoom(1 if pane.view.window is None else -1),
            "smoothed otherwise": lambda: pane.action_step_smoothing(1 if pane.view.weight < 0.9 else -1),
            "another axis": pane.action_next_axis,
        }
        for name, work in works.items():
            times = [took for _ in range(CHANGES) for took in frames(work)]
            slow = statistics.quantiles(times, n=20)[-1]
            print(
                f"{POINTS:,} points, {name:20}{statistics.median(times):5.1f} ms, p95 {slow:.1f}  bar {BAR_FRAME_MS} ms"
            )
            missed |= slow > BAR_FRAME_MS
    return missed


if __name__ == "__main__":
    sys.exit(main())
