"""Choosing the checkpoint that answers: the picker, loading, changing one's mind, mistakes, memory."""

from __future__ import annotations

import os
import signal

import psutil
import pytest

from engine import memory
from hugchat_tui.chat.model_picker import ModelPicker
from hugchat_tui.settings.schema import EngineSettings, ModelSettings, Settings
from tests.chat.driving import Chat, Home, chat, usual


def with_folder(home: Home) -> Settings:
    return Settings(model=ModelSettings(default=home.model("alpha"), folders=(str(home.models),)))


async def open_picker(it: Chat) -> None:
    await it.press("ctrl+t")
    await it.until(lambda: isinstance(it.app.screen, ModelPicker) and "beta" in it.text(), "the list")


async def test_the_picker_lists_what_is_here_and_the_conversation_goes_on_with_what_was_picked(home: Home) -> None:
    async with chat(home, settings=with_folder(home)) as it:
        await it.ask("who are you")
        await open_picker(it)
        assert "● alpha" in it.text() and "4,096" in it.text() and "llama" in it.text()
        await it.press("escape")
        assert it.session.model.reference == home.model("alpha")
        await open_picker(it)
        await it.press(*"bet", "enter")
        await it.until(lambda: it.session.model.reference == home.model("beta"))
        await it.settled()
        await it.until(lambda: "● beta" in it.text().splitlines()[-2], "beta in the status line")
        assert await it.ask("who are you") == "I am beta."
        assert [message.content for message in it.session.branch][1::2] == ["I am alpha.", "I am beta."]
        assert "▌ alpha" in it.transcript() and "▌ beta" in it.transcript()
        assert (await it.app.services.store.get_conversation(1)).model == home.model("beta")
        reply = it.session.branch[-1].reply
        assert reply is not None and reply.model_path == home.model("beta")


async def test_loading_can_be_cancelled_and_the_checkpoint_before_answers_again(home: Home) -> None:
    async with chat(home) as it:
        slow = home.model("slow")
        await it.send(f"/model {slow}")
        await it.until(lambda: "slow · reading weights 25 %" in it.text().splitlines()[-2], "the progress")
        assert it.footer()[0] == "Stop"
        (loading,) = [child for child in psutil.Process().children() if child.pid != it_worker(it, "alpha")][:1]
        await it.press("escape")
        await it.until(lambda: "● alpha" in it.text().splitlines()[-2], "alpha again")
        assert "Loading slow was stopped; alpha answers again." in it.notices()
        assert it.footer()[0] == "Send"
        await it.until(lambda: loading.pid not in psutil.pids() or loading.status() == psutil.STATUS_ZOMBIE)
        assert await it.ask("who are you") == "I am alpha."
        assert (await it.app.services.store.get_conversation(1)).model == home.model("alpha")


def it_worker(it: Chat, name: str) -> int:
    """The process that holds a checkpoint."""
    slots = it.app.services.pool._slots.values()
    return next(slot.worker.pid for slot in slots if slot.worker is not None and slot.checkpoint.name == name)


@pytest.mark.parametrize(
    ("typed", "why"),
    [
        ("/model ./nothing-here", "There is no folder or file './nothing-here'"),
        ("<model_name_or_path=runs/none>", "No training run with a whole checkpoint is called 'runs/none'"),
        ("/model [/bold]\x1b[31m", "No checkpoint is called '[/bold]"),
    ],
)
async def test_a_wrong_reference_is_said_and_the_conversation_stays_usable(home: Home, typed: str, why: str) -> None:
    async with chat(home) as it:
        await it.ask("say one")
        await it.send(typed)
        await it.until(lambda: any(why in notice and "alpha answers again." in notice for notice in it.notices()))
        assert "● alpha" in it.text().splitlines()[-2]
        assert await it.ask("who are you") == "I am alpha."


async def test_a_checkpoint_that_dies_while_loading_gives_way_to_the_one_before(home: Home) -> None:
    async with chat(home) as it:
        await it.send(f"/model {home.model('dies')}")
        await it.until(lambda: any("was killed" in notice for notice in it.notices()), "the reason")
        assert any("alpha answers again" in notice for notice in it.notices())
        assert await it.ask("who are you") == "I am alpha."


