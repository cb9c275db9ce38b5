"""A long reply streams into the transcript: python -m benchmarks.transcript_stream [--pty]

Feeds replies of 4,400 tokens at 200 tokens a second: mixed Markdown, lists only, tables only, one code fence. Measures
the gaps of the event loop with a 5 ms ticker, beside those of the same app doing nothing, and compares what is on the
screen at the end with a fresh transcript of the same text. Bars: nothing dropped, equal, p99 of the gaps under 40 ms,
the longest under 120 ms. With --pty the app runs in a real pseudo-terminal that a second thread reads.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import os
import pty
import random
import re
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

from textual.app import App, ComposeResult

from hugchat_tui.chat.transcript import Entry, Transcript, warm_up
from hugchat_tui.common.collector import settle

TOKENS, RATE, TICK_S = 4_400, 200, 0.005
P99_MS, MAX_MS = 40.0, 120.0
_WORDS = re.split(
    " ",
    "the model reads a sequence of tokens and predicts what comes next so a longer context costs more memory while "
    "attention heads compare every position with all others before values are mixed and passed on to another layer",
)


def sentence(rnd: random.Random, words: int) -> str:
    chosen = [rnd.choice(_WORDS) for _ in range(words)]
    for mark in ("**", "*", "`"):
        if rnd.random() < 0.5:
            at = rnd.randrange(words)
            chosen[at] = f"{mark}{chosen[at]}{mark}"
    return " ".join(chosen).capitalize() + "."


def lists(rnd: random.Random) -> Iterator[str]:
    number = 0
    while True:
        number += 1
        yield f"{number}. {sentence(rnd, rnd.randint(4, 20))}\n"
        for _ in range(rnd.randint(0, 3)):
            yield f"   - {sentence(rnd, rnd.randint(3, 12))}\n"


def tables(rnd: random.Random) -> Iterator[str]:
    yield "| name | what it does | value |\n|---|:---:|---:|\n"
    while True:
        yield f"| `{rnd.choice(_WORDS)}` | {sentence(rnd, rnd.randint(2, 14))} | {rnd.randint(1, 99_999)} |\n"


def fence(rnd: random.Random) -> Iterator[str]:
    yield "```python\n"
    while True:
        name, argument = rnd.choice(_WORDS), rnd.choice(_WORDS)
        yield f'def {name}_{rnd.randint(1, 99)}({argument}: int) -> str:\n    """{sentence(rnd, 8)}"""\n'
        for _ in range(rnd.randint(1, 6)):
            yield f"    {rnd.choice(_WORDS)} = {argument} * {rnd.randint(1, 99)} + len('{rnd.choice(_WORDS)}')  # ok\n"
        yield "    return str(result)\n\n"


def mixed(rnd: random.Random) -> Iterator[str]:
    while True:
        yield f"## {sentence(rnd, 4)}\n\n{sentence(rnd, 60)}\n\n"
        for part in (lists, tables, fence):
            pieces = part(rnd)
            for _ in range(rnd.randint(4, 14)):
                yield next(pieces)
            yield "```\n\n" if part is fence else "\n"
        yield f"> {sentence(rnd, 30)}\n\n"


KINDS = {"mixed": mixed, "lists": lists, "tables": tables, "fence": fence}


def tokens(kind: str) -> list[str]:
    """The reply in pieces of about a token's length."""
    pieces: list[str] = []
    for line in KINDS[kind](random.Random(7)):
        pieces += re.findall(r"\s?\S{1,6}|\s", line)
        if len(pieces) >= TOKENS:
            break
    return pieces[:TOKENS]


