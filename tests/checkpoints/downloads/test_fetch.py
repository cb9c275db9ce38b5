"""Downloading from a Hub on loopback with the real client underneath."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.checkpoints.children import OnProgress
from engine.checkpoints.downloads.choosing import choose_files
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.resolve import resolve
from tests.checkpoints.builders import make_gguf, model_files
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")


def _requested(hub: HubServer, part: str) -> list[Request]:
    return [request for request in hub.requests if part in request.path]


async def fetch(reference: HubReference, on_progress: OnProgress, *, data: Path, cache_dir: Path | None = None) -> Path:
    """What a download of the reference results in; cancelling pauses it."""

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


async def _fetch(tmp_path: Path, reference: HubReference = MODEL) -> Path:
    return await fetch(reference, lambda *progress: None, data=tmp_path / "data", cache_dir=tmp_path / "cache")


async def _failure(tmp_path: Path, reference: HubReference = MODEL) -> DownloadError:
    with pytest.raises(DownloadError) as caught:
        await _fetch(tmp_path, reference)
    assert caught.value.hint
    return caught.value


async def test_what_loading_needs_lands_in_the_standard_cache(hub: HubServer, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    path = await fetch(
        MODEL, lambda *progress: seen.append(progress), data=tmp_path / "data", cache_dir=tmp_path / "cache"
    )
    names = {"config.json", "tokenizer.json", "README.md", "model.safetensors"}
    assert {file.name for file in path.iterdir()} == names, "no code, no pickle, no other format"
    assert (path / "model.safetensors").read_bytes() == hub.repositories["org/model"].files["model.safetensors"]
    total = sum(len(hub.repositories["org/model"].files[name]) for name in names)
    assert seen[-1] == ("done", total, total)
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


async def test_a_file_that_was_cut_off_is_fetched_anew(hub: HubServer, tmp_path: Path) -> None:
    """Describing it says: fetch it again. That must help."""
    path = await _fetch(tmp_path)
    weights = hub.repositories["org/model"].files["model.safetensors"]
    (path / "model.safetensors").resolve().write_bytes(weights[:-9])
    await _fetch(tmp_path)
    assert (path / "model.safetensors").read_bytes() == weights


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
    hub.add("org/private", model_files(tmp_path), access=frozenset({"hf_secret"}))
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
    hub.add("org/gated", model_files(tmp_path), gated=True, access=frozenset({"hf_friend"}))
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
@pytest.mark.parametrize("always", [True, False])
async def test_a_file_that_arrives_damaged_is_fetched_once_more_and_then_thrown_away(
    hub: HubServer, tmp_path: Path, name: str, always: bool
) -> None:
    """The client itself compares sizes alone."""
    hub.corrupt = name
    if always:
        error = await _failure(tmp_path)
        assert (error.reason, name in error.message) == ("checksum", True)
        assert not list((tmp_path / "cache").rglob(name))
        hub.corrupt = None
    else:
        hub.corrupt_times = 1
    path = await _fetch(tmp_path)
    assert (path / name).read_bytes() == hub.repositories["org/model"].files[name]
    assert not list((tmp_path / "cache").rglob("*.hugchat.*"))


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
    assert sorted(choose_files(names, "")) == sorted(weights)