async def test_choosing_while_an_answer_is_written_lets_it_finish_first(home: Home) -> None:
    async with chat(home) as it:
        await it.begin("gate", "word")
        await it.send(f"/model {home.model('beta')}")
        assert "beta is loaded when this answer is complete." in it.notices()
        assert it.session.busy
        home.open("gate")
        await it.settled()
        assert it.session.branch[-1].content == "word and the end."
        await it.until(lambda: "● beta" in it.text().splitlines()[-2], "beta")
        assert await it.ask("who are you") == "I am beta."


async def test_a_question_during_a_change_waits_for_it_and_another_choice_replaces_it(home: Home) -> None:
    async with chat(home) as it:
        await it.send(f"/model {home.model('slow')}")
        await it.until(lambda: "reading weights" in it.text().splitlines()[-2])
        await it.send(f"/model {home.model('beta')}")
        await it.settled()
        assert await it.ask("who are you") == "I am beta."
        await it.send(f"/model {home.model('slow')}")
        await it.until(lambda: "reading weights" in it.text().splitlines()[-2])
        await it.send("who are you")
        await it.until(lambda: len(it.session.branch) == 4)
        home.open("load")
        await it.settled()
        assert it.session.branch[-1].content == "I am slow."


async def test_unloading_gives_the_memory_back_and_the_next_question_loads_again(home: Home) -> None:
    async with chat(home) as it:
        pid = it_worker(it, "alpha")
        await it.send("/unload")
        await it.until(lambda: "○ alpha" in it.text().splitlines()[-2], "the status to say so")
        assert not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE
        assert await it.ask("who are you") == "I am alpha."
        await it.begin("never", "word")
        await it.press("ctrl+n")
        await it.until(lambda: len(it.screen.panes.tabs) == 2)
        await it.send("/unload")
        await it.until(lambda: "alpha is answering. Stop that first." in it.notices())


async def test_what_the_engine_decides_is_said_and_seen(home: Home) -> None:
    """An evicted checkpoint, and one whose process ended, are not shown as loaded."""
    budget = Settings(
        model=ModelSettings(default=home.model("alpha")),
        engine=EngineSettings(memory_budget="520MiB", worker_niceness=3),
    )
    async with chat(home, settings=budget) as it:
        assert psutil.Process(it_worker(it, "alpha")).nice() == psutil.Process().nice() + 3
        await it.ask("say one")
        alpha = it.view
        await it.press("ctrl+n")
        await it.until(lambda: it.view is not alpha)
        await it.send(f"/model {home.model('beta')}")
        await it.until(lambda: any(notice.startswith("Unloaded alpha") for notice in it.notices()), "the notice")
        await it.settled()
        await it.press("f7")
        await it.until(lambda: "○ alpha · not loaded" in it.text(), "it to be shown")
        assert await it.ask("who are you") == "I am alpha."

        os.kill(it_worker(it, "alpha"), signal.SIGKILL)
        await it.until(lambda: any("alpha is not loaded any more" in notice for notice in it.notices()))
        await it.until(lambda: "○ alpha · not loaded" in it.text(), "it to be shown")
        assert await it.ask("who are you") == "I am alpha."


async def test_a_checkpoint_that_will_not_fit_is_marked_in_the_picker(
    home: Home, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with chat(home, settings=with_folder(home)) as it:
        monkeypatch.setattr(memory, "vram", list)
        monkeypatch.setattr(memory, "ram", lambda: memory.Memory(total=600 << 20, available=100 << 20))
        await open_picker(it)
        await it.until(lambda: "does not fit, an estimate: about 512 MiB of 100 MiB" in it.text(), "the estimate")


async def test_nothing_wakes_an_idle_app(home: Home) -> None:
    async with chat(home, settings=usual(home)) as it:
        await it.ask("say one")
        await it.until(lambda: not it.view.transcript.busy)
        widgets = [it.app, *it.app.screen_stack, *it.app.screen.walk_children()]
        await it.until(
            lambda: not [timer for widget in widgets for timer in widget._timers if timer._active.is_set()], "no timer"
        )
