"""What the prompt, the model picker and the sidebar do to the event loop. Bars in milliseconds, per handled event.

python -m benchmarks.widgets
"""

from __future__ import annotations

import asyncio
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path

from textual import events
from textual.app import App, ComposeResult
from textual.pilot import Pilot

from engine.checkpoints.model import Checkpoint
from hugchat_tui.chat.model_picker import ModelPicker
from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.chat.prompt_box import PromptBox
from hugchat_tui.chat.sidebar import Sidebar
from hugchat_tui.common.inputs import LineInput
from hugchat_tui.conversations.model import Conversation

PASTE = "".join(f"line {number} of a paste with some words\r\n" for number in range(2600))[: 100 * 1024]
LONG_LINE = "word " * 1990
FAMILIES = ("SmolLM2", "Qwen3", "Llama-3.2", "Mistral", "gemma-2", "hugnlp-hugchat-gpt2", "opt", "glm")


class Bench(App[None]):
    def compose(self) -> ComposeResult:
        yield Sidebar()
        yield PromptBox(Prompt())


def milliseconds(work: Callable[[], object]) -> float:
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


async def keys(pilot: Pilot[None], prompt: Prompt, count: int) -> list[float]:
    """Each key from its arrival until the screen was brought up to date."""
    times = []
    for _ in range(count):
        began = time.perf_counter()
        prompt.post_message(events.Key("x", "x"))
        await pilot.pause(0)
        times.append((time.perf_counter() - began) * 1000)
    return times


def p95(times: list[float]) -> float:
    return statistics.quantiles(times, n=20)[-1]


async def measure() -> dict[str, tuple[float, float]]:
    """Name -> (measured, bar)."""
    figures: dict[str, tuple[float, float]] = {}
    app = Bench()
    async with app.run_test(size=(160, 48)) as pilot:
        prompt, sidebar = app.query_one(Prompt), app.query_one(Sidebar)
        prompt.focus()
        figures["paste of 100 KB"] = (milliseconds(lambda: prompt.insert_paste(PASTE)), 20)
        figures["draft with that paste, as stored"] = (milliseconds(lambda: prompt.draft), 5)
        draft = prompt.draft
        figures["restoring it"] = (milliseconds(lambda: prompt.restore(draft)), 20)
        prompt.restore("")
        await pilot.pause()
        figures["key in an empty draft, p95"] = (p95(await keys(pilot, prompt, 60)), 25)
        prompt.restore(LONG_LINE)
        await pilot.pause()
        figures["key in a line of 9,950 characters, p95"] = (p95(await keys(pilot, prompt, 60)), 33)

        now = time.time()
        conversations = [
            Conversation(number, f"Conversation {number} 你好", now - number * 9000, now - number * 9000)
            for number in range(5000)
        ]
        figures["sidebar takes 5,000 conversations"] = (
            milliseconds(lambda: sidebar.set_conversations(conversations)),
            60,
        )
        lines = [milliseconds(lambda y=y: sidebar.render_line(y)) for y in range(44)]  # type: ignore[misc]
        figures["sidebar draws a screen of 44 lines"] = (sum(lines), 20)

        checkpoints = [
            Checkpoint(
                name=f"organisation-{number % 37}/{FAMILIES[number % 8]}-{number}M-Instruct",
                path=Path(f"/models/{number}"),
                kind="model",
                source="cache",
                parameters=number * 10**6,
                size_bytes=number * 2 * 10**6,
            )
            for number in range(1000)
        ]
        picker = ModelPicker()
        app.push_screen(picker)
        await pilot.pause()
        figures["picker takes 1,000 checkpoints"] = (milliseconds(lambda: picker.set_checkpoints(checkpoints)), 60)
        field, filtered = picker.query_one(LineInput), []
        for query in ("s", "sm", "smol", "smol in", "hgchat", "qwn 7", "iiiiiiii", "zzz", "e", "organisation-3"):
            field.value = query
            filtered.append(milliseconds(picker._filter))
            await pilot.pause()
        figures["picker filters 1,000 checkpoints, slowest query"] = (max(filtered), 33)
    return figures


def main() -> None:
    figures = asyncio.run(measure())
    for name, (measured, bar) in figures.items():
        print(f"{name:<50} {measured:7.1f} ms   (bar {bar:g})")
    missed = [name for name, (measured, bar) in figures.items() if measured > bar]
    if missed:
        sys.exit(f"missed: {', '.join(missed)}")


if __name__ == "__main__":
    main()
