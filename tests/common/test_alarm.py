"""The timer that rings also on a busy machine."""

from __future__ import annotations

import asyncio
import time

from textual.app import App

from hugchat_tui.common.alarm import Alarm


async def test_an_alarm_rings_though_its_time_passed_before_the_loop_came_to_it() -> None:
    """With `set_timer` a stall between two reads of the clock skipped the callback: streamed text was never shown."""
    app: App[None] = App()
    rang = asyncio.Event()
    async with app.run_test():
        alarm = Alarm(app, rang.set)
        alarm.set(0.001)
        time.sleep(0.05)  # noqa: ASYNC251 - the stall itself
        await asyncio.wait_for(rang.wait(), 5)
        assert not alarm.is_set


async def test_an_alarm_that_is_set_again_rings_once() -> None:
    app: App[None] = App()
    rings: list[int] = []
    async with app.run_test() as pilot:
        alarm = Alarm(app, lambda: rings.append(1))
        alarm.set(0.001)
        alarm.set(0.001)
        later = asyncio.Event()
        Alarm(app, later.set).set(0.05)
        await later.wait()
        await pilot.pause()
        assert rings == [1]


async def test_a_cancelled_alarm_does_not_ring() -> None:
    app: App[None] = App()
    rings: list[int] = []
    async with app.run_test() as pilot:
        alarm = Alarm(app, lambda: rings.append(1))
        alarm.set(0.001)
        alarm.cancel()
        later = asyncio.Event()
        Alarm(app, later.set).set(0.05)
        await later.wait()
        await pilot.pause()
        assert rings == []
