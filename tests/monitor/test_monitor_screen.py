"""The monitor by keys in the real app, over runs whose files the tests write."""

from __future__ import annotations

import json
import shutil
from functools import partial
from pathlib import Path

import pytest
from textual.screen import Screen
from textual.widgets import OptionList

from hugchat_tui.monitor.charts_pane import ChartsPane
from hugchat_tui.monitor.run_table import RunTable
from tests.chat.driving import Home
from tests.monitor.driving import Written, monitor

NARROW, WIDE = (80, 24), (160, 48)


async def test_f9_shows_the_runs_and_again_goes_back(home: Home) -> None:
    Written(home.data, "one").launched().steps(1, 30)
    async with monitor(home) as it:
        assert it.in_monitor and it.run_names() == ["one"]
        await it.followed()
        for words in (
            "● running",
            "step 30 of 100",
            "30 %",
            "epoch 0.60",
            "loss 3.4000",
            "300 of 500 tokens/s",
            "1 Charts",
        ):
            assert words in it.text(), words
        await it.press("f9")
        assert it.in_chat
        await it.press("f9", "escape")
        assert it.in_chat


@pytest.mark.parametrize("size", [NARROW, WIDE])
async def test_without_runs_the_keys_are_told(home: Home, size: tuple[int, int]) -> None:
    async with monitor(home, size=size) as it:
        assert "There are no training runs yet." in it.text() and "n starts one" in it.text()
        assert "n New" in it.last_line() and "Stop" not in it.last_line()
        await it.press("c", "s", "x", "enter", "d", "space", "2", "3", "4", "5")
        assert it.in_monitor


async def test_what_a_run_tells_is_on_the_screen_at_once(home: Home) -> None:
    written = Written(home.data, "live").launched().steps(1, 10)
    async with monitor(home) as it:
        await it.followed()
        written.steps(11, 20).evaluated(20, 3.125)
        await it.until(lambda: "step 20 of 100" in it.text() and "best evaluation 3.1250 at step 20" in it.text())


async def test_narrow_the_run_takes_the_place_of_the_list(home: Home) -> None:
    Written(home.data, "one").launched().steps(1, 30)
    Written(home.data, "two").launched().steps(1, 50).ended("stopped", 50, "It was told to.")
    async with monitor(home, size=NARROW) as it:
        assert "1 Charts" not in it.text() and "two" in it.text()
        await it.press("down")
        await it.until(lambda: "It was told to." in it.text(), "how it ended, below the list")
        await it.press("enter")
        await it.until(lambda: "1 Charts" in it.text())
        assert "■ stopped  two" in it.text() and isinstance(it.app.focused, ChartsPane)
        await it.press("escape")
        assert "1 Charts" not in it.text() and it.at.table.has_focus
        await it.press("4")
        await it.until(lambda: "printed nothing yet" in it.text())


async def test_each_number_shows_its_part(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 30)
    written.evaluated(10, 3.0, "I am a blue cat.").evaluated(20, 2.0, "I am a red dog.")
    written.events.write("alert", kind="plateau", words="The loss is flat. Try a higher rate.", step=20)
    written.run.log.write_text("loading\nepoch 1\rCUDA says \x1b[31mhello\x1b[0m\n")
    async with monitor(home) as it:
        await it.followed()
        await it.press("2")
        assert "step 20 against step 10" in it.text() and "I am a blue cat. red dog." in it.text()
        await it.press("tab", "left")
        assert "step 10, the first evaluation" in it.text() and "I am a blue cat." in it.text()
        await it.press("3")
        lines = it.text().splitlines()
        alerts, events = (
            next(i for i, line in enumerate(lines) if word in line) for word in ("Alerts (1)", " Events ")
        )
        assert "Try a higher rate." in lines[alerts + 1] and "evaluation at step 20" in it.text() and events
        await it.press("4")
        await it.until(lambda: "loading" in it.text())
        assert "CUDA says ␛[31mhello" in it.text() and "epoch 1" not in it.text(), "cleaned; a rewritten line once"
        await it.press("5")
        assert "learning_rate" in it.text() and "rows.jsonl" in it.text()
        await it.press("less_than_sign")
        assert it.at.pane_bar.active == "log"


