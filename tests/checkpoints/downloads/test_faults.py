"""What goes wrong on the way of a download, one thing at a time: the real process, the real client, a real server."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.hub_server import HubServer, Request

MODEL = HubReference("org/model")
MIB = 1 << 20
BIG = 40 * MIB  # more than one segment


async def _download(tmp_path: Path, watcher: Watcher) -> Path:
    """The result of org/model."""
    downloads = Downloads(tmp_path / "data", watcher)
    try:
        return await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    finally:
        await downloads.close()


def _publish(hub: HubServer, tmp_path: Path, size: int = BIG) -> bytes:
    """The weights of org/model, in 16 bits."""
    files = model_files(tmp_path, weights=size // 2)
    hub.add("org/model", files)
    return files["model.safetensors"]


def _sent(hub: HubServer) -> int:
    return sum(request.sent for request in hub.requests if request.path.startswith("/storage/"))


def _files(directory: Path) -> list[Path]:
    return [path for path in directory.rglob("*") if path.is_file()]


def _orphans(tmp_path: Path) -> list[Path]:
    return [path for path in _files(tmp_path / "cache") if ".hugchat." in path.name]


async def test_a_connection_that_drops_every_nine_megabytes_costs_no_byte(hub: HubServer, tmp_path: Path) -> None:
    weights = _publish(hub, tmp_path)

    def drop(request: Request) -> None:
        if request.sent >= 9_000_000:
            raise ConnectionAbortedError

    hub.before_chunk = drop
    watcher = Watcher()
    path = await _download(tmp_path, watcher)
    assert (path / "model.safetensors").read_bytes() == weights
    assert "retrying" in watcher.states
    assert any("broke" in status.message for status in watcher.seen)
    assert _sent(hub) <= 1.02 * len(weights)
    assert not _orphans(tmp_path)


@pytest.mark.parametrize(("status", "headers"), [(503, {}), (500, {}), (429, {"Retry-After": "1"})])
async def test_a_server_that_fails_for_a_while_is_asked_again(
    hub: HubServer, tmp_path: Path, status: int, headers: dict[str, str]
) -> None:
    weights = _publish(hub, tmp_path, MIB)
    hub.status, hub.status_headers, hub.status_match, hub.status_times = status, headers, "/storage/", 2
    watcher = Watcher()
    path = await _download(tmp_path, watcher)
    assert (path / "model.safetensors").read_bytes() == weights
    said = {told.message for told in watcher.seen if told.state == "retrying"}
    assert any(f"HTTP {status}" in words for words in said)


async def test_a_lookup_that_fails_for_a_while_is_made_again(hub: HubServer, tmp_path: Path) -> None:
    hub.status, hub.status_match, hub.status_times = 503, "/revision/", 1
    watcher = Watcher()
    await _download(tmp_path, watcher)
    assert watcher.states.index("retrying") < watcher.states.index("done")


async def test_a_refused_signature_is_asked_for_anew(hub: HubServer, tmp_path: Path) -> None:
    """The store's addresses are signed for an hour or so; a long download outlives them."""
    weights = _publish(hub, tmp_path)

    once = iter([True])

    def run_out(request: Request) -> None:
        both_know_the_address = sum(each.sent >= MIB for each in list(hub.requests)) == 2
        if request.sent >= 2 * MIB and both_know_the_address and next(once, False):
            hub.status, hub.status_match, hub.status_times = 403, "/storage/", 1
            raise ConnectionAbortedError

    hub.before_chunk = run_out
    path = await _download(tmp_path, Watcher())
    assert (path / "model.safetensors").read_bytes() == weights


async def test_a_server_that_goes_silent_is_told_and_can_be_left_at_once(hub: HubServer, tmp_path: Path) -> None:
    weights = _publish(hub, tmp_path)
    silence = threading.Event()

    def stall(request: Request) -> None:
        if request.sent >= 5 * MIB:
            silence.wait()

    hub.before_chunk = stall
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    stalled = await watcher.until(lambda status: status.state == "stalled")
    assert stalled.done >= 4 * MIB
    await downloads.pause(job)
    assert downloads.status(job).state == "paused"
    silence.set()
    hub.before_chunk = lambda request: None
    await downloads.resume(job)
    path = await downloads.wait(job)
    await downloads.close()
    assert (path / "model.safetensors").read_bytes() == weights
    assert _sent(hub) <= 1.2 * len(weights)  # what was under way when it was told to pause is lost


