"""A conversation of 2,000 messages is opened and leafed through: python -m benchmarks.transcript_open

Measures from `set_entries` to the first screen drawn, and each page up, from the call to the screen drawn, with and
without time between the pages for work ahead. Bars: the first screen under 200 ms, page-up p95 under 60 ms.
"""

from __future__ import annotations

import asyncio
import json
import random
import sys
import time

from textual.app import App, ComposeResult

from benchmarks.transcript_stream import mixed, sentence
from hugchat_tui.chat.transcript import Entry, Transcript, warm_up
from hugchat_tui.common.collector import settle

MESSAGES, PAGES = 2_000, 80
FIRST_MS, PAGE_P95_MS = 200.0, 60.0
SIZES = ((80, 24), (200, 60))


def conversation(count: int) -> list[Entry]:
    """Questions of a sentence or two, answers of 200 to 6,000 characters of mixed Markdown."""
    rnd = random.Random(11)
    entries = []
    for key in range(count):
        if key % 2 == 0:
            entries.append(Entry(key, "user", "You", sentence(rnd, rnd.randint(5, 40))))
            continue
        length, text = rnd.choice((200, 800, 1_500, 3_000, 6_000)), ""
        for piece in mixed(rnd):
            text += piece
            if len(text) > length:
                break
        entries.append(Entry(key, "assistant", "model", text, footer="done · 31 tok/s"))
    return entries


class OpenApp(App[None]):
    def compose(self) -> ComposeResult:
        yield Transcript()


async def drawn(app: OpenApp) -> None:
    """Until what was changed is on the screen."""
    done = asyncio.Event()
    app.query_one(Transcript).call_after_refresh(done.set)
    await done.wait()


async def pages(app: OpenApp, pause_s: float) -> list[float]:
    transcript = app.query_one(Transcript)
    transcript.follow_end()
    await drawn(app)
    times = []
    for _ in range(PAGES):
        await asyncio.sleep(pause_s)
        began = time.perf_counter()
        transcript.action_scroll_pages(-1)
        await drawn(app)
        times.append((time.perf_counter() - began) * 1000)
    return sorted(times)


async def measure(size: tuple[int, int], entries: list[Entry]) -> dict[str, object]:
    app = OpenApp()
    async with app.run_test(size=size) as pilot:
        await pilot.pause()
        transcript = app.query_one(Transcript)
        settle()
        firsts = []
        for _ in range(5):
            transcript.set_entries([])
            await drawn(app)
            began = time.perf_counter()
            transcript.set_entries(entries)
            await drawn(app)
            firsts.append((time.perf_counter() - began) * 1000)
        cold = await pages(app, 0.0)
        transcript.set_entries([])
        transcript.set_entries(entries)
        ahead = await pages(app, 0.15)
        return {
            "first_screen_ms": [round(each, 1) for each in firsts],
            "page_up_p50_ms": round(cold[len(cold) // 2], 1),
            "page_up_p95_ms": round(cold[int(len(cold) * 0.95)], 1),
            "page_up_max_ms": round(cold[-1], 1),
            "rested_p50_ms": round(ahead[len(ahead) // 2], 1),
            "rested_p95_ms": round(ahead[int(len(ahead) * 0.95)], 1),
        }


def main() -> int:
    warm_up()
    entries = conversation(MESSAGES)
    print(f"{MESSAGES:,} messages, {sum(len(entry.text) for entry in entries) / 1e6:.1f} million characters")
    missed = False
    for size in SIZES:
        figures = asyncio.run(measure(size, entries))
        print(f"{size[0]}x{size[1]}", json.dumps(figures))
        firsts, p95 = figures["first_screen_ms"], figures["page_up_p95_ms"]
        assert isinstance(firsts, list)
        assert isinstance(p95, float)
        missed = missed or max(firsts) >= FIRST_MS or p95 >= PAGE_P95_MS
    print("missed" if missed else f"held: first screen < {FIRST_MS:.0f} ms, page-up p95 < {PAGE_P95_MS:.0f} ms")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
