"""Asking and answering in the real app: the first question, waiting, stopping, failing."""

from __future__ import annotations

from pathlib import Path

import pytest
from textual.geometry import Region
from textual.strip import Strip
from textual.widget import Widget

from hugchat_tui.chat import reply_writer
from hugchat_tui.chat.history import UNANSWERED
from hugchat_tui.chat.welcome import Welcome
from hugchat_tui.conversations.model import Message
from tests.chat.driving import Chat, Home, chat, usual


async def stored(it: Chat, conversation: int = 1) -> list[Message]:
    return await it.app.services.store.branch(conversation)


def ended(message: Message) -> str | None:
    assert message.reply is not None
    return message.reply.ended


async def test_a_question_is_answered_and_stored_and_the_status_says_what_it_took(home: Home) -> None:
    async with chat(home) as it:
        assert "Ask alpha anything" in it.text()
        assert "float32 because a test says so" in it.text()
        assert await it.ask("say Hello **there**") == "Hello **there**"
        assert "Hello there" in it.transcript()
        assert "1 token · 1.0 tok/s · first token 0.25 s" in it.transcript()
        status = it.text().splitlines()[-2]
        assert "● " in status and "cpu · float32" in status and "4/1,000" in status
        assert "▌  say Hello **there**" in it.text(), "the sidebar"
        question, reply = await stored(it)
        assert (question.role, question.content) == ("user", "say Hello **there**")
        assert (reply.role, reply.content, ended(reply)) == ("assistant", "Hello **there**", "done")
        assert reply.reply is not None
        assert (reply.reply.seed, reply.reply.model) == (7, home.model("alpha"))


async def test_the_model_hears_the_whole_branch_and_the_system_prompt(home: Home) -> None:
    async with chat(home) as it:
        await it.send("/system")
        await it.until(lambda: len(it.app.screen_stack) > 1, "the dialog")
        await it.press(*"Be_kind", "enter")
        await it.until(lambda: it.session.system_prompt == "Be_kind")
        await it.ask("say one")
        assert await it.ask("history") == (
            '[["system", "Be_kind"], ["user", "say one"], ["assistant", "one"], ["user", "history"]]'
        )


