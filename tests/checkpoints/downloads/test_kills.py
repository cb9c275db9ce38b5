"""A download whose process is killed over and over again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import Downloads
from engine.checkpoints.hub_cache import HubReference
from tests import hub_server
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, Request, sha256

MB = 1_000_000
KILLS = 20
# A good line: 16 KiB a connection at a time, so that what is under way, which no client can save, is little.
_PACKET = 16 << 10
_PACE_S = 0.001

_ACCEPT = """
import os, sys
from pathlib import Path
from huggingface_hub import HfApi, scan_cache_dir, snapshot_download
cache, commit = sys.argv[1:]
path = snapshot_download("org/model", cache_dir=cache, local_files_only=True)
assert Path(path).name == commit, path
assert not scan_cache_dir(cache).warnings
result = HfApi().verify_repo_checksums("org/model", revision=commit, cache_dir=cache)
assert not result.mismatches and result.checked_count == 4, result
"""


@pytest.mark.slow
async def test_twenty_kills_cost_less_than_two_percent_and_leave_no_orphan(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(hub_server, "_CHUNK", _PACKET)
    files = model_files(tmp_path, weights=100 * MB)
    weights = files["model.safetensors"]
    hub.add("org/model", files)
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    source = random.Random(7)
    marks = sorted((source.randrange(5 * MB, 195 * MB) for _ in range(KILLS)), reverse=True)
    counting = threading.Lock()
    pace = threading.Event()
    sent = killed = 0
    born: dict[int, int] = {}  # how many were killed when a request came

    def kill_at_the_mark(request: Request) -> None:
        nonlocal sent, killed
        if not request.path.startswith("/storage/"):
            return
        pace.wait(_PACE_S)
        with counting:
            if born.setdefault(id(request), killed) < killed:
                raise ConnectionAbortedError  # whoever asked is dead: what is sent now, nobody fetches
            sent += _PACKET
            if marks and sent >= marks[-1] and downloads.active and downloads.active[0].pid:
                marks.pop()
                killed += 1
                with contextlib.suppress(ProcessLookupError):
                    os.kill(downloads.active[0].pid, signal.SIGKILL)

    hub.before_chunk = kill_at_the_mark
    job = await downloads.add(HubReference("org/model"), cache_dir=tmp_path / "cache")
    while (await watcher.until(lambda status: status.state in {"paused", "failed", "done"})).state == "paused":
        await downloads.resume(job)
    path = await downloads.wait(job)
    await downloads.close()
    fetched = sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))
    assert killed == KILLS
    assert fetched <= 1.02 * len(weights), f"{fetched - len(weights):,} bytes were fetched again"
    content = await asyncio.to_thread((path / "model.safetensors").read_bytes)
    assert sha256(content) == sha256(weights)
    blobs = path.parent.parent / "blobs"
    assert [len(list(folder.iterdir())) for folder in (blobs, path)] == [4, 4]
    await asyncio.to_thread(
        subprocess.run, [sys.executable, "-c", _ACCEPT, str(tmp_path / "cache"), path.name], check=True
    )
