"""Conversations are kept: titles, drafts, deleting, finding."""

from __future__ import annotations

from textual.widgets import Input

from hugchat_tui.chat.search_screen import SearchScreen
from hugchat_tui.chat.welcome import Welcome
from hugchat_tui.common.dialogs import TextDialog
from tests.chat.driving import Chat, Home, chat


def listed(it: Chat) -> list[str]:
    return [entry.text for entry in it.screen.sidebar._entries if entry.id is not None]


async def type_over(it: Chat, text: str) -> None:
    """Replace the text of the dialog that is opening, and accept it."""
    await it.until(lambda: isinstance(it.app.screen, TextDialog), "the dialog")
    it.app.screen.query_one(Input).value = text
    await it.press("enter")


async def test_the_first_question_names_a_conversation_and_a_person_renames_it(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say # A *heading*\nand more")
        assert listed(it) == ["say # A *heading*"]
        await it.send("/rename")
        await type_over(it, "Mine")
        await it.until(lambda: listed(it) == ["Mine"])
        await it.ask("say more")
        assert listed(it) == ["Mine"]
        it.screen.sidebar.focus()
        await it.press("r")
        await type_over(it, "Other")
        await it.until(lambda: listed(it) == ["Other"])
        assert it.session.title == "Other"


async def test_a_deleted_conversation_comes_back_with_its_branch(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.begin("never", "word")
        it.screen.sidebar.focus()
        await it.press("d")
        await it.until(lambda: listed(it) == [], "it to be gone")
        assert any(notice.startswith("Deleted say one. Undo with /undo-delete") for notice in it.notices())
        assert len(it.screen.panes.tabs) == 1 and not it.session.branch
        it.view.focus_prompt()
        await it.send("/undo-delete")
        await it.until(lambda: listed(it) == ["say one"])
        await it.settled()
        assert [message.content for message in it.session.branch] == ["say one", "one", "until never word", "word "]
        assert len(it.screen.panes.tabs) == 1, "it took the place of the empty tab"


async def test_drafts_survive_switching_closing_and_a_restart(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.write("draft of one")
        await it.press("ctrl+n")
        await it.until(lambda: len(it.screen.panes.tabs) == 2)
        await it.write("draft of two")
        await it.press("f7")
        assert it.view.prompt.text == "draft of one"
        it.screen.action_close_tab()
        await it.until(lambda: len(it.screen.panes.tabs) == 1)
        assert it.view.prompt.text == "draft of two"
        await it.until(lambda: "New conversation" in listed(it), "the draft's conversation in the list")
        it.screen.sidebar.focus()
        await it.until(lambda: it.screen.sidebar.has_focus)
        await it.press("end" if listed(it)[-1] == "say one" else "home", "enter")
        await it.until(lambda: len(it.screen.panes.tabs) == 2)
        assert it.view.prompt.text == "draft of one"
        # Typed last, not announced yet, and the program is killed: what was announced is there.
        it.view.prompt.flush_draft()
        await it.settled()
    async with chat(home) as it:
        assert set(listed(it)) == {"New conversation", "say one"}
        assert it.view.prompt.text == "draft of two", "an unsent new conversation is taken up again"
        it.screen.sidebar.focus()
        await it.press("end" if listed(it)[-1] == "say one" else "home", "enter")
        await it.until(lambda: it.session.title == "say one")
        assert it.view.prompt.text == "draft of one"
        assert "one" in it.transcript()


async def test_an_emptied_draft_leaves_no_conversation_behind(home: Home) -> None:
    async with chat(home) as it:
        await it.write("x")
        it.view.prompt.flush_draft()
        await it.until(lambda: listed(it) == ["New conversation"])
        await it.press("backspace")
        it.view.prompt.flush_draft()
        await it.until(lambda: listed(it) == [], "an empty list")
        await it.press("ctrl+q")
        await it.until(lambda: not it.app.is_running or it.app._exit, "the end")
    async with chat(home) as it:
        assert await it.app.services.store.list_conversations() == []


async def test_searching_all_history_opens_the_hit_at_its_message(home: Home) -> None:
    async with chat(home, size=(100, 20)) as it:
        await it.ask("say the needle is here")
        for number in range(4):
            await it.ask("say " + "\n".join(f"filler {number} {line}" for line in range(12)))
        it.view.transcript.focus()
        await it.press("g", "j", "r")  # the needle's answer is on another branch now
        await it.settled()
        await it.press("ctrl+n")
        await it.until(lambda: not it.session.branch)
        await it.press("ctrl+r")
        await it.until(lambda: isinstance(it.app.screen, SearchScreen))
        await it.press(*"needle")
        await it.until(lambda: "2 messages" in it.text() or "3 messages" in it.text(), "the hits")
        await it.press("down", "enter")
        await it.until(lambda: it.session.branch, "the conversation")
        await it.settled()
        cursor = it.view.transcript.selected_key
        assert "needle" in next(message.content for message in it.session.branch if message.id == cursor)
        assert it.app.focused is it.view.transcript
        await it.until(lambda: "needle" in it.text().split("\n", 3)[2], it.text())


async def test_finding_in_a_conversation_counts_walks_and_closes(home: Home) -> None:
    async with chat(home) as it:
        await it.press("ctrl+f")  # nothing to find in yet
        assert not it.view.find_bar.display
        await it.ask("say one two one")
        await it.press("ctrl+f")
        await it.press(*"one")
        await it.until(lambda: "1 of 4" in it.text(), "the count")
        assert it.footer()[:3] == ["Next", "Previous", "Close"]
        await it.press("enter")
        await it.until(lambda: "2 of 4" in it.text())
        await it.press("up", "up")
        await it.until(lambda: "4 of 4" in it.text(), "round the end")
        await it.press(*"x")
        await it.until(lambda: "no match" in it.text())
        await it.press("escape")
        await it.until(lambda: not it.view.find_bar.display)
        assert it.app.focused is it.view.transcript
        await it.press("slash")
        await it.until(lambda: it.view.find_bar.display)


async def test_the_prompt_remembers_what_was_asked_before(home: Home) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.ask("say two")
    async with chat(home) as it:
        await it.press("up")
        assert it.view.prompt.text == "say two"
        await it.press("up", "down", "down")
        assert it.view.prompt.text == ""
        assert it.view.query_one(Welcome).display
