"""`hugchat models pull`: a download watched from the shell."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.paths import data_dir
from engine.errors import EngineError
from hugchat_tui.chat_command import EXIT_FAILED, EXIT_INTERRUPTED
from hugchat_tui.models_text import download_line

if TYPE_CHECKING:
    from hugchat_tui.chat_command import Progress


async def pull(reference: HubReference, detach: bool, progress: Progress, answer: Callable[[object, str], None]) -> int:
    """Download it; the exit code. ^c pauses it, and the same command goes on; what others began goes on anyway."""
    downloads = Downloads(data_dir())
    shown = _Shown(progress)
    job = await downloads.add(reference)
    name = downloads.status(job).reference
    try:
        if detach:
            await downloads.close(keep_going=True)
            begun = downloads.status(job)
            if begun.state == "failed":
                progress.say(f"{begun.message} {begun.hint}".strip())
                return EXIT_FAILED
            answer({"reference": name, "id": job}, f"{name} is being downloaded; hugchat shows it under f5, 3.")
            return 0
        path = await downloads.wait(job, shown)
    except asyncio.CancelledError:
        if downloads.is_foreign(job):
            progress.say(f"{name} goes on: this command only watched it. hugchat shows it under f5, 3; p pauses it.")
            return EXIT_INTERRUPTED
        try:
            await downloads.pause(job)
        except DownloadError as error:
            progress.say(str(error))
            return EXIT_INTERRUPTED
        left = downloads.status(job)
        how = "" if left.state == "done" else " The same command goes on."
        progress.say(f"{name}: {download_line(left).rstrip('.')}.{how}")
        return EXIT_INTERRUPTED
    except DownloadError as error:
        progress.say(str(error))
        return EXIT_FAILED
    finally:
        await downloads.close()
    status = downloads.status(job)
    if status.message:
        progress.say(status.message)
    if any(file.path.endswith(".bin") for file in status.files):
        await _tell_of_pickles(reference, progress)
    answer({"reference": name, "path": str(path), "commit": status.commit, "bytes": status.total}, str(path))
    await downloads.forget(job)
    return 0


async def _tell_of_pickles(reference: HubReference, progress: Progress) -> None:
    """Its weights are pickles, loaded as data alone; a revision in safetensors loads faster, if there is one."""
    from engine.checkpoints.hub_queries.client import HubQueries

    hub = HubQueries()
    better = None
    try:
        better = (await hub.info(reference.repo_id, reference.revision)).safetensors_revision
    except EngineError:
        progress.say("Whether there is a revision in safetensors could not be looked up.")
    finally:
        await hub.close()
    instead = f"hugchat models pull {reference.repo_id}@{better}" if better else "hugchat models convert"
    progress.say(f"Its weights are pickles (.bin); they are loaded as data alone. For safetensors: {instead}")


class _Shown:
    """A line that rewrites itself on a terminal; elsewhere a line for each new state or message."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._told = ("", "")

    def __call__(self, status: Status) -> None:
        if sys.stderr.isatty():
            self._progress.show(download_line(status), 0, 0)
        elif (status.state, status.message.partition(" Trying")[0]) != self._told:
            self._told = status.state, status.message.partition(" Trying")[0]
            self._progress.say(f"{status.reference}: {download_line(status)}")
