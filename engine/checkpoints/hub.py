"""Downloads a repository of the Hugging Face Hub into the standard cache, and waits for it."""

from __future__ import annotations

from pathlib import Path

from engine.checkpoints.children import OnProgress
from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference


async def fetch(reference: HubReference, on_progress: OnProgress, *, data: Path, cache_dir: Path | None = None) -> Path:
    """Download what loading the repository needs: the snapshot's directory, or the GGUF file that was named.

    Files that are in the cache already are not fetched again; each new one is checked against its checksum; no code
    is fetched, and pickles (pytorch_model*.bin) only where there is no safetensors. The Hub's address and the token
    come from the standard places (HF_ENDPOINT, HF_TOKEN, the login file). on_progress: the download's states.
    Cancelling stops; what came is kept, and asking again goes on from there. Raises DownloadError and OSError.
    """

    def on_change(status: Status) -> None:
        on_progress(status.state, status.done, status.total)

    downloads = Downloads(data)
    try:
        job = await downloads.add(reference, cache_dir=cache_dir)
        path = await downloads.wait(job, on_change)
        await downloads.forget(job)
    finally:
        await downloads.close()
    return path
