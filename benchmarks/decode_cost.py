"""What process, protocol, store and screen cost the decode loop. Bar: 5 % against the same loop without them.

The same greedy reply is generated in turns by the bare loop (a Session in this process's child, nobody looking) and
by the whole app in a pseudo-terminal, and the tokens per second of the two are compared.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import statistics
import struct
import subprocess
import sys
import termios
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks.program import HUGCHAT, arguments, environment, home_with_starter, replies

BAR = 0.05
QUESTION = "Write a long story about a lighthouse keeper."
BARE = """
import sys, time
from engine import protocol
from engine.worker.session import Session

path, question, tokens, runs = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])
session = Session.load(protocol.Load(id=1, path=path), lambda stage, done, total: None)
sampling = protocol.Sampling(temperature=0, max_new_tokens=tokens)
for run in range(runs):
    request = protocol.Generate(
        id=2, conversation=str(run), messages=(protocol.ChatMessage("user", question),), sampling=sampling
    )
    def emit(event):
        if isinstance(event, protocol.Finished):
            print(event.new_tokens, event.timings.tokens_per_second, flush=True)
    session.generate(request, emit, lambda: False, time.perf_counter())
"""


def bare_rates(model: Path, tokens: int, runs: int) -> list[float]:
    """Tokens per second of the loop alone."""
    command = [sys.executable, "-c", BARE, str(model), QUESTION, str(tokens), str(runs)]
    output = subprocess.run(command, check=True, capture_output=True, text=True).stdout
    return [float(line.split()[1]) for line in output.splitlines()]


def app_rates(home: Path, runs: int) -> list[float]:
    """Tokens per second as the worker measured them while the whole app was showing the reply.

    What the app writes is read and dropped: a terminal emulator in Python would take the core that is measured.
    """
    before = len(stored(home))
    with drained_app(home) as keyboard:
        for run in range(runs):
            os.write(keyboard, b"\x0e")  # ^n
            os.write(keyboard, QUESTION.encode() + b"\r")
            deadline = time.monotonic() + 300
            while not ended(stored(home), before + run + 1):
                if time.monotonic() > deadline:
                    raise SystemExit("the reply never ended")
                time.sleep(0.5)
    return [reply["tokens_per_second"] for reply in stored(home)[before:]]


def stored(home: Path) -> list[dict[str, Any]]:
    return replies(home) if (home / "data" / "conversations.db").exists() else []


def ended(found: list[dict[str, Any]], count: int) -> bool:
    return len(found) == count and found[-1]["ended"] is not None


@contextmanager
def drained_app(home: Path) -> Iterator[int]:
    """The app with its checkpoint loaded on a terminal that nobody looks at; yields where to write keys."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", 40, 120, 0, 0))
    env = {**environment(home), "TERM": "xterm-256color", "COLORTERM": "truecolor"}
    app = subprocess.Popen(
        [*HUGCHAT], stdin=slave, stdout=slave, stderr=slave, env=env, cwd=home, start_new_session=True
    )
    os.close(slave)
    loaded = threading.Event()

    def drain() -> None:
        tail = ""
        while True:
            try:
                data = os.read(master, 65536)
            except OSError:  # the app has gone
                return
            if not loaded.is_set():
                tail = (tail + data.decode(errors="replace"))[-65536:]
                if "● " in tail and "context 0/" in re.sub(r"\x1b\[[0-9;]*m", "", tail):
                    loaded.set()

    threading.Thread(target=drain, daemon=True).start()
    try:
        if not loaded.wait(120):
            raise SystemExit("the app never became ready")
        yield master
    finally:
        app.terminate()
        app.wait()
        os.close(master)


def main() -> int:
    args = arguments(__doc__, rounds=3, runs=2, tokens=200)
    bare: list[float] = []
    app: list[float] = []
    with home_with_starter() as home:
        config = home / "config" / "config.toml"
        config.parent.mkdir()
        config.write_text(f"[sampling]\nmax_new_tokens = {args.tokens}\n")
        for _ in range(args.rounds):
            bare += bare_rates(home / "data" / "models" / "starter", args.tokens, args.runs)
            app += app_rates(home, args.runs)
    cost = 1 - statistics.median(app) / statistics.median(bare)
    print(
        f"decode, median of {len(bare)} replies of {args.tokens} tokens: "
        f"loop alone {statistics.median(bare):.1f} tok/s, "
        f"whole app {statistics.median(app):.1f} tok/s, cost {cost:.1%} (bar {BAR:.0%})"
    )
    return int(cost > BAR)


if __name__ == "__main__":
    sys.exit(main())
