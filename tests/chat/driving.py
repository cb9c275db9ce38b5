"""The real app with its real store and real workers, whose sessions are scripted (worker_scripts/scripted_chat.py)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from functools import partial
from pathlib import Path

import pytest
from textual import events
from textual.keys import _character_to_key
from textual.pilot import Pilot
from textual.widgets import Input

from engine import pool
from hugchat_tui.app import HugChatApp
from hugchat_tui.chat.model_picker import ModelPicker
from hugchat_tui.chat.screen import ChatScreen
from hugchat_tui.chat.session import ChatSession
from hugchat_tui.chat.view import ConversationView
from hugchat_tui.settings.schema import Settings
from tests.checkpoints.builders import make_model

SCRIPTS = Path(__file__).parent / "worker_scripts"
PATIENCE_S = 30.0
_HOPS = 4  # widgets that a key's message passes from the prompt to the screen
_SHORT_WORK = {"begin", "command", "draft", "open", "sibling", "sidebar"}


class Home:
    """Folders of a person's own, with the checkpoints alpha and beta and what else a test asks for."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.models = folder / "models"
        self.gates = folder / "gates"
        self.data = folder / "data"
        self.config = folder / "config"
        self.database = self.data / "conversations.db"
        for made in (self.gates, self.data, self.config):
            made.mkdir()
        monkeypatch.setenv("PYTHONPATH", str(SCRIPTS))
        monkeypatch.setenv("HUGCHAT_TEST_GATES", str(self.gates))
        monkeypatch.setenv("HUGCHAT_DATA_DIR", str(self.data))
        monkeypatch.setenv("HUGCHAT_CONFIG_DIR", str(self.config))
        monkeypatch.setenv("HF_HOME", str(folder / "huggingface"))
        monkeypatch.setattr(pool, "EnginePool", partial(pool.EnginePool, session="scripted_chat"))
        self.model("alpha")
        self.model("beta")

    def model(self, name: str) -> str:
        """The reference of a checkpoint, made now if it is not there."""
        path = self.models / name
        return str(path if path.exists() else make_model(path))  # not written anew while it is being read

    def open(self, gate: str) -> None:
        """Let the workers that wait for it go on."""
        (self.gates / gate).touch()


class Chat:
    """What a person sees and does."""

    def __init__(self, home: Home, app: HugChatApp, pilot: Pilot[None]) -> None:
        self.home = home
        self.app = app
        self.pilot = pilot

    @property
    def screen(self) -> ChatScreen:
        assert self.app.chat is not None
        return self.app.chat

    @property
    def view(self) -> ConversationView:
        view = self.screen.panes.active
        assert view is not None
        return view

    @property
    def session(self) -> ChatSession:
        return self.view.session

    async def until(self, condition: Callable[[], object], what: str = "") -> None:
        """Wait until the condition holds."""
        deadline = asyncio.get_running_loop().time() + PATIENCE_S
        while not condition():
            if asyncio.get_running_loop().time() > deadline:
                pytest.fail(f"waited for {what or condition}; the screen:\n{self.text()}")
            await asyncio.sleep(0.005)
        await self.pilot.pause(0)

    async def press(self, *keys: str) -> None:
        """As Pilot.press, without its three waits of 20 ms a key: each message of the way is waited for instead."""
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            self.app.post_message(events.Key(name, key if len(key) == 1 else None))
            taken = asyncio.Event()
            self.app.call_later(taken.set)
            await taken.wait()
            for _ in range(_HOPS):
                await self.pilot.pause(0)

    def type_ahead(self, *keys: str) -> None:
        """Press keys faster than anything can be shown."""
        for key in keys:
            name = _character_to_key(key) if len(key) == 1 else key
            self.app.post_message(events.Key(name, key if len(key) == 1 else None))

    async def write(self, text: str) -> None:
        """Put a text into the prompt, as pasting does."""
        self.view.prompt.insert_paste(text)
        await self.pilot.pause()

    async def send(self, text: str) -> None:
        """Write a text and press enter."""
        self.view.focus_prompt()
        await self.write(text)
        await self.press("enter")

    async def ask(self, text: str) -> str:
        """Ask, wait for the answer, and return it."""
        before = len(self.session.branch)
        await self.send(text)
        await self.until(lambda: len(self.session.branch) == before + 2, f"an answer to {text!r}")
        await self.settled()
        return self.session.branch[-1].content

    async def begin(self, gate: str, words: str) -> None:
        """Ask; the worker has said the words, and says no more until the gate is open."""
        before = len(self.session.branch)
        await self.send(f"until {gate} {words}")

        def said() -> bool:
            branch, transcript = self.session.branch, self.view.transcript
            return len(branch) == before + 2 and transcript.entries[-1].text == branch[-1].content == f"{words} "

        await self.until(said, f"{words!r} to be said")

    async def pick(self, reference: str) -> None:
        """Choose a checkpoint in the picker that is opening."""
        await self.until(lambda: isinstance(self.app.screen, ModelPicker), "the picker")
        self.app.screen.query_one(Input).value = reference
        await self.pilot.pause()
        await self.press("enter")

    async def settled(self) -> None:
        """Wait until nothing is loaded or answered."""
        await self.settled_but()

    async def settled_but(self, *busy: ConversationView) -> None:
        """Wait until nothing is loaded or answered, those views left out."""
        left_out = [view.session for view in busy]

        def at_rest() -> bool:
            sessions = [session for session in self.screen.sessions if session not in left_out]
            working = [worker for worker in self.app.workers if worker.group in _SHORT_WORK and not worker.is_finished]
            return not working and all(
                session.status.phase in {"idle", "unloaded", "failed"} and not session.stoppable for session in sessions
            )

        await self.pilot.pause()
        await self.until(at_rest, "rest")

    def text(self) -> str:
        """The screen, a line a row."""
        return "\n".join(
            "".join(segment.text for segment in strip) for strip in self.app.screen._compositor.render_strips()
        )

    def transcript(self) -> str:
        """Every row of the active conversation."""
        return "\n".join(strip.text.rstrip() for strip in self.view.transcript.strips())

    def notices(self) -> list[str]:
        return [notification.message for notification in self.app._notifications]

    def footer(self) -> list[str]:
        return [binding.description for binding in self.screen.key_bar.bindings()]


@asynccontextmanager
async def chat(
    home: Home, *, size: tuple[int, int] = (110, 30), settings: Settings | None = None, loaded: bool = True
) -> AsyncIterator[Chat]:
    """Start the app and wait until its checkpoint is loaded, or until the store is open only; quit in the end."""
    app = HugChatApp(settings or usual(home))
    async with app.run_test(size=size) as pilot:
        chat = Chat(home, app, pilot)
        try:
            await chat.until(lambda: app.chat is not None, "the chat screen")
            if loaded:
                await chat.until(lambda: chat.session.status.phase in {"idle", "failed"}, "the first load")
                await chat.settled()
            yield chat
        finally:
            await app.close_services()


def usual(home: Home, model: str = "alpha") -> Settings:
    """The usual settings, with one of the home's checkpoints."""
    from hugchat_tui.settings.schema import ModelSettings

    return Settings(model=ModelSettings(default=home.model(model)))