async def test_a_server_without_ranges_sends_it_whole_over_one_connection(hub: HubServer, tmp_path: Path) -> None:
    weights = _publish(hub, tmp_path)
    hub.ignore_ranges = True
    watcher = Watcher()
    path = await _download(tmp_path, watcher)
    assert (path / "model.safetensors").read_bytes() == weights
    assert any("only as a whole" in status.message for status in watcher.seen)


async def test_a_server_without_ranges_that_always_breaks_off_is_given_up(hub: HubServer, tmp_path: Path) -> None:
    _publish(hub, tmp_path)
    hub.ignore_ranges = True

    def drop(request: Request) -> None:
        if request.sent >= 9_000_000:
            raise ConnectionAbortedError

    hub.before_chunk = drop
    with pytest.raises(DownloadError, match="only as a whole") as caught:
        await _download(tmp_path, Watcher())
    assert caught.value.reason == "server"


async def test_what_another_program_is_fetching_is_waited_for(hub: HubServer, tmp_path: Path) -> None:
    from filelock import FileLock

    from tests.hub_server import sha256

    weights = _publish(hub, tmp_path, MIB)
    locks = tmp_path / "cache" / ".locks" / "models--org--model"
    locks.mkdir(parents=True)
    watcher = Watcher()
    downloads = Downloads(tmp_path / "data", watcher)
    with FileLock(locks / f"{sha256(weights)}.lock"):
        job = await downloads.add(MODEL, cache_dir=tmp_path / "cache")
        await watcher.until(lambda status: status.state == "waiting")
    path = await downloads.wait(job)
    await downloads.close()
    assert (path / "model.safetensors").read_bytes() == weights


async def test_a_token_is_in_no_file_whatever_happens(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    _publish(hub, tmp_path, MIB)
    hub.status, hub.status_match, hub.status_times = 503, "/storage/", 1
    await _download(tmp_path, Watcher())
    hub.add("org/model", model_files(tmp_path, weights=99), gated=True, access=frozenset())
    with pytest.raises(DownloadError):
        await _download(tmp_path, Watcher())
    contents = [path.read_bytes() for path in _files(tmp_path)]
    assert contents
    assert not [content for content in contents if b"hf_secret" in content]
    assert {request.token for request in hub.requests if request.path.startswith("/storage/")} == {None}


async def test_a_token_that_fits_into_no_header_is_refused_and_not_quoted(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client's own error quotes it."""
    monkeypatch.setenv("HF_TOKEN", "hf_secret\x01more")
    with pytest.raises(DownloadError) as caught:
        await _download(tmp_path, Watcher())
    assert (caught.value.reason, "hf_secret" in str(caught.value)) == ("token", False)
    assert not [path for path in _files(tmp_path) if b"hf_secret" in path.read_bytes()]


@pytest.mark.parametrize("name", ["../../escape.gguf", "/etc/escape.gguf"])
async def test_names_that_lead_out_of_the_snapshot_are_never_written(hub: HubServer, tmp_path: Path, name: str) -> None:
    hub.add("org/model", model_files(tmp_path) | {name: b"GGUF"})
    await _download(tmp_path, Watcher())
    assert not [path for path in _files(tmp_path) if path.name == "escape.gguf"]


async def test_a_login_page_in_the_middle_costs_nothing_that_came(hub: HubServer, tmp_path: Path) -> None:
    weights = _publish(hub, tmp_path)
    once = iter([True])

    def page(request: Request) -> None:
        if request.path.startswith("/storage/") and request.sent >= 4 * MIB and next(once, False):
            hub.status, hub.status_match, hub.status_times = 200, "/storage/", 1
            raise ConnectionAbortedError

    hub.before_chunk = page
    path = await _download(tmp_path, Watcher())
    assert (path / "model.safetensors").read_bytes() == weights
    assert _sent(hub) <= 1.02 * len(weights)


async def test_words_of_the_server_that_quote_the_token_are_written_nowhere(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    hub.status, hub.status_headers = 400, {"X-Error-Message": "your token hf_secret is odd"}
    with pytest.raises(DownloadError) as caught:
        await _download(tmp_path, Watcher())
    assert "hf_secret" not in str(caught.value)
    assert not [path for path in _files(tmp_path) if b"hf_secret" in path.read_bytes()]
