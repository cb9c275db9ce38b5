"""Downloads a repository of the Hugging Face Hub into the standard cache.

The transfer runs in a child process: cancelling is killing, and nothing of it touches the event loop.
"""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

from filelock import FileLock, Timeout

from engine.checkpoints.children import ChildFailedError, OnProgress, run_module
from engine.checkpoints.hub_cache import HubReference, repository_dir
from engine.checkpoints.paths import hub_cache_dir
from engine.errors import EngineError


class DownloadError(EngineError):
    """A download failed. reason: gated, not-found, token, network, server, space, offline, checksum, unusable or
    unexpected."""

    code = "download"

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message, hint)
        self.reason = reason


async def fetch(reference: HubReference, on_progress: OnProgress, *, cache_dir: Path | None = None) -> Path:
    """Download what loading the repository needs: the snapshot's directory, or the GGUF file that was named.

    Files that are in the cache already are not fetched again; each new one is checked against its checksum; no code
    is fetched, and pickles (pytorch_model*.bin) only where there is no safetensors. The Hub's address and the token
    come from the standard places (HF_ENDPOINT, HF_TOKEN, the login file). on_progress: stages "looking up",
    "downloading" and "checking". Cancelling stops at once; whole files stay. Raises DownloadError.
    """
    cache = cache_dir or hub_cache_dir()
    answer: dict[str, str] = {}

    def on_line(line: str) -> None:
        message: dict[str, str | int] = json.loads(line)
        if "stage" in message:
            on_progress(str(message["stage"]), int(message["done"]), int(message["total"]))
        else:
            answer.update({key: str(value) for key, value in message.items()})

    arguments = (str(cache), reference.repo_id, reference.revision, reference.file)
    try:
        await run_module(("engine.checkpoints.hub_download", *arguments), on_line)
    except ChildFailedError as error:
        why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
        raise DownloadError(
            f"The download of {reference.repo_id} broke off: {why}", "Try again.", "unexpected"
        ) from error
    except OSError as error:
        raise DownloadError(
            f"The download of {reference.repo_id} could not be started: {error.strerror or error}.",
            "Make room (processes, open files or memory ran out) and try again.",
            "unexpected",
        ) from error
    finally:
        # Also after a kill: huggingface_hub never takes up a partial file again, it only fills the disk.
        await asyncio.to_thread(remove_partials, cache, reference.repo_id)
    if "error" in answer:
        raise DownloadError(answer["error"], answer["hint"], answer["reason"])
    return Path(answer["path"])


def remove_partials(cache: Path, repo_id: str) -> None:
    """Delete partial files of a repository that nobody is writing, as their locks tell."""
    repository = repository_dir(cache, repo_id)
    for partial in (repository / "blobs").glob("*.incomplete"):
        etag = partial.name.partition(".")[0]
        lock = FileLock(cache / ".locks" / repository.name / f"{etag}.lock")
        try:
            with lock.acquire(blocking=False):
                partial.unlink(missing_ok=True)
        except Timeout:
            continue  # another program is downloading this file
