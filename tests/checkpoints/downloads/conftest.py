"""A Hub on loopback for the tests of downloads."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from engine.checkpoints.downloads.status import Status
from tests.checkpoints.builders import make_model, safetensors_bytes
from tests.hub_server import HubServer


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """A Hub with org/model, and an environment in which the client finds it and no token."""
    for name in ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_HUB_OFFLINE", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    for name in ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        server.add("org/model", model_files(tmp_path))
        yield server


def model_files(tmp_path: Path, weights: int = 200_000) -> dict[str, bytes]:
    model = make_model(tmp_path / "published")
    files = {path.name: path.read_bytes() for path in model.iterdir()}
    files["model.safetensors"] = safetensors_bytes({"a": (weights,)})
    return files | {
        "README.md": b"# Card",
        "modeling_evil.py": b"raise SystemExit",
        "optimizer.pt": b"pickle",
        "pytorch_model.bin": b"pickle",
        "onnx/model.onnx": b"x" * 1000,
        "runs/events.out": b"x",
    }


class Watcher:
    """Every status of the downloads, and waiting for one."""

    def __init__(self) -> None:
        self.seen: list[Status] = []
        self._changed = asyncio.Event()

    def __call__(self, status: Status) -> None:
        self.seen.append(status)
        self._changed.set()

    @property
    def states(self) -> list[str]:
        """The states in the order they were in, repetitions left out."""
        states = [status.state for status in self.seen]
        return [state for state, before in zip(states, [None, *states], strict=False) if state != before]

    async def until(self, condition: Callable[[Status], object]) -> Status:
        """The first status from now on, the last one included, for which the condition holds."""
        async with asyncio.timeout(60):
            while not (self.seen and condition(self.seen[-1])):
                self._changed.clear()
                await self._changed.wait()
        return self.seen[-1]
