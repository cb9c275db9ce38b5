"""Several conversations at once: tabs, panes, comparing."""

from __future__ import annotations

import pytest

from engine.client import Worker
from engine.errors import EngineError
from tests.chat.driving import Chat, Home, chat


def titles(it: Chat) -> list[str]:
    return [view.session.title for view in it.screen.panes.tabs]


def shown(it: Chat) -> list[str]:
    return [view.session.title for view in it.screen.panes.shown]


async def test_tabs_are_opened_switched_and_closed_and_a_hidden_one_catches_up(home: Home) -> None:
    async with chat(home) as it:
        await it.press("ctrl+n")
        await it.app.workers.wait_for_complete()
        assert len(it.screen.panes.tabs) == 1, "an empty tab is not doubled"
        await it.begin("first", "first")
        first = it.view
        await it.press("ctrl+n")
        await it.until(lambda: it.view is not first)
        assert it.app.focused is it.view.prompt
        assert it.session.model.reference == home.model("alpha")
        await it.send("say second")
        await it.until(lambda: "waiting for this model's other answer" in it.transcript(), "a reason for waiting")
        assert titles(it) == ["until first first", "say second"]
        await it.until(lambda: "1 ● until first first  2 ● say second" in it.text(), "both titles in the tab bar")

        home.open("first")  # it goes on while nobody looks
        await it.settled()
        assert "\n  second" in it.transcript()
        assert it.screen.sidebar._unread == {1}
        assert "• until first first" in it.text()
        await it.press("f7")
        await it.until(lambda: it.view is first)
        assert "and the end." in it.transcript() and "done" not in it.transcript()
        await it.until(lambda: it.screen.sidebar._unread == set(), "nothing unread")
        assert "● until" not in it.text()
        await it.press("f8")
        assert shown(it) == ["say second"]

        await it.send("/tab-close")
        await it.until(lambda: titles(it) == ["until first first"])
        await it.send("/tab-close")
        await it.until(lambda: titles(it) == [""], "an empty tab in place of the last")
        it.screen.sidebar.focus()
        await it.press("g", "enter")
        await it.until(lambda: titles(it) == ["until first first"], "the chosen one in the empty tab's place")
        assert it.app.focused is it.view.prompt


async def test_a_reply_goes_on_in_a_closed_tab_and_its_conversation_finds_it_again(home: Home) -> None:
    async with chat(home) as it:
        await it.begin("word", "word")
        await it.send("/tab-close")
        await it.until(lambda: titles(it) == [""])
        assert it.screen.sidebar._streaming == {1}
        it.screen.sidebar.focus()
        await it.press("enter")
        await it.until(lambda: titles(it) == ["until word word"])
        assert it.session.busy and "word" in it.transcript()
        assert "Stop" in it.footer()
        await it.send("/tab-close")
        await it.until(lambda: titles(it) == [""])
        home.open("word")
        await it.settled()
        assert it.screen.sidebar._unread == {1} and it.screen.sidebar._streaming == set()
        assert (await it.app.services.store.branch(1))[-1].content == "word and the end."


@pytest.mark.parametrize(("size", "direction"), [((80, 24), "right"), ((80, 24), "down"), ((160, 48), "right")])
async def test_two_panes_with_two_checkpoints_stream_at_the_same_time(
    home: Home, size: tuple[int, int], direction: str
) -> None:
    async with chat(home, size=size) as it:
        await it.begin("left", "left")
        left = it.view
        await it.send(f"/pane-split-{direction}")
        await it.until(lambda: it.screen.panes.is_split and it.view is not left)
        right = it.view
        await it.send(f"/model {home.model('beta')}")
        await it.settled_but(left)
        await it.begin("right", "right")
        assert left.session.busy and right.session.busy
        assert {left.session.model.reference, right.session.model.reference} == {
            home.model("alpha"),
            home.model("beta"),
        }
        for view, word in ((left, "left"), (right, "right")):
            rows = view.region.height
            assert view.transcript.size.height >= 3, f"{rows} rows leave room to read"
            assert word in it.text()
        assert "alpha" in it.text() and "beta" in it.text()

        await it.press("f6")
        assert it.view is left and it.app.focused is left.prompt
        await it.send("/pane-zoom")
        await it.until(lambda: not right.display)
        home.open("right")
        await it.until(lambda: not right.session.busy)
        await it.until(lambda: it.screen.sidebar._unread == {2}, "unread while zoomed away")
        await it.send("/pane-zoom")
        await it.until(lambda: right.display and "and the end." in it.text())
        home.open("left")
        await it.settled()
        await it.press("f6")
        await it.send("/pane-close")
        await it.until(lambda: not it.screen.panes.is_split)
        assert it.view is left and len(it.screen.panes.tabs) == 2


