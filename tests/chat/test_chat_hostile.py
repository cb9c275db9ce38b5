"""Text from outside, in every place where the chat screen shows it: nothing of it is obeyed, none of it is hidden."""

from __future__ import annotations

import re

from hugchat_tui.chat.model_picker import ModelPicker
from hugchat_tui.settings.schema import ModelSettings, Settings
from tests.chat.driving import Chat, Home, chat

# OSC 52 writes the clipboard, [@click=...] is an action and [/bold] an error to a markup parser, U+202E turns the
# reading direction round, U+2028 and \r break lines.
EVIL = "a\x1b]52;c;ZXZpbA==\x07[/bold][@click=app.quit]b\u202ec\u2028d\re\x9b31m"
NAME = "a\x1b]52;c;x\x07[bold][@click=app.quit]b\u202ec"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u2028-\u202e]")


def check(it: Chat) -> str:
    """The screen holds nothing that a terminal or a reader would obey; what it shows."""
    text = it.text()
    assert not OBEYED.search(text), repr(OBEYED.findall(text))
    return text


async def test_questions_replies_titles_and_footers(home: Home) -> None:
    async with chat(home, size=(160, 40)) as it:
        await it.ask(f"say {EVIL}")
        text = check(it)
        assert "␛]52;c;ZXZpbA==␇[/bold][@click=app.quit]b" in text
        await it.app.services.store.rename(1, EVIL)
        await it.session.reload_conversation()
        await it.press("ctrl+n")
        await it.until(lambda: not it.session.branch)
        await it.ask("say more")  # tab bar, sidebar
        assert check(it).count("a␛]52;c;ZXZpbA==␇[/bold]") >= 1
        await it.send("/pane-split-right")  # headers
        await it.until(lambda: it.screen.panes.is_split)
        assert "[/bold]" in check(it)
        await it.press("ctrl+o")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        check(it)
        await it.press("escape")
        await it.press("ctrl+r")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        await it.press(*"bold")
        await it.until(lambda: "1 message" in it.text() or "2 messages" in it.text())
        check(it)
        await it.press("escape")
        await it.send("/rename")
        await it.until(lambda: len(it.app.screen_stack) > 1)
        check(it)
        await it.press("escape")
        await it.send("/delete-conversation")
        await it.settled()
        assert not OBEYED.search(" ".join(it.notices()))


async def test_checkpoint_names_and_errors(home: Home) -> None:
    settings = Settings(model=ModelSettings(default=home.model(NAME), folders=(str(home.models),)))
    async with chat(home, size=(160, 40), settings=settings) as it:
        assert "a␛]52;c;x␇[bold][@click=app.quit]b" in check(it)  # empty conversation, status line
        await it.ask("who are you")
        assert "▌ a␛]52;c;x␇[bold]" in it.transcript()
        check(it)
        await it.press("ctrl+t")
        await it.until(lambda: isinstance(it.app.screen, ModelPicker) and "alpha" in it.text())
        assert "[bold]" in check(it)
        await it.press("escape")
        await it.send(f"/model /nowhere/{NAME}")
        await it.until(lambda: any("There is no folder" in notice for notice in it.notices()), "the error")
        assert not OBEYED.search(" ".join(it.notices()))
        await it.press("f4")
        await it.pick(home.model("refused"))
        await it.until(lambda: it.screen.linked is not None)
        await it.settled()
        await it.until(lambda: "failed · " in it.text())
        assert "␛[31mremote code" in check(it)


async def test_what_is_pasted(home: Home) -> None:
    """A paste reaches the prompt cleaned, and the draft that comes back from the store is what was pasted."""
    async with chat(home) as it:
        await it.write(EVIL)
        check(it)
        it.view.prompt.flush_draft()
        await it.settled()
        assert it.session.conversation is not None
        assert not OBEYED.search(it.session.conversation.draft.replace("\n", ""))
