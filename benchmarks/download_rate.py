"""Our transfer against huggingface_hub's snapshot_download, from a Hub on loopback, checksums included.

    python -m benchmarks.download_rate [--rounds N]

Each round fetches the same repository once with each, in turn, into an empty cache, as a process from its start to its
end: one of one large file, and one of four shards. Bar: at least 0.9 of the rate of snapshot_download, which compares
sizes alone.
"""

from __future__ import annotations

import argparse
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path
from statistics import median

from engine.checkpoints.downloads.job import Job, Request
from engine.checkpoints.hub_cache import HubReference

BAR = 0.9
MB = 1_000_000
REPOSITORIES = {"org/one": [400], "org/shards": [100, 100, 100, 100]}  # MB a file

_THEIRS = """
import sys
from huggingface_hub import snapshot_download
snapshot_download(sys.argv[1], cache_dir=sys.argv[2])
"""

_SERVE = """
import sys
from benchmarks.download_rate import publish
publish()
"""


def publish() -> None:
    """Serve the repositories until stdin ends; the address goes to stdout."""
    from tests.hub_server import HubServer

    source = random.Random(0)
    with HubServer() as hub:
        for repo_id, sizes in REPOSITORIES.items():
            names = [f"model-{index + 1:05}-of-{len(sizes):05}.safetensors" for index in range(len(sizes))]
            files = {
                name: b"".join(source.randbytes(MB) for _ in range(size))
                for name, size in zip(names, sizes, strict=True)
            }
            hub.add(repo_id, files | {"config.json": b"{}", "tokenizer.json": b"{}"})
        print(hub.url, flush=True)
        sys.stdin.read()


def ours(repo_id: str, cache: Path, data: Path, environment: Mapping[str, str]) -> None:
    job = Job.of(data, HubReference(repo_id), cache)
    job.create(Request(repo_id, "main", "", str(cache)))
    command = [sys.executable, "-m", "engine.checkpoints.downloads.run", str(job.directory)]
    with subprocess.Popen(command, env=environment, stdin=subprocess.PIPE) as process:
        process.wait()  # with its stdin open: the end of that is the end of who asked
    status = job.status()
    if status is None or status.state != "done":
        sys.exit(f"the download ended as {status}")


def theirs(repo_id: str, cache: Path, data: Path, environment: Mapping[str, str]) -> None:
    command = [sys.executable, "-c", _THEIRS, repo_id, str(cache)]
    subprocess.run(command, env=environment, check=True, stderr=subprocess.DEVNULL)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    worst = float("inf")
    with (
        tempfile.TemporaryDirectory() as folder,
        subprocess.Popen(
            [sys.executable, "-c", _SERVE], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        ) as server,
    ):
        assert server.stdin is not None
        assert server.stdout is not None
        environment = {**os.environ, "HF_ENDPOINT": server.stdout.readline().strip(), "HF_HOME": f"{folder}/home"}
        environment |= {"HF_HUB_DISABLE_TELEMETRY": "1", "HF_HUB_DISABLE_PROGRESS_BARS": "1"}
        for repo_id, sizes in REPOSITORIES.items():
            took: dict[str, list[float]] = {"ours": [], "theirs": []}
            for number in range(rounds):
                for run in (ours, theirs) if number % 2 else (theirs, ours):
                    place = Path(folder, run.__name__)
                    begin = time.perf_counter()
                    run(repo_id, place / "cache", place / "data", environment)
                    took[run.__name__].append(time.perf_counter() - begin)
                    shutil.rmtree(place)
            rate = {name: sum(sizes) / median(seconds) for name, seconds in took.items()}
            ratio = rate["ours"] / rate["theirs"]
            worst = min(worst, ratio)
            both = f"ours {rate['ours']:.0f} MB/s, snapshot_download {rate['theirs']:.0f} MB/s"
            print(f"{repo_id}: {both}, ratio {ratio:.2f}")
        server.stdin.close()
    print(f"worst ratio {worst:.2f} (bar {BAR})")
    return 0 if worst >= BAR else 1


if __name__ == "__main__":
    sys.exit(main())
