"""Notices in the library: how many, where, and how they go away; by keys in the real app, notices shown."""

from __future__ import annotations

from textual.widgets._toast import Toast

from hugchat_tui.app import HugChatApp
from hugchat_tui.settings.schema import ModelSettings, Settings
from tests.chat.driving import Home
from tests.library.driving import Library, library


async def test_notices_are_few_low_and_gone_with_escape(home: Home) -> None:
    """Up to four filled the right half of a small screen for seconds, and escape left the library instead."""
    app = HugChatApp(Settings(model=ModelSettings(default=home.model("alpha"), folders=(str(home.models),))))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        it = Library(home, app, pilot)
        await it.until(lambda: app.library is not None and app.library.ready, "the library")
        await it.press("f5")
        await it.scanned()
        for number in range(4):
            app.notify(f"notice {number}", severity="error" if number == 0 else "information")
        await it.until(lambda: "notice 3" in it.text(), "the newest")
        shown = [line for line in it.text().splitlines() if "notice" in line]
        assert len(shown) == 2 and "notice 0" in shown[0], "a mistake stays longest"
        lines = it.text().splitlines()
        assert ["notice" in line for line in lines[-3:]] == [True, True, False], "above the footer, a line each"
        await it.press("escape")
        await it.until(lambda: "notice" not in it.text(), "them to go")
        assert it.in_library
        await it.press("escape")
        assert it.in_chat
        await app.close_services()


async def test_no_notice_lies_over_a_dialog_and_none_is_lost(home: Home) -> None:
    app = HugChatApp(Settings(model=ModelSettings(default=home.model("alpha"), folders=(str(home.models),))))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        it = Library(home, app, pilot)
        await it.until(lambda: app.library is not None and app.library.ready, "the library")
        await it.press("f5")
        await it.scanned()
        app.notify("said before")
        await it.until(lambda: "said before" in it.text(), "it")
        await it.press("n")
        await it.until(lambda: "Note on" in it.text(), "the dialog")
        app.notify("said meanwhile")
        await it.press("x")
        assert not any(toast.display for toast in app.screen.query(Toast)) and "said meanwhile" not in it.text()
        await it.press("escape", "escape")
        await it.until(lambda: "said meanwhile" in it.text(), "it, once there is room")
        await app.close_services()


async def test_both_that_are_compared_are_marked(home: Home) -> None:
    async with library(home, loaded=True) as it:
        await it.to("beta")
        await it.press("c")
        await it.until(lambda: it.in_chat and it.screen.panes.is_split, "two panes")
        await it.settled()
        await it.press("f5")
        await it.until(lambda: it.in_library)
        assert sum("●" in line for line in it.text().splitlines()) == 2


async def test_the_footer_offers_what_the_row_allows_and_more_where_there_is_room(home: Home) -> None:
    for size, more in (((80, 24), False), ((160, 48), True)):
        async with library(home, size=size) as it:
            last = it.text().splitlines()[-1]
            assert "⏎ Chat" in last and "f1 Help" in last
            assert ("space Mark" in last and "v Verify" in last and "tab Details" in last) is more
            await it.press("2")
            assert "/ Search" in it.text().splitlines()[-1]
            await it.press("1", "question_mark")
            await it.until(lambda: "Keys · " in it.text(), "help")
            await it.press("escape")
