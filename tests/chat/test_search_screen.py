"""Searching all history."""

from __future__ import annotations

import asyncio
import time

from textual import events
from textual.app import App

from hugchat_tui.chat.search_screen import HitList, SearchScreen
from hugchat_tui.common.tones import MATCH
from hugchat_tui.conversations.errors import StoreError
from hugchat_tui.conversations.model import SearchHit


def hit(number: int, snippet: str = "the KV cache", spans: tuple[tuple[int, int], ...] = ((4, 12),)) -> SearchHit:
    return SearchHit(number, f"title {number}", number, "user", time.time(), snippet, spans)


class Store:
    """Answers when the test says so. asked: (query, offset) in the order they came."""

    def __init__(self) -> None:
        self.asked: asyncio.Queue[tuple[str, int, asyncio.Future[list[SearchHit]]]] = asyncio.Queue()

    async def search(self, query: str, *, offset: int = 0) -> list[SearchHit]:
        answer: asyncio.Future[list[SearchHit]] = asyncio.get_running_loop().create_future()
        self.asked.put_nowait((query, offset, answer))
        return await asyncio.shield(answer)

    async def next(self) -> tuple[str, int, asyncio.Future[list[SearchHit]]]:
        return await asyncio.wait_for(self.asked.get(), 10)


class SearchApp(App[None]):
    def __init__(self) -> None:
        super().__init__()
        self.store = Store()
        self.search_screen = SearchScreen(self.store.search)
        self.results: list[SearchHit | None] = []

    def on_mount(self) -> None:
        self.push_screen(self.search_screen, self.results.append)

    @property
    def hit_list(self) -> HitList:
        return self.search_screen.query_one(HitList)

    def line(self, y: int) -> str:
        return self.hit_list.render_line(y).text


async def test_hits_are_shown_and_enter_opens_one() -> None:
    app = SearchApp()
    async with app.run_test(size=(80, 24)) as pilot:
        assert "Type to search" in app.line(0)
        app.post_message(events.Paste("kv"))
        query, offset, answer = await app.store.next()
        assert (query, offset) == ("kv", 0)
        answer.set_result([hit(1), hit(2, "x [/bold]\x1b \r\n kv y", ((14, 16),))])
        await pilot.pause()
        assert "title 1" in app.line(0)
        assert "the KV cache" in app.line(1)
        assert "x [/bold]\u241b" in app.line(3)
        drawn = app.hit_list.draw_row(1, 1, 70)
        marked = [drawn.plain[span.start : span.end] for span in drawn.spans if span.style == MATCH]
        assert marked == ["kv"], "the mark is on the match, whatever cleaning did to the text before it"
        await pilot.press("down", "enter")
        await pilot.pause()
        assert [found and found.message_id for found in app.results] == [2]


async def test_an_answer_that_comes_late_is_dropped() -> None:
    app = SearchApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        _, _, first = await app.store.next()
        app.post_message(events.Paste("b"))
        await pilot.pause()
        first.set_result([hit(1)])
        await pilot.pause()
        assert "title 1" not in app.line(0)
        query, _, second = await app.store.next()
        assert query == "ab"
        second.set_result([hit(2)])
        await pilot.pause()
        assert "title 2" in app.line(0)


async def test_the_next_page_is_asked_for_near_the_end_until_there_is_none() -> None:
    app = SearchApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("a")
        (await app.store.next())[2].set_result([hit(n) for n in range(30)])
        await pilot.pause()
        assert app.store.asked.empty()
        for _ in range(3):
            await pilot.press("pagedown")
        _, offset, answer = await app.store.next()
        assert offset == 30
        answer.set_result([hit(n) for n in range(30, 35)])
        await pilot.pause()
        await pilot.press("pagedown")
        (await app.store.next())[2].set_result([])
        await pilot.pause()
        assert len(app.hit_list.hits) == 35
        await pilot.press("pagedown", "pagedown", "pagedown", "pagedown")
        assert app.store.asked.empty(), "after the end nothing is asked"


async def test_nothing_found_and_failures_say_so() -> None:
    app = SearchApp()
    async with app.run_test(size=(80, 24)) as pilot:
        await pilot.press("z")
        (await app.store.next())[2].set_result([])
        await pilot.pause()
        assert "Nothing matches “z”." in app.line(0)
        await pilot.press("y")
        (await app.store.next())[2].set_exception(StoreError("The database is busy.", "Close the other program."))
        await pilot.pause()
        assert "The database is busy." in app.line(0)
        await pilot.press("escape")
        await pilot.pause()
        assert app.results == [None]
