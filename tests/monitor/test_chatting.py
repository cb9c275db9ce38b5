"""From a run into the chat: its newest checkpoint, also while newer ones replace it, and beside its base."""

from __future__ import annotations

import shutil
from pathlib import Path

from sft.manifest import write_manifest
from tests.chat.driving import Home
from tests.checkpoints.builders import make_model
from tests.monitor.driving import Written, monitor


def loadable(written: Written, step: int) -> Path:
    """A checkpoint that a worker takes."""
    folder = make_model(written.run.checkpoints / f"step-{step}")
    write_manifest(folder)
    return folder


async def test_c_chats_with_the_newest_whole_step_and_goes_on_when_the_run_deletes_it(home: Home) -> None:
    """A run keeps its newest checkpoints only: the one that answered could not be found at the second question."""
    written = Written(home.data, "trial").launched().steps(1, 20)
    step = loadable(written, 20)
    (loadable(written, 30) / "config.json").unlink()
    async with monitor(home) as it:
        await it.press("c")
        await it.until(lambda: it.in_chat and it.session.model.reference == "runs/trial/step-20")
        await it.settled()
        await it.ask("one")
        shutil.rmtree(step)
        await it.ask("two")
        ended = [message.reply.ended for message in it.session.branch if message.reply is not None]
        assert ended == ["done", "done"]


async def test_a_run_without_a_checkpoint_says_so(home: Home) -> None:
    Written(home.data, "trial").launched().steps(1, 3)
    async with monitor(home) as it:
        await it.press("c")
        await it.until(lambda: any("no whole checkpoint yet" in notice for notice in it.notices()))
        assert it.in_monitor


async def test_beside_its_base_both_draw_with_the_same_seed(home: Home) -> None:
    written = Written(home.data, "trial", base=home.model("beta")).launched().steps(1, 20)
    loadable(written, 20)
    async with monitor(home) as it:
        await it.press("C")
        await it.until(lambda: it.in_chat and it.screen.panes.is_split, "two panes")
        await it.settled()
        references = [view.session.model.reference for view in it.screen.panes.shown]
        assert references == [home.model("beta"), "runs/trial/step-20"]
        seeds = set()
        for question in ("one", "two"):
            await it.send(question)
            await it.settled()
            asked = {
                (view.session.branch[-1].reply.sampling or {}).get("seed")  # type: ignore[union-attr]
                for view in it.screen.panes.shown
            }
            assert len(asked) == 1 and None not in asked
            seeds |= asked
        assert len(seeds) == 2, "each question draws anew"
