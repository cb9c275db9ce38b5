"""What process, protocol, store and screen cost the decode loop. Bar: 5 % against the same loop without them.

The same greedy reply is generated in turns by the bare loop (a Session in a process of its own, nobody looking) and by
the whole app in a pseudo-terminal. Pairs of short replies are compared and the median is taken, because what else runs
on the machine disturbs both of a pair alike, or one of many.
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
from collections.abc import Callable, Iterator
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

path, question, tokens = sys.argv[1], sys.argv[2], int(sys.argv[3])
session = Session.load(protocol.Load(id=1, path=path), lambda stage, done, total: None)
sampling = protocol.Sampling(temperature=0, max_new_tokens=tokens)
for run, _ in enumerate(sys.stdin):
    request = protocol.Generate(
        id=2, conversation=str(run), messages=(protocol.ChatMessage("user", question),), sampling=sampling
    )
    def emit(event):
        if isinstance(event, protocol.Finished):
            print(event.timings.tokens_per_second, flush=True)
    session.generate(request, emit, lambda: False, time.perf_counter())
"""


@contextmanager
def bare_loop(model: Path, tokens: int) -> Iterator[Callable[[], float]]:
    """The loop alone; yields what generates a reply and returns its tokens per second."""
    command = [sys.executable, "-c", BARE, str(model), QUESTION, str(tokens)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as process:
        assert process.stdin is not None and process.stdout is not None
        questions, rates = process.stdin, process.stdout

        def rate() -> float:
            questions.write("\n")
            return float(rates.readline())

        yield rate
        questions.close()


@contextmanager
def whole_app(home: Path) -> Iterator[Callable[[], float]]:
    """The app showing its replies; yields what asks and returns the tokens per second that the worker measured.

    What the app writes is read and dropped: a terminal emulator in Python would take the core that is measured.
    """
    with drained_app(home) as keyboard:

        def rate() -> float:
            before = len(stored(home))
            os.write(keyboard, b"\x0e")  # ^n
            os.write(keyboard, QUESTION.encode() + b"\r")
            deadline = time.monotonic() + 300
            while not ended(stored(home), before + 1):
                if time.monotonic() > deadline:
                    raise SystemExit("the reply never ended")
                time.sleep(0.5)
            return float(stored(home)[-1]["tokens_per_second"])

        yield rate


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
    args = arguments(__doc__, pairs=12, tokens=120)
    pairs = []
    with home_with_starter() as home:
        config = home / "config" / "config.toml"
        config.parent.mkdir()
        config.write_text(f"[sampling]\nmax_new_tokens = {args.tokens}\n")
        with bare_loop(home / "data" / "models" / "starter", args.tokens) as alone, whole_app(home) as app:
            for pair in range(-1, args.pairs):
                rates = alone(), app()
                if pair >= 0:  # the first pair warms both up
                    pairs.append(rates)
    cost = 1 - statistics.median(app / bare for bare, app in pairs)
    bare, app = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(
        f"decode, {len(pairs)} pairs of replies of {args.tokens} tokens: loop alone {bare:.1f} tok/s, "
        f"whole app {app:.1f} tok/s (medians), cost {cost:.1%} (median of the pairs; bar {BAR:.0%})"
    )
    return int(cost > BAR)


if __name__ == "__main__":
    sys.exit(main())
