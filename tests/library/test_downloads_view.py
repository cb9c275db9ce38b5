"""Downloads in the library, driven by keys alone against a Hub on loopback."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads.job import Job
from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.paths import downloads_dir
from tests.chat.driving import Home
from tests.checkpoints.builders import model_files
from tests.hub_server import HubServer, Request
from tests.library.driving import Library, cache_of, library

WEIGHTS = 2_000_000  # in 16 bits: 4 MB
HALF = 2_000_000


@pytest.fixture
def gate(hub: HubServer, tmp_path: Path) -> threading.Event:
    """The weights of org/tiny-chat stop half-way until it is set."""
    hub.add("org/tiny-chat", model_files(tmp_path, weights=WEIGHTS))
    opened = threading.Event()

    def wait_half_way(request: Request) -> None:
        if sum(each.sent for each in list(hub.requests)) >= HALF:
            opened.wait(60)

    hub.before_chunk = wait_half_way
    return opened


def state(it: Library) -> str:
    statuses = it.service.statuses()
    return statuses[-1].state if statuses else ""


def keys(it: Library) -> set[str]:
    """What the footer offers, each key with its label."""
    bar = it.here.key_bar
    return {f"{it.app.get_key_display(binding)} {binding.description}" for binding in bar.bindings()}


async def begin(it: Library) -> None:
    """Pull org/tiny-chat, and wait until half of it came."""
    await it.press("2", "slash", *"tiny")
    await it.until(lambda: "org/tiny-chat" in it.text(), "the result")
    await it.press("enter")
    await it.until(lambda: "p fetches" in it.details(), "the details")
    await it.press("p")
    await it.until(lambda: it.service.statuses() and it.service.statuses()[-1].done >= HALF - 1_000_000, "half of it")


async def test_search_details_pull_pause_resume_chat_and_delete_with_keys_alone(
    home: Home, hub: HubServer, gate: threading.Event
) -> None:
    async with library(home, opened=False, loaded=True) as it:
        await it.press("f5")
        await it.scanned()
        await begin(it)
        assert "Downloading org/tiny-chat. 3 shows how far it is." in it.notices()
        await it.press("3")
        await it.until(lambda: "org/tiny-chat" in it.text() and "of 4.0 MB" in it.text(), "the download")
        assert {"p Pause", "x Cancel"} <= keys(it) and "⏎ Chat" not in keys(it)
        assert "model.safetensors" in it.details(), "each file has its line"
        await it.press("p")
        await it.until(lambda: "paused" in it.text(), "the pause")
        assert {"p Go on", "x Remove"} <= keys(it)
        gate.set()
        await it.press("p")
        await it.until(lambda: state(it) == "done", "the end")
        await it.until(lambda: "✓ org/tiny-chat" in it.text(), "it to be shown")
        assert {"⏎ Chat", "x Remove"} <= keys(it) and not {"p Pause", "p Retry"} & keys(it)
        assert "org/tiny-chat is here. 3, enter loads it into the chat." in it.notices()
        await it.press("enter")
        await it.until(lambda: it.in_chat and it.session.model.reference == "org/tiny-chat", "the chat")
        await it.settled()
        await it.press(*"who are you", "enter")
        commit = hub.repositories["org/tiny-chat"].commit
        await it.until(lambda: it.session.branch and it.session.branch[-1].content == f"I am {commit}.", "its answer")
        await it.settled()
        await it.press("f5", "1")
        await it.until(lambda: "org/tiny-chat" in it.names(), "its row")
        await it.scanned()
        await it.to("org/tiny-chat")
        await it.press("d")
        await it.until(lambda: "org/tiny-chat is loaded now." in it.question(), "the question")
        await it.press("d")
        await it.until(lambda: "org/tiny-chat" not in it.names(), "it to go")
    assert not (cache_of(home) / "models--org--tiny-chat").exists(), "the trash went with the app"


async def test_a_download_goes_on_in_the_chat_and_says_when_it_is_done(
    home: Home, hub: HubServer, gate: threading.Event
) -> None:
    async with library(home, loaded=True) as it:
        await begin(it)
        await it.until(lambda: "tiny-chat ━" in it.text() and "%" in it.text().splitlines()[-2], "the strip")
        await it.press("f5")
        await it.until(lambda: "↓" in it.text().splitlines()[-1], "the word in the footer")
        assert await it.ask("who are you") == "I am alpha."
        gate.set()
        await it.until(lambda: any(notice.startswith("org/tiny-chat is here.") for notice in it.notices()), "the end")
        await it.until(lambda: "↓" not in it.text().splitlines()[-1], "the word to go")


async def test_cancelling_asks_and_deletes_what_came(home: Home, hub: HubServer, gate: threading.Event) -> None:
    async with library(home) as it:
        await begin(it)
        await it.press("3", "x")
        await it.until(lambda: "Cancel org/tiny-chat?" in it.question() and "pausing would keep it" in it.question())
        await it.press("k")
        assert it.service.statuses() != []
        await it.press("x")
        await it.until(it.question)
        await it.press("c")
        await it.until(lambda: it.service.statuses() == [] and "Nothing is being downloaded." in it.text(), "its end")
        assert list(cache_of(home).rglob("*.incomplete")) == []


async def test_deleting_an_unfinished_download_takes_it_from_the_list_and_undo_brings_it_back(
    home: Home, hub: HubServer, gate: threading.Event
) -> None:
    async with library(home) as it:
        await begin(it)
        await it.press("3", "p")
        await it.until(lambda: state(it) == "paused", "the pause")
        gate.set()
        await it.press("1", "R")
        await it.until(lambda: "org/tiny-chat" in it.names(), "its row")
        await it.to("org/tiny-chat")
        await it.press("d")
        await it.until(it.question, "the question")
        await it.press("d")
        await it.until(lambda: it.service.statuses() == [], "it to be gone")
        await it.press("u")
        await it.until(lambda: bool(it.service.statuses()) and state(it) == "paused", "it to be back")


@pytest.mark.parametrize(("answer", "later"), [("s", "paused"), ("g", "done")])
async def test_leaving_asks_whether_downloads_stop_or_go_on(
    home: Home, hub: HubServer, gate: threading.Event, answer: str, later: str
) -> None:
    async with library(home) as it:
        await begin(it)
        await it.press("ctrl+q")
        await it.until(lambda: "1 download running" in it.question(), "the question")
        await it.press("c")
        await it.until(lambda: it.in_library and it.app.is_running, "to be back")
        await it.press("ctrl+q")
        await it.until(lambda: "1 download running" in it.question(), "the question")
        await it.press(answer)
        await it.until(lambda: it.app._exit, "the end")
        gate.set()
    async with library(home) as it:
        await it.press("3")
        if later == "paused":
            assert state(it) == "paused"
            await it.press("p")
        else:
            assert state(it) != "paused"
        await it.until(lambda: state(it) != "paused" and "model" in kinds(it), "it to be here")


def kinds(it: Library) -> list[str]:
    return [row.kind for row in it.service.rows if row.name == "org/tiny-chat"]


async def test_a_failure_says_what_happened_and_what_to_do(home: Home, hub: HubServer) -> None:
    hub.add("org/tiny-chat", model_files(home.models.parent))
    async with library(home) as it:
        hub.corrupt = "model.safetensors"
        await it.press("2", "slash", *"tiny")
        await it.until(lambda: "org/tiny-chat" in it.text(), "the result")
        await it.press("enter", "p", "3")
        await it.until(lambda: state(it) == "failed", "the failure")
        await it.until(lambda: "arrived damaged twice" in it.text() and "Try again later" in it.details(), "the words")
        hub.corrupt = None
        await it.press("p")
        await it.until(lambda: state(it) == "done", "the second try")
        await it.press("x")
        await it.until(lambda: "Nothing is being downloaded." in it.text(), "the list to be empty")


async def test_a_failure_can_be_read_whole_on_a_narrow_screen_and_leaves_the_list_without_a_contradiction(
    home: Home, hub: HubServer
) -> None:
    """Its reason was cut at the edge of the screen; x said that nothing had come and that it would be deleted."""
    hub.add("org/none", {"README.md": b"# nothing to load", "config.json": b"{}"})
    async with library(home, size=(80, 24)) as it:
        await it.service.pull(HubReference("org/none"))
        await it.until(lambda: state(it) == "failed", "the failure")
        [notice] = [each for each in it.app._notifications if "org/none" in each.message or "weights" in each.message]
        assert notice.severity == "error"
        await it.press("3")
        await it.until(lambda: {"p Retry", "x Remove"} <= keys(it), "the keys that it has")
        assert "⏎ Chat" not in keys(it)
        status = it.service.statuses()[-1]
        words = f"{status.message} {status.hint}".split()
        await it.until(lambda: set(words) <= set(it.text().split()), "all of its words")
        await it.press("x")
        await it.until(lambda: it.service.statuses() == [], "it to go, unasked: nothing is lost")
        assert it.question() == ""


async def test_what_has_ended_is_cleared_at_once_but_not_what_came_of_a_failure(home: Home, hub: HubServer) -> None:
    hub.add("org/none", {"README.md": b"# nothing to load", "config.json": b"{}"})
    async with library(home) as it:
        await it.service.pull(HubReference("org/model"))
        await it.until(lambda: state(it) == "done", "one that arrives")
        await it.service.pull(HubReference("org/none"))
        await it.until(lambda: state(it) == "failed", "one that fails")
        await it.press("v")
        await it.worked("Verifying")
        await it.press("3", "C")
        await it.until(lambda: "Nothing is being downloaded." in it.text(), "the list to be empty")
        assert it.service.jobs.every == [] and "C Clear" not in keys(it)


async def test_what_arrived_while_the_app_was_closed_is_told_at_the_next_start(home: Home, hub: HubServer) -> None:
    """Its row was gone, and nothing said that it had come."""
    downloads = Downloads(home.data)
    id = await downloads.add(HubReference("org/model"))
    await downloads.wait(id)
    await downloads.close()
    Job(downloads_dir(home.data) / id).mark_seen(False)  # as if this had not been there to see it
    words = "org/model arrived while the app was closed. f5 shows it."
    async with library(home, opened=False) as it:
        await it.until(lambda: words in it.notices(), "the notice")
        await it.service.pull(HubReference("org/model"))
        await it.until(lambda: state(it) == "done", "one that arrives before it closes")
    async with library(home, opened=False) as it:
        await it.until(lambda: it.app._library_screen is not None, "the start")
        assert words not in it.notices(), "it was seen to arrive"
