"""The monitor while two ranks train on both cores: from an event to the screen, and from a key to the screen.

Bars: an event is on the screen within 500 ms, 95 of 100 times; key to screen p95 under 33 ms.
"""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock

from benchmarks.program import HUGCHAT, arguments, environment, home_with_starter, percentile
from sft.config import Recipe
from sft.events import EventWriter, last_records
from sft.runs import RunDirectory, create_run
from tests.pty import PtyApp

EVENT_BAR_MS = 500
P95_BAR_MS = 33
EVENTS = 60
TOTAL = 1_000_000


def main() -> int:
    args = arguments(__doc__, keys=200, gap_ms=60)
    with home_with_starter() as home, training(home), running(home) as app:
        with suppress(OSError):  # the harness must not wait behind the load; needs a privilege
            os.setpriority(os.PRIO_PROCESS, 0, -10)
        run = create_run(Recipe(), home / "data", name="told-by-hand")
        with FileLock(run.lock), EventWriter(run.events) as writer:
            writer.write("run", name=run.name, base="starter", total_steps=TOTAL, world_size=1, device="cpu")
            events = tell_steps(app, writer)
        keys = type_into_the_filter(app, args.keys, args.gap_ms / 1000)
    p50, p95 = (percentile(events, share) * 1000 for share in (0.5, 0.95))
    print(f"event to screen over {len(events)} events: p50 {p50:.0f} ms, p95 {p95:.0f} ms (bar {EVENT_BAR_MS})")
    k50, k95, k99 = (percentile(keys, share) * 1000 for share in (0.5, 0.95, 0.99))
    print(
        f"key to screen over {len(keys)} keys: p50 {k50:.1f} ms, p95 {k95:.1f} ms (bar {P95_BAR_MS}), p99 {k99:.1f} ms"
    )
    return int(p95 >= EVENT_BAR_MS or k95 >= P95_BAR_MS)


@contextmanager
def training(home: Path) -> Iterator[None]:
    """Two ranks that train the starter, once they have made steps."""
    data = home / "data"
    rows = data / "rows.jsonl"
    rows.write_text(
        "".join(
            json.dumps({"instruction": f"What is number {number}?", "input": "", "output": "It is a number. " * 20})
            + "\n"
            for number in range(400)
        )
    )
    asked = [*HUGCHAT, "sft", "run", "--model", "starter", "--data", str(rows), "--name", "two-ranks"]
    asked += ["--max_steps", str(TOTAL), "--set", "launch.ranks=2", "--set", "launch.zero=2"]
    subprocess.run(asked, env=environment(home), check=True, capture_output=True)
    run = RunDirectory.at(data / "runs" / "two-ranks")
    try:
        while not any(record["type"] == "step" for record in last_records(run.events)):
            time.sleep(0.5)
        yield
    finally:
        subprocess.run(
            [*HUGCHAT, "sft", "stop", "two-ranks", "--now", "--wait"],
            env=environment(home),
            check=False,
            capture_output=True,
        )


@contextmanager
def running(home: Path) -> Iterator[PtyApp]:
    """The app with the monitor on its screen."""
    with PtyApp([*HUGCHAT], size=(160, 48), env=environment(home)) as app:
        seen(app, "Ask")
        app.press("f9")
        seen(app, "two-ranks")
        yield app


def tell_steps(app: PtyApp, writer: EventWriter) -> list[float]:
    """Seconds from writing each step to its number in the header."""
    chance = random.Random(3)
    seen(app, "told-by-hand")
    app.press("/")
    app.send(b"told")
    app.press("enter")
    found = []
    for step in range(1, EVENTS + 1):
        pump_for(app, 0.1 + 0.3 * chance.random())
        writer.write(
            "step", step=step, loss=2.0 / step, learning_rate=1e-4, grad_norm=1.0, tokens=step, tokens_per_s=1.0
        )
        told = time.perf_counter()
        shown = app.wait_text(rf"step {step} of", timeout=10)
        if shown is None:
            raise SystemExit(f"step {step} never appeared:\n{app.text()}")
        found.append(shown - told)
    return found


def type_into_the_filter(app: PtyApp, keys: int, gap_s: float) -> list[float]:
    """Type words into the list's filter; the latencies in seconds."""
    chance = random.Random(7)
    app.press("/")
    found: list[float] = []
    word = ""
    for _ in range(keys):
        if len(word) == 8:
            app.press(*["backspace"] * 12)
            pump_for(app, 0.3)
            word = ""
        letter = chance.choice("bcfhjklmquvxyz")
        word += letter
        pump_for(app, gap_s * (0.5 + chance.random()))
        pressed = time.perf_counter()
        app.press(letter)
        shown = app.wait(lambda terminal, want=word: want in terminal.text(), timeout=5)
        if shown is None:
            raise SystemExit(f"{word!r} never appeared:\n{app.text()}")
        found.append(shown - pressed)
    return found


def seen(app: PtyApp, words: str) -> None:
    if app.wait_text(words, timeout=120) is None:
        raise SystemExit(f"{words} never appeared:\n{app.text()}")


def pump_for(app: PtyApp, seconds: float) -> None:
    until = time.perf_counter() + seconds
    while (left := until - time.perf_counter()) > 0:
        app.pump(left)


if __name__ == "__main__":
    sys.exit(main())
