"""Downloading from a Hub on loopback with the real client underneath."""

from __future__ import annotations

import asyncio
import shutil
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

from engine.checkpoints import hub_download
from engine.checkpoints.hub import DownloadError, fetch
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.resolve import resolve
from tests.checkpoints.builders import make_gguf, make_model, safetensors_bytes
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")


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
        server.add("org/model", _files(tmp_path))
        yield server


def _files(tmp_path: Path, weights: int = 200_000) -> dict[str, bytes]:
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


def _requested(hub: HubServer, part: str) -> list[Request]:
    return [request for request in hub.requests if part in request.path]


async def _fetch(tmp_path: Path, reference: HubReference = MODEL) -> Path:
    return await fetch(reference, lambda *progress: None, cache_dir=tmp_path / "cache")


async def _failure(tmp_path: Path, reference: HubReference = MODEL) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await _fetch(tmp_path, reference)
    assert not list((tmp_path / "cache").rglob("*.incomplete"))
    assert caught.value.hint
    return caught.value


async def test_what_loading_needs_lands_in_the_standard_cache(hub: HubServer, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = await fetch(MODEL, lambda *progress: seen.append(progress), cache_dir=tmp_path / "cache")
    names = {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    assert {file.name for file in path.iterdir()} == names, "no code, no pickle, no other format"
    assert (path / "model.safetensors").read_bytes() == hub.repositories["org/model"].files["model.safetensors"]
    total = sum(len(hub.repositories["org/model"].files[name]) for name in names)
    assert seen[-1] == ("downloading", total, total)
    found = resolve("org/model", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert (found.path, found.problem, found.revision) == (path, None, hub.repositories["org/model"].commit)

    from huggingface_hub import scan_cache_dir, snapshot_download

    here = snapshot_download("org/model", cache_dir=tmp_path / "cache", local_files_only=True)
    assert Path(here) == path
    assert not scan_cache_dir(tmp_path / "cache").warnings


async def test_fetching_again_asks_for_no_file(hub: HubServer, tmp_path: Path) -> None:
    first = await _fetch(tmp_path)
    hub.requests.clear()
    assert await _fetch(tmp_path) == first
    assert not _requested(hub, "/resolve/")


async def test_a_named_gguf_file_is_fetched_alone(hub: HubServer, tmp_path: Path) -> None:
    data = make_gguf(tmp_path / "x.gguf").read_bytes()
    hub.add("org/quants", {"a.gguf": data, "b.gguf": data + b"b", "README.md": b"x"})
    path = await _fetch(tmp_path, HubReference("org/quants", "main", "a.gguf"))
    assert (path.name, path.read_bytes(), len(list(path.parent.iterdir()))) == ("a.gguf", data, 1)
    error = await _failure(tmp_path, HubReference("org/quants"))
    assert error.reason == "unusable"
    assert "a.gguf, b.gguf" in error.hint


async def test_the_token_opens_a_private_repository_and_never_travels_to_another_host(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/private", _files(tmp_path), access=frozenset({"hf_secret"}))
    assert (await _failure(tmp_path, HubReference("org/private"))).reason == "not-found"
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.requests.clear()
    await _fetch(tmp_path, HubReference("org/private"))
    stored = _requested(hub, "/storage/")
    assert stored
    assert {request.token for request in stored} == {None}
    assert [request for request in hub.requests if request not in stored and request.token != "hf_secret"] == []


async def test_a_gated_repository_says_where_to_ask(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hub.add("org/gated", _files(tmp_path), gated=True, access=frozenset({"hf_friend"}))
    without = await _failure(tmp_path, HubReference("org/gated"))
    assert (without.reason, f"{hub.url}/org/gated" in without.hint, "hf auth login" in without.hint) == (
        "gated",
        True,
        True,
    )
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    stranger = await _failure(tmp_path, HubReference("org/gated"))
    assert (stranger.reason, "no access yet" in stranger.hint) == ("gated", True)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        (HubReference("org/absent"), "has no org/absent"),
        (HubReference("org/model", "no-such-branch"), "no such revision"),
        (HubReference("org/model", "main", "none.gguf"), "no file none.gguf"),
    ],
)
async def test_what_the_hub_does_not_have_is_told(
    hub: HubServer, tmp_path: Path, reference: HubReference, words: str
) -> None:
    error = await _failure(tmp_path, reference)
    assert (error.reason, words in error.message) == ("not-found", True)


async def test_a_wrong_token_is_told_and_not_shown(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_wrong")
    error = await _failure(tmp_path)
    assert error.reason == "token"
    assert "hf_wrong" not in str(error)


async def test_a_hub_that_is_down_is_told(hub: HubServer, tmp_path: Path) -> None:
    hub.status = 503
    assert (await _failure(tmp_path)).reason == "server"


async def test_no_network_is_told(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{closed.getsockname()[1]}")
        assert (await _failure(tmp_path)).reason == "network"


async def test_offline_mode_is_told(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    error = await _failure(tmp_path)
    assert (error.reason, "HF_HUB_OFFLINE" in error.hint, hub.requests) == ("offline", True, [])


@pytest.mark.parametrize("name", ["model.safetensors", "config.json"])
async def test_a_file_that_arrives_damaged_is_thrown_away(hub: HubServer, tmp_path: Path, name: str) -> None:
    """The client itself compares sizes alone."""
    hub.corrupt = name
    error = await _failure(tmp_path)
    assert (error.reason, name in error.message) == ("checksum", True)
    assert not list((tmp_path / "cache").rglob(name))
    hub.corrupt = None
    await _fetch(tmp_path)


async def test_cancelling_stops_the_child_at_once_and_leaves_no_partial_file(hub: HubServer, tmp_path: Path) -> None:
    hub.add("org/model", _files(tmp_path, weights=20_000_000))
    halfway = asyncio.Event()
    loop = asyncio.get_running_loop()
    release = threading.Event()

    def block_halfway(request: Request) -> None:
        if request.sent >= 10_000_000:
            loop.call_soon_threadsafe(halfway.set)
            release.wait()

    hub.before_chunk = block_halfway
    cache = tmp_path / "cache"
    task = asyncio.create_task(fetch(MODEL, lambda *progress: None, cache_dir=cache))
    await halfway.wait()
    children = psutil.Process().children(recursive=True)
    assert list(cache.rglob("*.incomplete"))
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    release.set()
    assert psutil.wait_procs(children, timeout=0)[1] == []
    assert not list(cache.rglob("*.incomplete"))
    assert not list(cache.rglob("refs/main")), "a revision is named only when it is whole"

    hub.requests.clear()
    await _fetch(tmp_path)
    assert {Path(request.path).name for request in _requested(hub, "/resolve/")} == {"model.safetensors"}


def test_too_little_space_is_told_before_anything_is_fetched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10, 9, 1))
    with pytest.raises(hub_download.FetchFailedError, match="are free") as caught:
        hub_download.check_space(tmp_path, 10**9)
    assert caught.value.reason == "space"


@pytest.mark.parametrize(
    ("names", "weights"),
    [
        (["model.safetensors", "pytorch_model.bin"], ["model.safetensors"]),
        (
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
            ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors", "model.safetensors.index.json"],
        ),
        (["pytorch_model.bin", "training_args.bin", "optimizer.bin"], ["pytorch_model.bin"]),
        (["adapter_model.safetensors", "adapter_model.bin"], ["adapter_model.safetensors"]),
        (["consolidated.safetensors", "model.safetensors", "sub/model.safetensors"], ["model.safetensors"]),
    ],
)
def test_safetensors_are_preferred_and_no_other_pickle_is_ever_chosen(names: list[str], weights: list[str]) -> None:
    assert sorted(hub_download.choose_files(names, "")) == sorted(weights)