async def test_a_seed_for_comparing_is_of_one_reply_even_when_that_fails(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refuse(reference: str | None) -> Worker:
        raise EngineError("It does not load.")

    async with chat(home) as it:
        await it.ask("say one")
        with monkeypatch.context() as failing:
            failing.setattr(it.session.model, "acquire", refuse)
            it.session.seed = 5
            await it.send("say two")
            await it.settled()
        assert it.session.seed is None


async def test_comparing_asks_both_the_draft_then_what_is_sent_until_the_pair_is_parted(home: Home) -> None:
    async with chat(home, size=(120, 30)) as it:
        await it.ask("say context")
        first = it.view
        await it.write("who are you")
        await it.press("f4")
        await it.pick(home.model("beta"))
        await it.until(lambda: it.screen.linked is not None)
        other = it.screen.panes.shown[1]
        await it.until(lambda: len(other.session.branch) == 4 and len(first.session.branch) == 4)
        await it.settled()
        assert it.app.focused is first.prompt and first.prompt.text == ""
        assert first.session.branch[-1].content == "I am alpha."
        assert [message.content for message in other.session.branch] == [
            "say context",
            "context",
            "who are you",
            "I am beta.",
        ]
        assert it.text().count("⇄ asked together") == 2

        await it.send("history")
        await it.until(lambda: len(other.session.branch) == 6)
        await it.settled()
        assert '"I am beta."' in other.session.branch[-1].content
        assert '"I am alpha."' in first.session.branch[-1].content

        await it.press("f4")
        await it.until(lambda: it.screen.linked is None)
        assert "asked together" not in it.text()
        assert any("asked apart" in notice for notice in it.notices())
        await it.ask("say only here")
        assert len(other.session.branch) == 6


async def test_comparing_without_a_draft_asks_the_last_question_of_the_other(home: Home) -> None:
    async with chat(home, size=(120, 30)) as it:
        await it.ask("say before")
        await it.ask("who are you")
        await it.press("f4")
        await it.pick(home.model("beta"))
        await it.until(lambda: it.screen.linked is not None)
        other = it.screen.panes.shown[1].session
        await it.until(lambda: len(other.branch) == 4)
        await it.settled()
        assert [message.content for message in other.branch] == ["say before", "before", "who are you", "I am beta."]
        assert len(it.session.branch) == 4


@pytest.mark.parametrize("command", ["/pane-close", "/tab-close", "/new"])
async def test_a_pair_that_is_no_more_on_the_screen_is_asked_apart(home: Home, command: str) -> None:
    async with chat(home, size=(120, 30)) as it:
        await it.press("f4")
        await it.pick(home.model("beta"))
        await it.until(lambda: it.screen.linked is not None)
        await it.ask("say both")
        await it.send(command)
        await it.until(lambda: it.screen.linked is None)
        assert not any(view.linked for view in it.screen.panes.tabs)
        await it.settled()


async def test_comparing_waits_for_the_answer_that_is_being_written(home: Home) -> None:
    async with chat(home) as it:
        await it.begin("word", "word")
        await it.press("f4")
        await it.until(lambda: any("Wait for it" in notice for notice in it.notices()))
        assert not it.screen.panes.is_split
        await it.press("escape")
        await it.settled()


async def test_jumping_reaches_tabs_where_the_sidebar_is_hidden(home: Home) -> None:
    async with chat(home, size=(80, 24)) as it:
        await it.ask("say one")
        await it.press("ctrl+n")
        await it.until(lambda: len(it.screen.panes.tabs) == 2)
        await it.ask("say two")
        await it.press("ctrl+o")
        await it.until(lambda: "1 say one" in it.text(), "the list of tabs")
        await it.press("1")
        await it.until(lambda: shown(it) == ["say one"])
        await it.press("ctrl+o")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press("h")
        await it.until(lambda: it.screen.sidebar.size.width > 0, "the sidebar")
        assert it.app.focused is it.screen.sidebar
        await it.press("ctrl+o")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press("p")
        await it.until(lambda: it.app.focused is it.view.prompt, "the prompt")
        await it.press("ctrl+o")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press("m")
        await it.until(lambda: it.app.focused is it.view.transcript, "the messages")
        assert it.view.transcript.selected_key == it.session.branch[-1].id
