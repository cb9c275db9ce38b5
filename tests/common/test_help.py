"""Help is made from the bindings."""

from __future__ import annotations

from typing import ClassVar

from textual._ansi_sequences import ANSI_SEQUENCES_KEYS
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.events import Key
from textual.widgets import Input

from hugchat_tui.chat.prompt import Prompt
from hugchat_tui.common.help import HelpEntry, HelpScreen, help_entries
from hugchat_tui.common.line_list import LineList


class HelpApp(App[None]):
    ENABLE_COMMAND_PALETTE = False
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("f2,f8", "bell", "Ring", id="app.ring", tooltip="Make [/bold] a sound"),
        Binding("f9", "bell", "", id="app.silent"),
        Binding("f7", "hidden", "Hidden", id="app.hidden"),
    ]

    def compose(self) -> ComposeResult:
        yield Prompt()

    def on_mount(self) -> None:
        self.query_one(Prompt).focus()

    def check_action(self, action: str, parameters: tuple[object, ...]) -> bool | None:
        return action != "hidden"

    def entries(self) -> dict[str, HelpEntry]:
        return {entry.id: entry for entry in help_entries(self.screen.active_bindings, self.get_key_display)}

    def lines(self) -> list[str]:
        listed = self.screen.query_one(LineList)
        return [listed.render_line(y).text for y in range(listed.size.height)]


async def test_entries_come_from_the_focused_part_outwards() -> None:
    app = HelpApp()
    async with app.run_test(size=(80, 24)):
        entries = app.entries()
        assert entries["prompt.send"].group == "Prompt"
        assert entries["app.ring"] == HelpEntry("Everywhere", "f2  f8", "Ring", "Make [/bold] a sound", "app.ring")
        ids = list(entries)
        assert ids.index("prompt.send") < ids.index("app.ring")
        assert "app.hidden" not in entries, "what cannot be done now is not offered"
        assert "app.silent" not in entries


async def test_a_persons_keymap_is_what_help_shows() -> None:
    app = HelpApp()
    async with app.run_test(size=(80, 24)):
        app.set_keymap({"app.ring": "f6"})
        assert app.entries()["app.ring"].keys == "f6"


async def test_the_screen_lists_filters_and_scrolls() -> None:
    app = HelpApp()
    async with app.run_test(size=(120, 24)) as pilot:
        app.push_screen(HelpScreen(app.screen))
        await pilot.pause()
        assert "Prompt" in app.lines()[0]
        assert "prompt.send" in app.lines()[1]
        before = app.lines()
        await pilot.press("pagedown")
        assert app.lines() != before
        await pilot.press("r", "i", "n", "g")
        lines = [line.strip() for line in app.lines() if line.strip()]
        assert lines[0] == "Everywhere"
        assert lines[1].startswith("f2  f8")
        assert "Make [/bold] a sound" in lines[1]
        await pilot.press("z", "z")
        assert "No key matches." in app.lines()[0]
        await pilot.press("escape")
        await pilot.pause()
        assert not isinstance(app.screen, HelpScreen)


async def test_every_word_of_help_can_be_read_on_a_narrow_screen() -> None:
    """What did not fit beside the title was cut off, with no way to the rest."""
    words = "a very long description that says in many words what this does and what it does not do"

    class Wordy(HelpApp):
        BINDINGS: ClassVar[list[BindingType]] = [Binding("f5", "other", "Other", id="app.other", tooltip=words)]

        def action_other(self) -> None:
            """Nothing; help only lists it."""

    app = Wordy()
    async with app.run_test(size=(80, 40)) as pilot:
        app.push_screen(HelpScreen(app.screen))
        await pilot.pause()
        await pilot.press(*"many")
        await pilot.pause()
        shown = " ".join(" ".join(app.lines()).split())
        assert words in shown and "…" not in shown
        assert "Focus Previous" not in shown


async def test_alt_and_a_digit_type_nothing() -> None:
    """Textual reads ESC 2 as the "™" that one terminal of macOS means by it, and it stood in the filter."""
    app = HelpApp()
    async with app.run_test(size=(80, 24)) as pilot:
        app.push_screen(HelpScreen(app.screen))
        await pilot.pause()
        assert "\x1b2" not in ANSI_SEQUENCES_KEYS
        app.post_message(Key("alt+2", "2"))
        await pilot.press("r")
        assert app.screen.query_one(Input).value == "r"
