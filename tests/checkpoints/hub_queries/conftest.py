"""A Hub on loopback, and questions to it through a real child process."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
import pytest_asyncio

from engine.checkpoints.hub_queries.client import HubQueries
from tests.hub_server import HubServer

_VARIABLES = (
    *("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "HF_TOKEN_PATH", "HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_HUB_CACHE"),
    *("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"),
)


@pytest.fixture
def hub(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[HubServer]:
    """An empty Hub, and an environment in which the client finds it and no token."""
    for name in _VARIABLES:
        monkeypatch.delenv(name, raising=False)
    with HubServer() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        monkeypatch.setenv("HF_HOME", str(tmp_path / "home"))
        yield server


@pytest_asyncio.fixture
async def queries(hub: HubServer) -> AsyncIterator[HubQueries]:
    """The process starts with the first question: a test may change the environment before it."""
    asked = HubQueries()
    yield asked
    await asked.close()
