"""A checkpoint that was deleted while a conversation answers with it, driven by keys over a Hub on loopback."""

from __future__ import annotations

from tests.chat.driving import Home
from tests.checkpoints.builders import model_files
from tests.hub_server import HubServer
from tests.library.driving import Library, library


def fetched(hub: HubServer) -> int:
    return sum(request.path.startswith("/storage/") for request in hub.requests)


def refused(it: Library) -> bool:
    reply = it.session.branch[-1].reply if it.session.branch else None
    words = "org/tiny-chat is not on this machine any more. f5, then u, brings back"
    return reply is not None and (reply.error or "").startswith(words)


async def pulled_and_deleted(it: Library) -> None:
    """Let org/tiny-chat answer, fetched from the Hub, and delete it in the library."""
    await it.send("/model org/tiny-chat")
    await it.until(lambda: it.session.model.info is not None and not it.session.stoppable, "it to be loaded")
    assert await it.ask("say one") == "one"
    await it.press("f5")
    await it.scanned()
    await it.to("org/tiny-chat")
    await it.press("d")
    await it.until(lambda: "Delete org/tiny-chat?" in it.question(), "the question")
    await it.press("d")
    await it.until(lambda: "org/tiny-chat" not in it.names(), "it to go")
    await it.press("f5")
    await it.until(lambda: it.in_chat, "the chat")


async def test_a_model_that_was_deleted_is_not_fetched_again_unasked(home: Home, hub: HubServer) -> None:
    """It was downloaded again, in full, with the next question."""
    hub.add("org/tiny-chat", model_files(home.models.parent))
    async with library(home, opened=False, loaded=True) as it:
        await pulled_and_deleted(it)
        before = fetched(hub)
        await it.send("say two")
        await it.until(lambda: refused(it), "the refusal")
        await it.press("ctrl+n")
        assert it.session.branch == []
        await it.send("say three")
        await it.until(lambda: refused(it), "the refusal in a new conversation")
        await it.settled()
        assert fetched(hub) == before
        await it.send("/model org/tiny-chat")
        await it.until(lambda: it.session.model.info is not None and not it.session.stoppable, "it, fetched again")
        assert fetched(hub) > before, "now it was asked for"


async def test_what_undo_brings_back_answers_again(home: Home, hub: HubServer) -> None:
    hub.add("org/tiny-chat", model_files(home.models.parent))
    async with library(home, opened=False, loaded=True) as it:
        await pulled_and_deleted(it)
        await it.press("f5", "u")
        await it.until(lambda: "1 checkpoint came back." in it.notices(), "it to come back, whole")
        await it.press("f5")
        assert await it.ask("say two") == "two"
