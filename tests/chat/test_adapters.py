"""Chatting with adapters of one base: they take turns in its worker, unless both are on the screen."""

from __future__ import annotations

from tests.chat.driving import Chat, Home, chat
from tests.checkpoints.builders import make_adapter


def adapter(home: Home, name: str) -> str:
    """The reference of an adapter of alpha."""
    return str(make_adapter(home.models / name, home.model("alpha")))


def workers(it: Chat) -> dict[str, int]:
    """What is loaded, and in which process."""
    slots = it.app.services.pool._slots.values()
    return {slot.checkpoint.name: slot.worker.pid for slot in slots if slot.worker is not None}


async def choose(it: Chat, reference: str) -> None:
    await it.press("ctrl+t")
    await it.pick(reference)
    await it.settled()


async def test_base_and_adapters_take_turns_in_one_worker_however_many_tabs_there_are(home: Home) -> None:
    first, second = adapter(home, "first"), adapter(home, "second")
    async with chat(home) as it:
        assert await it.ask("who are you") == "I am alpha."
        (pid,) = workers(it).values()
        await it.press("ctrl+n")
        for reference, name in ((first, "first"), (second, "second"), (first, "first")):
            await choose(it, reference)
            assert workers(it) == {name: pid}
            assert await it.ask("who are you") == f"I am {name}."
        await it.press("f7")
        assert "○ alpha" in it.text().splitlines()[-2], "it is had back when it is asked"
        assert await it.ask("who are you") == "I am alpha."
        assert workers(it) == {"alpha": pid}


async def test_an_adapter_beside_its_base_has_a_worker_of_its_own(home: Home) -> None:
    reference = adapter(home, "first")
    async with chat(home, size=(120, 30)) as it:
        await it.ask("who are you")
        (pid,) = workers(it).values()
        await it.app.load_into_chat(reference, beside=True)
        other = it.screen.panes.shown[1]
        await it.until(lambda: len(other.session.branch) == 2)
        await it.settled()
        assert other.session.branch[-1].content == "I am first."
        assert workers(it).keys() == {"alpha", "first"} and workers(it)["alpha"] == pid
        before = workers(it)
        assert await it.ask("who are you") == "I am alpha."
        await it.until(lambda: len(other.session.branch) == 4)
        await it.settled()
        assert other.session.branch[-1].content == "I am first."
        assert workers(it) == before
