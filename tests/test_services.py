"""What the screens stand on."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import DownloadError
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.model import Checkpoint
from hugchat_tui.services import Progress, Services
from hugchat_tui.settings.schema import Settings
from tests.hub_server import HubServer, Request

FOUND = Checkpoint(name="x", path=Path("/x"), kind="model", source="folder")


def ignore(*_: object) -> None:
    pass


async def test_a_search_that_begins_just_as_another_ends_is_shared_by_those_who_come_later(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    services = Services(Settings(), ignore)
    begun: asyncio.Queue[asyncio.Future[None]] = asyncio.Queue()
    searches = 0
    asking: list[asyncio.Task[Checkpoint]] = []

    def ask() -> None:
        asking.append(asyncio.create_task(services.ensure_checkpoint("x", ignore)))

    async def find(reference: str, on_progress: Progress) -> Checkpoint:
        nonlocal searches
        searches += 1
        go_on: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        begun.put_nowait(go_on)
        await go_on
        if searches == 1:
            asyncio.get_running_loop().call_soon(ask)  # runs before the first one hears of its end
        return FOUND

    monkeypatch.setattr(services, "_find_or_fetch", find)
    ask()
    (await begun.get()).set_result(None)
    assert await asking[0] is FOUND
    second = await begun.get()
    ask()
    await asyncio.sleep(0)
    second.set_result(None)
    assert await asyncio.wait_for(asyncio.gather(*asking), 5) == [FOUND] * 3
    assert searches == 2


async def test_a_download_that_cannot_be_paused_does_not_replace_the_cancellation(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who cancelled got a DownloadError instead, which nobody had asked for."""
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path / "data"))
    opened = threading.Event()

    def wait(request: Request) -> None:
        if request.path.startswith("/storage/"):
            opened.wait()

    hub.before_chunk = wait
    services = Services(Settings(), ignore)
    begun = asyncio.Event()

    def on_progress(stage: str, done: int, total: int) -> None:
        if stage == "downloading":
            begun.set()

    asking = asyncio.create_task(services._download(HubReference("org/model"), on_progress))
    await asyncio.wait_for(begun.wait(), 60)
    downloads = await services.downloads()
    pause = downloads.pause

    async def refuse(id: str) -> None:
        raise DownloadError("It does not end.", "", "stuck")

    monkeypatch.setattr(downloads, "pause", refuse)
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    opened.set()
    await pause(downloads.statuses()[0].id)
    await downloads.close()