class StreamApp(App[None]):
    """Runs the idle measurement and then each kind, and keeps the figures."""

    def __init__(self, kinds: list[str]) -> None:
        super().__init__()
        self.kinds = kinds
        self.figures: dict[str, dict[str, object]] = {}
        self.finished = asyncio.Event()
        self._gaps: list[tuple[float, float]] = []  # seconds late, and processor seconds of this program meanwhile

    def compose(self) -> ComposeResult:
        yield Transcript()

    def on_mount(self) -> None:
        self.run_worker(self._run(), exit_on_error=True)

    async def _tick(self) -> None:
        last, last_cpu = time.perf_counter(), time.thread_time()
        while True:
            await asyncio.sleep(TICK_S)
            now, cpu = time.perf_counter(), time.thread_time()
            self._gaps.append((now - last - TICK_S, cpu - last_cpu))
            last, last_cpu = now, cpu

    async def _run(self) -> None:
        await asyncio.to_thread(warm_up)
        settle()
        ticker = asyncio.create_task(self._tick())
        try:
            await asyncio.sleep(5)
            self.figures["idle"] = self._gap_figures()
            for kind in self.kinds:
                self.figures[kind] = await self._stream(kind)
        finally:
            ticker.cancel()
            self.finished.set()

    def _gap_figures(self) -> dict[str, object]:
        """The gaps, and the part of them that this program computed in: the rest it waited for a processor."""
        gaps, own = sorted(gap for gap, _ in self._gaps), sorted(cpu for _, cpu in self._gaps)
        self._gaps = []
        return {
            "gap_p50_ms": round(gaps[len(gaps) // 2] * 1000, 1),
            "gap_p99_ms": round(gaps[int(len(gaps) * 0.99)] * 1000, 1),
            "gap_max_ms": round(gaps[-1] * 1000, 1),
            "own_p99_ms": round(own[int(len(own) * 0.99)] * 1000, 1),
            "own_max_ms": round(own[-1] * 1000, 1),
        }

    async def _stream(self, kind: str) -> dict[str, object]:
        transcript = self.query_one(Transcript)
        pieces = tokens(kind)
        transcript.set_entries([Entry(1, "user", "You", "Go on."), Entry(2, "assistant", "m", "", streaming=True)])
        gc.collect()  # what the comparison before left
        await asyncio.sleep(0.1)
        self._gaps.clear()
        began, cpu = time.perf_counter(), time.process_time()
        for number, piece in enumerate(pieces):
            wait = began + number / RATE - time.perf_counter()
            if wait > 0:
                await asyncio.sleep(wait)
            transcript.feed(2, piece)
        transcript.update_entry(2, streaming=False, footer="done")
        took, used = time.perf_counter() - began, time.process_time() - cpu
        figures = self._gap_figures()
        await self._settled(transcript)
        streamed = picture(transcript)
        whole = "".join(pieces)
        kept = transcript.entries[1].text == whole
        transcript.set_entries([])
        transcript.set_entries([Entry(1, "user", "You", "Go on."), Entry(2, "assistant", "m", whole, footer="done")])
        await self._settled(transcript)
        self._gaps.clear()
        return {
            **figures,
            "seconds": round(took, 1),
            "cpu_percent": round(100 * used / took),
            "rows": len(streamed),
            "nothing_dropped": kept,
            "equal_to_fresh": streamed == picture(transcript),
        }

    async def _settled(self, transcript: Transcript) -> None:
        while transcript.busy:  # noqa: ASYNC110 - colours come in idle slices, and nothing announces the last
            await asyncio.sleep(0.02)


def picture(transcript: Transcript) -> list[object]:
    """Every row as it is drawn, colours included."""
    return [
        [(segment.text, segment.style) for segment in strip if segment.text.strip()] for strip in transcript.strips()
    ]


async def without_terminal(kinds: list[str]) -> dict[str, dict[str, object]]:
    app = StreamApp(kinds)
    async with app.run_test(size=(120, 40)):
        await app.finished.wait()
    return app.figures


def in_pty(kinds: list[str]) -> dict[str, dict[str, object]]:
    """The same in a child process whose terminal is a pty; the figures come back through a file."""
    result = Path(f"/tmp/transcript-stream-{os.getpid()}.json")
    child, terminal = pty.fork()
    if child == 0:
        os.environ.update(TERM="xterm-256color", COLORTERM="truecolor", COLUMNS="120", LINES="40")
        app = StreamApp(kinds)

        async def run() -> None:
            task = asyncio.create_task(app.run_async())
            await app.finished.wait()
            app.exit()
            await task

        asyncio.run(run())
        result.write_text(json.dumps(app.figures))
        os._exit(0)
    count = [0]

    def read() -> None:
        try:
            while data := os.read(terminal, 65_536):
                count[0] += len(data)
        except OSError:
            return

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    os.waitpid(child, 0)
    figures: dict[str, dict[str, object]] = json.loads(result.read_text())
    result.unlink()
    figures["terminal"] = {"megabytes": round(count[0] / 1e6, 2)}
    return figures


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("kinds", nargs="*", help="some of " + ", ".join(KINDS))
    parser.add_argument("--pty", action="store_true", help="draw to a real pseudo-terminal")
    options = parser.parse_args()
    kinds = options.kinds or list(KINDS)
    figures = in_pty(kinds) if options.pty else asyncio.run(without_terminal(kinds))
    missed = False
    for name, values in figures.items():
        print(f"{name:9}", json.dumps(values))
        if name in KINDS:
            p99, longest = values["gap_p99_ms"], values["gap_max_ms"]
            assert isinstance(p99, float)
            assert isinstance(longest, float)
            good = p99 < P99_MS and longest < MAX_MS and values["nothing_dropped"] and values["equal_to_fresh"]
            missed = missed or not good
    print("missed" if missed else f"held: gaps p99 < {P99_MS:.0f} ms, max < {MAX_MS:.0f} ms, nothing dropped, equal")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
