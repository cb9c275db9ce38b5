"""Downloading from a Hub on loopback with the real client underneath."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from engine.checkpoints.children import OnProgress
from engine.checkpoints.downloads.choosing import choose_files
from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference, parse_hub_reference
from engine.checkpoints.hub_errors import FetchFailedError
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


_SPLIT = [f"Q4_K_M/big-Q4_K_M-0000{number}-of-00003.gguf" for number in (1, 2, 3)]


@pytest.mark.parametrize("asked_for", _SPLIT)
async def test_a_split_gguf_in_a_folder_is_fetched_whole_whichever_part_is_named(
    hub: HubServer, tmp_path: Path, asked_for: str
) -> None:
    files = {name: name.encode() * 1000 for name in [*_SPLIT, "Q8_0/big-Q8_0.gguf", "README.md"]}
    hub.add("org/quants", files)
    reference = parse_hub_reference(f"org/quants/{asked_for}")
    assert reference is not None
    path = await _fetch(tmp_path, reference)
    assert path.name == "big-Q4_K_M-00001-of-00003.gguf", "that is the one to be opened"
    snapshot = path.parent.parent
    assert {name: (snapshot / name).read_bytes() for name in _SPLIT} == {name: files[name] for name in _SPLIT}
    assert sorted(file.name for file in snapshot.iterdir()) == ["Q4_K_M"]


async def test_a_gguf_in_a_folder_is_fetched_alone(hub: HubServer, tmp_path: Path) -> None:
    data = make_gguf(tmp_path / "x.gguf").read_bytes()
    hub.add("org/quants", {"Q8_0/a.gguf": data, "Q4_0/a.gguf": data + b"b"})
    path = await _fetch(tmp_path, HubReference("org/quants", "main", "Q8_0/a.gguf"))
    assert path.read_bytes() == data
    found = resolve("org/quants/Q8_0/a.gguf", data_dir=tmp_path, cache_dir=tmp_path / "cache")
    assert (found.path, found.problem) == (path, None)


def test_of_ggufs_those_of_the_named_quantisation_are_offered_first_and_a_split_one_once() -> None:
    names = [*(f"other-{number}.gguf" for number in range(9)), *_SPLIT]
    with pytest.raises(FetchFailedError) as caught:
        choose_files(names, "Q4_K_M.gguf")
    assert caught.value.reason == "not-found"
    assert f"behind the id: {_SPLIT[0]}, other-0.gguf, " in caught.value.hint
    assert caught.value.hint.endswith("other-6.gguf and 2 more")


def test_a_split_gguf_without_all_of_its_parts_is_refused() -> None:
    with pytest.raises(FetchFailedError, match="2 of the 3 parts") as caught:
        choose_files(_SPLIT[1:], _SPLIT[1])
    assert caught.value.reason == "unusable"


@pytest.mark.parametrize("name", ["a-00000-of-00002.gguf", "a-00003-of-00002.gguf", "a-1-of-2.gguf", "a.gguf"])
def test_what_is_not_numbered_as_a_part_is_a_file_of_its_own(name: str) -> None:
    assert choose_files([name, "b.gguf"], name) == [name]


async def test_the_same_content_under_two_names_is_fetched_once(hub: HubServer, tmp_path: Path) -> None:
    shards = [f"model-0000{number}-of-00002.safetensors" for number in (1, 2)]
    content = model_files(tmp_path, weights=4_000_000)["model.safetensors"]
    hub.add("org/model", {"config.json": b"{}", "vocab.json": b"{}", shards[0]: content, shards[1]: content})
    seen: list[Status] = []
    downloads = Downloads(tmp_path / "data", seen.append)
    path = await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    await downloads.close()
    assert [(path / name).read_bytes() == content for name in shards] == [True, True]
    assert len(_requested(hub, "/storage/")) == 1
    assert len([request for request in _requested(hub, ".json") if "/resolve/" in request.path]) == 1
    states = {file.state for status in seen for file in status.files}
    assert "waiting" not in states, "nobody else is fetching it"


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
