"""What the worker process and the protocol cost the decode loop: `python -m benchmarks.engine_overhead [PATH]`.

The same greedy reply comes in turns from a bare loop (a Session in a process of its own, its events thrown away) and
from a worker through engine.client, at the same priority. Many short pairs are compared and the median is taken,
because whatever else runs on the machine disturbs a pair alike or falls on one of many. Then the channel alone: a
worker that computes nothing sends a token a millisecond. Bar: 5 % of the decode rate.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

from benchmarks.program import starter
from engine import protocol
from engine.client import Worker

BAR = 0.05
QUESTION = protocol.ChatMessage(role="user", content="Write a long story about a lighthouse keeper.")
CHANNEL_PIECES = 5_000
CHANNEL_PAUSE_S = 0.001

_TIMINGS = protocol.Timings(queued_s=0, prefill_s=0, first_token_s=0, decode_s=0, tokens_per_second=0)


class Session:
    """A session without a model, for a worker started with this module: only the channel's cost is left."""

    info = protocol.ModelInfo(
        path="",
        family="none",
        parameters=0,
        weight_bytes=0,
        kv_bytes_per_token=0,
        device="cpu",
        device_name="",
        dtype="float32",
        context_length=0,
        template="checkpoint",
    )

    @classmethod
    def load(cls, request: protocol.Load, progress: Callable[[str, int, int], None]) -> Session:
        return cls()

    def generate(
        self,
        request: protocol.Generate,
        emit: Callable[[protocol.GenerationEvent], None],
        cancelled: Callable[[], bool],
        received_at: float,
    ) -> None:
        """Pieces, then one with the seconds of CPU time that a piece cost over and above the pause."""
        begun = time.process_time()
        for _ in range(CHANNEL_PIECES):
            time.sleep(CHANNEL_PAUSE_S)
        pauses = time.process_time() - begun
        begun = time.process_time()
        for number in range(CHANNEL_PIECES):
            time.sleep(CHANNEL_PAUSE_S)
            emit(protocol.Piece(id=request.id, text=" lighthouse", token_ids=(number,)))
        cost = (time.process_time() - begun - pauses) / CHANNEL_PIECES
        emit(protocol.Piece(id=request.id, text=str(cost), token_ids=()))
        emit(protocol.Finished(id=request.id, reason="length", prompt_tokens=0, new_tokens=0, timings=_TIMINGS))


def warm_up() -> None:
    """Nothing to import."""


class Stopwatch:
    """Tokens per second from the first token to the last, as seen by whoever receives them."""

    def __init__(self) -> None:
        self._first_at = 0.0
        self._last_at = 0.0
        self._after_first = 0

    def see(self, event: protocol.GenerationEvent) -> None:
        if isinstance(event, protocol.Piece):
            self._last_at = time.perf_counter()
            if self._first_at:
                self._after_first += len(event.token_ids)
            else:
                self._first_at = self._last_at

    @property
    def rate(self) -> float:
        return self._after_first / (self._last_at - self._first_at)


class BareLoop:
    """The other process: one reply a line that it reads."""

    def __init__(self, path: Path, tokens: int) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.engine_overhead", str(path), f"--tokens={tokens}", "--bare"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            text=True,
        )

    def rate(self) -> float:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        return float(self._process.stdout.readline())

    def close(self) -> None:
        self._process.communicate()


def run_bare(path: Path, tokens: int) -> None:
    """What BareLoop's process does."""
    from engine.worker import session as heavy

    heavy.warm_up()
    session = heavy.Session.load(protocol.Load(id=1, path=str(path)), lambda stage, done, total: None)
    for number, _ in enumerate(sys.stdin):
        request = protocol.Generate(id=2, conversation=str(number), messages=(QUESTION,), sampling=_greedy(tokens))
        watch = Stopwatch()
        session.generate(request, watch.see, lambda: False, time.perf_counter())
        print(watch.rate, flush=True)


async def worker_rate(worker: Worker, tokens: int, conversation: str) -> float:
    watch = Stopwatch()
    async for event in worker.generate([QUESTION], _greedy(tokens), conversation=conversation):
        watch.see(event)
    return watch.rate


async def channel_cost() -> tuple[float, float]:
    """Seconds of CPU time a piece, in the worker and here."""
    worker = await Worker.spawn(session="benchmarks.engine_overhead")
    await worker.load(Path("/none"))
    last = ""
    begun = time.process_time()
    async for event in worker.generate([QUESTION], protocol.Sampling()):
        if isinstance(event, protocol.Piece):
            last = event.text
    here = time.process_time() - begun
    await worker.close()
    return float(last), here / CHANNEL_PIECES


async def compare(path: Path, tokens: int, pairs: int) -> bool:
    """Measure and print. Whether the bar is met."""
    bare_loop = BareLoop(path, tokens)
    worker = await Worker.spawn(nice=0)
    info = await worker.load(path)
    print(f"{info.family}, {info.parameters / 1e6:.0f}M parameters, {info.dtype} on {info.device_name}")
    pairs_seen = []
    for pair in range(-1, pairs):
        bare, through = await asyncio.to_thread(bare_loop.rate), await worker_rate(worker, tokens, str(pair))
        if pair >= 0:  # the first pair warms both up
            pairs_seen.append((bare, through))
    await worker.close()
    await asyncio.to_thread(bare_loop.close)
    cost = statistics.median(bare / through for bare, through in pairs_seen) - 1
    bare, through = (statistics.median(column) for column in zip(*pairs_seen, strict=True))
    print(f"bare {bare:.2f} tokens/s, through the worker {through:.2f} (medians of {pairs})")
    there, here = await channel_cost()
    print(f"channel alone: {there * 1e6:.1f} us of CPU time a token in the worker, {here * 1e6:.1f} us here")
    print(f"process and protocol cost {cost:+.2%} of decoding (bar {BAR:.0%})")
    return cost < BAR


def _greedy(tokens: int) -> protocol.Sampling:
    return protocol.Sampling(temperature=0, max_new_tokens=tokens)


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.engine_overhead")
    parser.add_argument("path", nargs="?", type=Path, help="a checkpoint; the starter unless stated")
    parser.add_argument("--tokens", type=int, default=24, help="of each reply")
    parser.add_argument("--pairs", type=int, default=20)
    parser.add_argument("--bare", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    path = (arguments.path or starter()).absolute()
    if arguments.bare:
        run_bare(path, arguments.tokens)
    elif not asyncio.run(compare(path, arguments.tokens, arguments.pairs)):
        raise SystemExit(1)


if __name__ == "__main__":
    main()
