"""What is told of runs in whatever mode the person is, with the bell and the title for those who want them."""

from __future__ import annotations

import sys

import pytest

from hugchat_tui.app import HugChatApp
from hugchat_tui.monitor.news import news_of
from hugchat_tui.settings.schema import ModelSettings, MonitorSettings, Settings
from tests.chat.driving import SCRIPTS, Home
from tests.monitor.driving import Monitor, Written, monitor
from tests.pty import PtyApp


async def test_an_end_is_told_in_the_chat_in_the_library_and_over_dialogs(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home, opened=False) as it:
        assert it.in_chat
        written.events.write("alert", kind="plateau", words="It is flat.", step=5)
        await it.runs.refresh()
        await it.until(lambda: it.notices() == ["one: It is flat."])
        await it.press("f5")
        await it.until(lambda: it.in_library)
        written.ended("failed", 5, "The disk is full.", "Free some space.")
        await it.runs.refresh()
        await it.until(lambda: "one failed at step 5. The disk is full. Free some space." in it.notices())


async def test_after_a_notice_the_monitor_shows_the_run_that_it_was_about(home: Home) -> None:
    written = [Written(home.data, name).launched().steps(1, 5) for name in ("one", "two")]
    async with monitor(home) as it:
        await it.to_run("two")
        await it.press("f9")
        assert it.in_chat
        written[0].ended("done", 5)
        await it.runs.refresh()
        await it.until(lambda: it.notices() == ["one is done at step 5. f9, then c chats with it."])
        await it.press("f9")
        await it.until(lambda: it.at.table.row is not None and it.at.table.row.name == "one", "its row")
        await it.to_run("two")
        written[1].ended("done", 5)
        await it.runs.refresh()
        await it.until(lambda: "two is done at step 5." in it.notices(), "no way there: it is in view")


@pytest.mark.parametrize(("bell", "rung"), [("on", 1), ("off", 0)])
async def test_the_bell_is_rung_for_those_who_want_it(
    home: Home, monkeypatch: pytest.MonkeyPatch, bell: str, rung: int
) -> None:
    bells: list[int] = []
    monkeypatch.setattr(HugChatApp, "bell", lambda self: bells.append(1))
    written = Written(home.data, "one").launched().steps(1, 5)
    settings = Settings(
        model=ModelSettings(default=home.model("alpha")),
        monitor=MonitorSettings(bell=bell),  # type: ignore[arg-type]
    )
    async with monitor(home, settings=settings, opened=False) as it:
        written.ended("done")
        await it.runs.refresh()
        await it.until(lambda: len(it.notices()) == 1)
        assert len(bells) == rung


async def test_many_notices_do_not_hide_the_monitor_and_go_with_escape(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    app = HugChatApp(Settings(model=ModelSettings(default=home.model("alpha"))))
    async with app.run_test(size=(80, 24), notifications=True) as pilot:
        it = Monitor(home, app, pilot)
        await it.until(lambda: app._monitor_screen is not None, "the monitor's screen")
        await it.press("f9")
        await it.looked()
        for number in range(4):
            written.events.write("alert", kind="gradient", words=f"alert {number}", step=number)
        await it.looked()
        await it.until(lambda: "alert 3" in it.text(), "the newest")
        assert sum("one: alert" in line for line in it.text().splitlines()) == 2
        await it.press("escape")
        await it.until(lambda: "one: alert" not in it.text())
        assert it.in_monitor
        await app.close_services()


def test_words_of_an_end_are_cleaned_and_on_one_line() -> None:
    record = {
        "type": "end",
        "time": 1.0,
        "how": "failed",
        "step": 3,
        "words": "\x1b]0;x\x07 broke\nTraceback",
        "hint": "",
    }
    _, words, severity, _ = news_of("one", record)
    assert "\x1b" not in words and "\n" not in words and "Traceback" not in words and severity == "error"


@pytest.mark.parametrize("wanted", ["on", "off"])
def test_the_terminals_title_says_how_far_a_run_is_and_is_given_back(home: Home, wanted: str) -> None:
    Written(home.data, "trial").launched().steps(1, 43)
    env = {"HUGCHAT_MODEL_DEFAULT": home.model("alpha"), "HUGCHAT_MONITOR_TITLE": wanted}
    app = PtyApp([sys.executable, str(SCRIPTS / "scripted_app.py")], size=(100, 24), env=env, cwd=home.data)
    assert app.wait_text("● alpha", timeout=30), app.text()
    app.press("f9")
    assert app.wait_text("trial", timeout=30), app.text()
    assert app.wait_text("43 %", timeout=30), app.text()
    app.press("ctrl+q")
    assert app.wait_end(30) == 0
    assert "trial goes on training." in app.text()
    title = b"\x1b]2;HugChat \xc2\xb7 trial 43 %\x07"
    assert (title in app.raw) is (wanted == "on")
    assert (b"\x1b[23;2t" in app.raw) is (wanted == "on")