async def test_while_a_reply_streams_enter_keeps_the_text_and_escape_stops_with_the_partial_kept(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(reply_writer, "STATUS_INTERVAL_S", 0.0)
    async with chat(home) as it:
        assert it.footer() == ["Send", "New line", "New", "Model", "Commands", "Help"]
        await it.begin("never", "some words")
        status = it.text().splitlines()[-2]
        assert "writing" in status and "tokens/s" in status and "6/1,000" in status, "speed and context while it writes"
        assert it.footer()[0] == "Stop" and len(it.footer()) == 6
        assert it.screen.sidebar._streaming == {1}

        await it.send("say more")
        assert it.view.prompt.text == "say more"
        assert any("your text stays" in notice for notice in it.notices())
        assert len(it.session.branch) == 2

        await it.press("escape")
        await it.settled()
        assert it.view.prompt.text == "say more"
        _, reply = await stored(it)
        assert (reply.content, ended(reply)) == ("some words ", "stopped")
        assert "stopped · 3 tokens" in it.transcript()
        assert it.footer()[0] == "Send"
        assert it.screen.sidebar._streaming == set()

        await it.press("enter")
        await it.settled()
        assert (await stored(it))[-1].content == "more"


async def test_a_word_that_streams_in_draws_its_row_and_no_other(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever draws takes a core from the model."""
    async with chat(home) as it:
        await it.begin("never", "some words")
        reply = it.session.branch[-1].id
        it.view.transcript.feed(reply, "and more " * 40)
        it.view.transcript.flush()
        await it.until(lambda: not it.view.transcript.working, "idle time work")
        drawn: list[tuple[str, int]] = []
        render_lines = Widget.render_lines

        def note(widget: Widget, crop: Region) -> list[Strip]:
            drawn.append((type(widget).__name__, crop.height))
            return render_lines(widget, crop)

        small = 0  # a busy machine may still draw what came before, once or twice
        with monkeypatch.context() as patch:
            patch.setattr(Widget, "render_lines", note)
            for _ in range(6):
                drawn.clear()
                it.view.transcript.feed(reply, "more ")
                it.view.transcript.flush()
                await it.until(lambda: "Transcript" in dict(drawn), "it to be drawn")
                rows = max(height for name, height in drawn if name == "Transcript")
                small += rows <= 2 and "Sidebar" not in dict(drawn)
        assert small >= 4
        await it.press("escape")
        await it.settled()


async def test_escape_with_nothing_to_stop_goes_to_the_prompt_and_keeps_the_draft(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.write("draft")
        for part in (it.view.transcript, it.screen.sidebar):
            part.focus()
            await it.press("escape")
            assert it.view.prompt.has_focus
        it.view.transcript.focus()
        await it.press("v")  # a selection is left first
        await it.press("escape")
        assert it.view.transcript.has_focus
        await it.press("escape")
        assert it.view.prompt.has_focus
        assert it.view.prompt.text == "draft"


async def test_a_load_ahead_shows_its_progress_and_is_not_thrown_away_by_escape(home: Home) -> None:
    async with chat(home, settings=usual(home, "slow"), loaded=False) as it:
        welcome = it.view.query_one(Welcome)
        await it.until(lambda: "reading weights · 25 %" in it.text(), "the progress")
        assert "━" in it.text().split("reading weights")[1], "a bar below it"
        assert "Ask slow anything" in it.text()
        await it.press("escape")
        assert it.session.status.phase == "loading"

        # A question meanwhile waits for the same load, and says so where the answer will be.
        await it.send("who are you")
        await it.until(lambda: "loading slow · reading weights 25 %" in it.transcript(), it.transcript())
        assert not welcome.display
        home.open("load")
        await it.settled()
        assert (await stored(it))[-1].content == "I am slow."
        assert "loading" not in it.transcript()


async def test_a_question_that_waits_for_a_load_can_be_stopped_and_the_load_goes_on(home: Home) -> None:
    async with chat(home, settings=usual(home, "slow"), loaded=False) as it:
        await it.send("who are you")
        await it.until(lambda: len(it.session.branch) == 2)
        await it.press("escape")
        await it.until(lambda: not it.session.busy)
        assert "stopped" in it.transcript()
        home.open("load")
        await it.until(lambda: it.session.status.phase == "idle", "the load")
        it.view.transcript.focus()
        await it.press("r")
        await it.settled()
        assert it.session.branch[-1].content == "I am slow."


async def test_a_checkpoint_that_is_not_there_is_said_and_another_can_be_named(home: Home) -> None:
    from hugchat_tui.settings.schema import ModelSettings, Settings

    gone = str(home.models / "gone")
    async with chat(home, settings=Settings(model=ModelSettings(default=gone))) as it:
        assert "There is no folder or file" in it.text()
        assert "✕" in it.text().splitlines()[-2]
        await it.ask("say one")
        assert "failed · There is no folder or file" in it.transcript()
        await it.send(f"<model_name_or_path={home.model('alpha')}>")
        await it.settled()
        assert await it.ask("say two") == "two"


async def test_why_a_checkpoint_is_refused_is_shown_without_its_escape_sequences(home: Home) -> None:
    async with chat(home, settings=usual(home, "refused")) as it:
        assert "It asks for ␛[31mremote code␛[0m. Choose another." in it.text().replace("\n", " ")
        assert await it.ask("say one") == ""
        assert ended((await stored(it))[-1]) == "error"
        assert "\x1b" not in it.transcript()
        assert "failed · It asks for ␛[31mremote code␛[0m. Choose another." in it.transcript()


async def test_a_worker_that_dies_in_mid_reply_leaves_its_words_and_the_next_question_is_answered(home: Home) -> None:
    async with chat(home, size=(80, 24)) as it:
        assert await it.ask("die") == "the last words"
        _, reply = await stored(it)
        assert (reply.content, ended(reply)) == ("the last words", "error")
        shown = " ".join(it.transcript().split())
        assert "the last words" in shown
        assert "was killed, probably out of memory, while answering" in shown
        assert "Close other programs or choose a smaller checkpoint. The next request starts a new worker." in shown
        assert await it.ask("say again") == "again"
        # What failed is no turn that the model hears, but its words are.
        assert '["assistant", "the last words"]' in await it.ask("history")


async def test_a_question_that_does_not_fit_says_so_and_the_model_stays(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("long")
        assert "failed · The question has 2,000 tokens; the context holds 1,000. Shorten it." in it.transcript()
        assert it.session.status.phase == "idle"
        assert await it.ask("say short") == "short"


async def test_a_question_that_the_model_will_not_hear_again_is_told_once(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("long question")
        assert UNANSWERED not in it.notices()
        assert await it.ask("history") == '[["user", "history"]]'
        await it.ask("say more")
        assert it.notices().count(UNANSWERED) == 1


async def test_an_error_that_nobody_expected_is_said_and_the_next_question_is_answered(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object) -> None:
        raise RuntimeError("a mistake of ours")

    async with chat(home) as it:
        with monkeypatch.context() as patch:
            patch.setattr("hugchat_tui.chat.history.what_is_heard", broken)
            await it.send("say anything")
            await it.until(lambda: any("a mistake of ours" in notice for notice in it.notices()), "the notice")
            await it.settled()
        assert await it.ask("say fine") == "fine"


async def test_the_starter_is_installed_with_progress_in_the_empty_conversation(home: Home, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    import asyncio

    from engine.checkpoints import starter
    from tests.checkpoints.builders import make_model

    go_on = asyncio.Event()

    async def install(data: Path, on_progress) -> Path:  # type: ignore[no-untyped-def]
        on_progress("downloading", 45_000_000, 93_000_000)
        await go_on.wait()
        return make_model(starter.starter_path(data))

    monkeypatch.setattr(starter, "install_starter", install)
    from hugchat_tui.settings.schema import Settings

    async with chat(home, settings=Settings(), loaded=False) as it:
        await it.until(lambda: "downloading · 48 %" in it.text(), "the progress")
        assert "45 MB of 93 MB" in it.text()
        assert "made ready once; you may type already" in it.text()
        await it.send("who are you")
        await it.until(lambda: "preparing starter · downloading 48 %" in it.transcript(), "it below the question")
        go_on.set()
        await it.settled()
        assert (await stored(it))[-1].content == "I am starter."