async def test_a_log_is_followed_and_searched(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 3)
    written.run.log.write_text("".join(f"line {number}\n" for number in range(500)))
    async with monitor(home, size=NARROW) as it:
        await it.press("4")
        await it.until(lambda: "line 499" in it.text())
        with written.run.log.open("a") as log:
            log.write("the newest\n")
        await it.until(lambda: "the newest" in it.text())
        await it.press("slash", *"line 12")
        await it.until(lambda: "of 11 lines" in it.text(), "12 and 120 to 129")
        assert "line 129" in it.text()
        await it.press("enter")
        assert "10 of 11 lines" in it.text()
        await it.press("escape")
        assert "of 11 lines" not in it.text() and it.in_monitor
        await it.press("end")
        await it.until(lambda: "the newest" in it.text())


async def test_overlaid_runs_are_drawn_together_and_their_recipes_compared(home: Home) -> None:
    Written(home.data, "one", rate=1e-3).launched().steps(1, 30)
    Written(home.data, "two", rate=2e-4).launched().steps(1, 10)
    async with monitor(home) as it:
        names = it.run_names()
        await it.press("space")
        await it.until(lambda: [name for name, _ in it.at._shown] == names[::-1], "both to be drawn, this one first")
        assert "1 overlaid" in it.text()
        await it.press("5")
        assert "training.learning_rate" in it.text() and "0.001" in it.text() and "0.0002" in it.text()
        assert "method.rank" not in it.text(), "in that they are alike"
        await it.press("escape")
        assert it.in_monitor and "overlaid" not in it.text()
        await it.until(lambda: len(it.at._shown) == 1)


async def test_the_palette_means_the_run_before_other_things_of_that_name(home: Home) -> None:
    Written(home.data, "one").launched().steps(1, 3)
    async with monitor(home) as it:
        await it.press("ctrl+p", *"pause")
        found = it.app.screen.query_one(OptionList)
        await it.until(lambda: found.option_count > 1, "what is found")
        await it.until(lambda: "Pause run" in str(found.get_option_at_index(0).prompt))
        assert "Pause download" in it.text()


async def test_on_a_small_screen_the_footer_says_how_to_get_back_to_the_list(home: Home) -> None:
    Written(home.data, "one").launched().steps(1, 3)
    async with monitor(home, size=NARROW) as it:
        assert "esc Runs" not in it.text()
        await it.press("enter")
        await it.until(lambda: it.text().splitlines()[-1].startswith(" esc Runs"))
        await it.press("escape")
        await it.until(lambda: it.at.table.has_focus and "esc Runs" not in it.text())


