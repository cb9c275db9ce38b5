"""Rendering without a screen, and an app with nothing but a transcript."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from zlib import crc32

from rich.style import Style
from textual.app import App, ComposeResult
from textual.message import Message
from textual.pilot import Pilot

from hugchat_tui.chat.transcript import Entry, Transcript
from hugchat_tui.chat.transcript.entries import EntryRole
from hugchat_tui.chat.transcript.frame import Frame
from hugchat_tui.chat.transcript.lexers import LEXERS
from hugchat_tui.chat.transcript.palette import Palette
from hugchat_tui.chat.transcript.rendering import Rendering

# Every component looks different, so that comparing styles means something.
PALETTE = Palette(lambda name: Style(color=f"#{crc32(name.encode()) % 0xFFFFFF:06x}"), Style())


def rendered(
    text: str, width: int = 60, role: EntryRole = "assistant", title: str = "model", detail: str = "", footer: str = ""
) -> Rendering:
    """An entry with all its rows and colours."""
    return finished(Rendering(Entry(1, role, title, text, detail, footer), Frame.of(PALETTE, width)))


def finished(rendering: Rendering) -> Rendering:
    rendering.advance(math.inf)
    for language in rendering.unknown_languages():
        LEXERS.load(language)
    while rendering.colouring:
        rendering.colour(math.inf)
    return rendering


def streamed(pieces: list[str], width: int = 60) -> Rendering:
    """The same, fed a piece at a time."""
    entry = Entry(1, "assistant", "model", "", streaming=True)
    rendering = Rendering(entry, Frame.of(PALETTE, width))
    for piece in pieces:
        entry.text += piece
        rendering.take_text()
        rendering.advance(math.inf)
    entry.streaming = False
    rendering.take_text()
    return finished(rendering)


def texts(rendering: Rendering) -> list[str]:
    """The body's rows as they are seen."""
    return [rendering.rows[number].text.rstrip() for number in rendering.body]


def drawn(rendering: Rendering) -> list[object]:
    """Everything about the rows that a person could see or copy."""
    return [
        (
            [(segment.text, segment.style or Style()) for segment in (*row.prefix, *row.segments) if segment.text],
            row.line.number,
            row.line.text,
            row.spans,
            row.links,
            row.width,
            row.panel and row.panel.width,
        )
        for row in rendering.rows
    ]


class TranscriptApp(App[None]):
    """Keeps the messages that the transcript posts."""

    ENABLE_COMMAND_PALETTE = False

    def __init__(self) -> None:
        super().__init__()
        self.posted: list[Message] = []

    def compose(self) -> ComposeResult:
        yield Transcript()

    @property
    def transcript(self) -> Transcript:
        return self.query_one(Transcript)

    def on_transcript_copied(self, event: Transcript.Copied) -> None:
        self.posted.append(event)

    def on_transcript_link_activated(self, event: Transcript.LinkActivated) -> None:
        self.posted.append(event)

    def on_transcript_cursor_moved(self, event: Transcript.CursorMoved) -> None:
        self.posted.append(event)

    def on_transcript_find_requested(self, event: Transcript.FindRequested) -> None:
        self.posted.append(event)


@asynccontextmanager
async def running(
    entries: list[Entry], size: tuple[int, int] = (60, 20)
) -> AsyncIterator[tuple[TranscriptApp, Transcript, Pilot[None]]]:
    """The app with these entries shown from their end, and the focus in the transcript."""
    app = TranscriptApp()
    async with app.run_test(size=size) as pilot:
        app.transcript.set_entries(entries)
        app.transcript.focus()
        await settled(pilot)
        app.posted.clear()
        yield app, app.transcript, pilot


async def settled(pilot: Pilot[None]) -> None:
    """Until nothing is left to do."""
    transcript = pilot.app.query_one(Transcript)
    await pilot.pause()
    while transcript.busy or transcript.working:
        await asyncio.sleep(0)
        await pilot.pause()


def screen_rows(transcript: Transcript) -> list[str]:
    """The viewport as text, without the gutter."""
    return [strip.text[2:].rstrip() for strip in transcript.render_lines(transcript.size.region)]


def barred_rows(transcript: Transcript) -> list[int]:
    """The rows of the viewport that have a bar in the gutter."""
    strips = transcript.render_lines(transcript.size.region)
    return [y for y, strip in enumerate(strips) if strip.text.startswith("▌")]


def conversation(count: int, lines: int = 6) -> list[Entry]:
    """Questions and answers; every line says which it is."""
    return [
        Entry(
            key,
            "user" if key % 2 == 0 else "assistant",
            "You" if key % 2 == 0 else "model",
            "\n\n".join(f"message {key} line {line}" for line in range(lines)),
        )
        for key in range(count)
    ]