async def test_a_letter_that_changes_no_row_draws_none_and_arranges_nothing(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("trial", "train"):
        Written(home.data, name).launched().ended("done")
    async with monitor(home) as it:
        await it.followed()
        await it.press("slash", "t")
        drawn: list[object] = []
        monkeypatch.setattr(Screen, "_refresh_layout", lambda *args, **options: drawn.append("layout"))
        monkeypatch.setattr(RunTable, "render_line", lambda table, y: drawn.append(y))
        await it.press("r")
        await it.until(lambda: "tr" in it.text() and it.at.table.count == 2)
        assert drawn == []


async def test_what_is_said_without_rows_changes_with_its_cause(home: Home, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(reader: object) -> None:
        raise OSError("the disk is gone")

    written = Written(home.data, "old").launched().ended("stopped")
    async with monitor(home) as it:
        row = it.runs.row("old")
        assert row is not None
        await it.runs.set_archived(row, True)
        await it.looked()
        await it.until(lambda: "1 archived run not shown" in it.text())
        shutil.rmtree(written.run.path)
        await it.looked()
        await it.until(lambda: "There are no training runs yet." in it.text())
        with monkeypatch.context() as broken_disk:
            broken_disk.setattr("hugchat_tui.monitor.rows.RunReader.read", broken)
            await it.looked()
            await it.until(lambda: "the disk is gone" in it.text())
        await it.looked()
        await it.until(lambda: "There are no training runs yet." in it.text())


async def test_filter_sort_tag_note_and_archive(home: Home) -> None:
    Written(home.data, "low").launched().evaluated(1, 1.0).ended("done")
    Written(home.data, "high").launched().evaluated(1, 2.0).ended("done")
    async with monitor(home) as it:
        while it.at.table.column.id != "best":
            await it.press("o")
        assert it.run_names() == ["low", "high"]
        await it.press("O")
        assert it.run_names() == ["high", "low"]
        await it.press("home", "t")
        await it.until(lambda: "A word beside its name" in it.question())
        await it.press(*"two words", "enter")
        await it.until(lambda: "one word" in it.problem())
        await it.type_into("worse")
        await it.press("enter")
        await it.until(lambda: "high worse" in it.text())
        await it.press("slash", *"tag:wor", "enter")
        assert it.run_names() == ["high"] and "1 of 2" in it.text()
        await it.press("escape")
        assert it.in_monitor and len(it.run_names()) == 2
        await it.press("a")
        await it.listed("low")
        assert "1 archived" in it.text()
        await it.press("A")
        await it.listed("high", "low")


async def test_deleting_tells_what_it_frees_and_asks(home: Home) -> None:
    written = Written(home.data, "old").launched().steps(1, 3)
    written.checkpoint(3, 2_000_000)
    Written(home.data, "child", base="runs/old").launched()
    async with monitor(home) as it:
        await it.to_run("old")
        await it.press("d")
        assert any("Stop it first" in notice for notice in it.notices()) and not it.question()
        written.ended("stopped", 3)
        await it.looked()
        await it.press("d")
        await it.until(lambda: "Delete this run, 2.0 MB old goes" in it.question(), "the question")
        assert "Trained from it: child" in it.question()
        await it.press("k")
        assert written.run.path.exists()
        await it.press("d")
        await it.until(it.question)
        await it.press("d")
        await it.listed("child")
        assert not written.run.path.exists()


async def test_a_run_of_a_newer_version_torn_lines_and_a_lost_directory_are_said(home: Home) -> None:
    newer = Written(home.data, "newer")
    newer.events.write("run", name="newer", version=99, total_steps="many", world_size=None)
    newer.events.write("step", step="three", loss=[])
    newer.events.write("telepathy", words="\x1b[31mred", step={"a": 1})
    torn = Written(home.data, "torn").launched().steps(1, 5)
    with torn.run.events.open("ab") as events:
        events.write(b'\xff\xfe not a line\n{"type": "eval"\n[1]\n')
    async with monitor(home) as it:
        await it.to_run("newer")
        await it.until(lambda: "newer hugchat (format 99)" in it.text())
        await it.press("3")
        assert "telepathy" in it.text() and "\x1b" not in it.text()
        await it.to_run("torn")
        await it.until(lambda: "3 lines of its events made no sense" in it.text())
        shutil.rmtree(torn.run.path)
        await it.looked()
        await it.listed("newer")
        assert any("deleted or unmounted" in notice for notice in it.notices())


async def test_what_was_written_before_is_right_at_the_next_start(home: Home) -> None:
    """Running, ended, crashed and resumable runs, whoever started them."""
    Written(home.data, "going").launched().steps(1, 5)
    Written(home.data, "done").launched().steps(1, 100).ended("done")
    crashed = Written(home.data, "crashed").launched().steps(1, 7)
    crashed.launched_no_more()
    Written(home.data, "never")
    async with monitor(home) as it:
        states = {row.name: row.status.state for row in it.runs.rows}
        assert states == {"going": "running", "done": "done", "crashed": "crashed", "never": "created"}
        for name, offers in (("going", "x Stop"), ("crashed", "r Resume"), ("done", "n New")):
            await it.to_run(name)
            assert offers in it.last_line(), name
        assert "r Resume" not in it.last_line() and "Stop" not in it.last_line()


async def test_keys_typed_ahead_mean_the_run_they_were_meant_for(home: Home) -> None:
    """A letter that was read late would have stopped or deleted another run."""
    for name in ("a", "b", "c"):
        Written(home.data, name).launched().steps(1, 5).ended("stopped", 5)
    async with monitor(home) as it:
        await it.press("home")
        second = it.run_names()[1]
        it.type_ahead("down", "d")
        await it.until(lambda: f"{second} goes with" in it.question(), "the question about the second run")
        await it.press("escape")


async def test_the_footer_has_six_keys_at_most_and_the_palette_all_actions(home: Home) -> None:
    Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home, size=NARROW) as it:
        for keys in ((), ("enter",), ("2",), ("3",), ("4",), ("5",)):
            await it.press(*keys)
            assert 3 <= len(it.at.key_bar.bindings()) <= 6
        await it.press("f1")
        await it.until(lambda: "Keys · " in it.text())
        await it.press("escape", "escape")
        await it.press("ctrl+o")
        await it.until(lambda: "1-9 pane" in it.text())
        await it.press("3")
        await it.until(lambda: it.at.pane_bar.active == "events")


async def test_actions_from_the_palette_show_the_monitor_first(home: Home) -> None:
    from hugchat_tui.actions import BY_ID

    Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home, opened=False) as it:
        for name, pane in (("monitor.log", "log"), ("charts.large", "charts"), ("run.sort", "charts")):
            await it.app.switch_mode("chat")
            await it.app.run_listed_action(BY_ID[name])
            assert it.in_monitor and it.at.pane_bar.active == pane


def _written_line(path: Path) -> dict[str, object]:
    loaded: dict[str, object] = json.loads(path.read_text().splitlines()[-1])
    return loaded


async def test_steering_keys_ask_the_run_and_show_its_answer(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home) as it:
        await it.followed()
        await it.press("s")
        await it.until(lambda: "… save: asked" in it.text())
        assert _written_line(written.run.control)["command"] == "save"
        written.answer("a checkpoint is written after this step")
        await it.until(lambda: "✓ save: a checkpoint is written after this step" in it.text())
        await it.press("p")
        await it.until(lambda: len(written.asked()) == 2)
        written.answer("paused")
        await it.until(lambda: "‖ paused" in it.text())
        await it.press("p")
        await it.until(lambda: len(written.asked()) == 3)
        assert [each["command"] for each in written.asked()] == ["save", "pause", "continue"]


async def test_learning_rate_and_cadence_are_checked_before_they_are_asked(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home) as it:
        await it.press("l")
        await it.until(it.question)
        await it.type_into("fast")
        await it.press("enter")
        assert "A number" in it.problem()
        await it.type_into("2")
        await it.press("enter")
        assert "at most 1" in it.problem()
        await it.type_into("5e-5")
        await it.press("enter")
        await it.until(lambda: len(written.asked()) == 1)
        await it.press("v")
        await it.until(lambda: "Cadence" in it.question())
        await it.type_into("10 x")
        await it.press("enter")
        assert "Two whole numbers" in it.problem()
        await it.type_into("10 20")
        await it.press("enter")
        await it.until(lambda: len(written.asked()) == 2)
        values = [each["values"] for each in written.asked()]
        assert values == [{"learning_rate": 5e-5}, {"eval_every": 10, "checkpoint_every": 20}]


async def test_stopping_asks_and_can_be_left(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home) as it:
        for key, values in (("g", None), ("k", {}), ("w", {"save": False})):
            await it.press("x")
            await it.until(lambda: "Stop this run?" in it.question())
            before = len(written.asked())
            await it.press(key)
            if values is not None:
                await it.until(partial(_has_asked, written, before + 1))
                assert written.asked()[-1]["values"] == values
            else:
                assert not it.question() and not written.asked()


def _has_asked(written: Written, count: int) -> bool:
    return len(written.asked()) == count


async def test_quitting_leaves_runs_going_and_does_not_ask(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home) as it:
        await it.press("ctrl+q")
        await it.until(lambda: it.app._exit, "the app to end")
        assert "one goes on training" in str(it.app._exit_renderables)
    assert written.asked() == []


async def test_the_chat_shows_how_far_a_run_is(home: Home) -> None:
    written = Written(home.data, "one").launched().steps(1, 5)
    async with monitor(home, opened=False) as it:
        await it.until(lambda: it.last_line().rstrip().endswith("● one 5 %"), "the word in the footer")
        written.ended("done", 5)
        await it.runs.refresh()
        await it.until(lambda: "one" not in it.last_line())


async def test_a_run_that_was_just_started_gets_the_cursor(home: Home) -> None:
    Written(home.data, "old").launched().steps(1, 5)
    async with monitor(home) as it:
        it.at.select("new")
        Written(home.data, "new").launched().steps(1, 5)
        await it.looked()
        await it.until(lambda: it.at.table.row is not None and it.at.table.row.name == "new")


async def test_n_opens_the_form_and_escape_leads_back(home: Home) -> None:
    async with monitor(home, size=NARROW) as it:
        await it.press("n")
        await it.until(lambda: "New training run" in it.text(), "the form")
        await it.press("escape")
        await it.until(lambda: it.in_monitor, "the monitor")
