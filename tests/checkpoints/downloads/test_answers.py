"""What servers answer that is not what was asked for, and what becomes of it."""

from __future__ import annotations

import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from http.server import BaseHTTPRequestHandler
from itertools import count
from pathlib import Path

import pytest

from engine.checkpoints.downloads.manager import DownloadError, Downloads
from engine.checkpoints.downloads.requests import is_hub
from engine.checkpoints.hub_cache import HubReference
from tests.checkpoints.builders import model_files
from tests.checkpoints.downloads.conftest import Watcher
from tests.checkpoints.downloads.odd_store import OddStore, asked_for, send
from tests.hub_server import HubServer, sha256

MODEL = HubReference("org/model")
MIB = 1 << 20


async def _download(tmp_path: Path, watcher: Watcher) -> Path:
    """The result of org/model."""
    downloads = Downloads(tmp_path / "data", watcher)
    try:
        return await downloads.wait(await downloads.add(MODEL, cache_dir=tmp_path / "cache"))
    finally:
        await downloads.close()


async def _first(tmp_path: Path, watcher: Watcher, *states: str) -> str:
    """The message of the first status in one of these states."""
    downloads = Downloads(tmp_path / "data", watcher)
    await downloads.add(MODEL, cache_dir=tmp_path / "cache")
    status = await watcher.until(lambda status: status.state in states)
    await downloads.close()
    return f"{status.state}: {status.message}"


@pytest.mark.parametrize("match", ["/resolve/", "/revision/"])
@pytest.mark.parametrize(
    ("location", "words"), [("", "nowhere|address"), ("file:///etc/passwd", "nowhere|no address of a file on the web")]
)
async def test_a_redirect_that_leads_nowhere_is_told_at_once(
    hub: HubServer, tmp_path: Path, match: str, location: str, words: str
) -> None:
    hub.status, hub.status_match, hub.status_headers = 302, match, {"Location": location}
    message = await _first(tmp_path, Watcher(), "failed", "retrying")
    assert re.match(f"failed: .*({words})", message)


@pytest.mark.parametrize("location", ["http://x:y/", "http://x:99999/", "mailto:somebody", "ftp://x/y?signature=s"])
async def test_a_redirect_to_what_is_no_address_is_told_at_once(hub: HubServer, tmp_path: Path, location: str) -> None:
    hub.status, hub.status_match, hub.status_headers = 302, "/resolve/", {"Location": location}
    message = await _first(tmp_path, Watcher(), "failed", "retrying")
    assert message.startswith("failed: ") and "no address of a file on the web" in message
    assert "signature" not in message


@pytest.mark.parametrize(("match", "path"), [("/resolve/", "/a/resolve/b/c"), ("/models/", "/api/models/a/revision/b")])
async def test_a_circle_of_redirects_is_told_at_once(hub: HubServer, tmp_path: Path, match: str, path: str) -> None:
    hub.status, hub.status_match, hub.status_headers = 302, match, {"Location": hub.url + path}
    message = await _first(tmp_path, Watcher(), "failed", "retrying")
    assert re.match("failed: .*(from address to address|leads nowhere)", message)


@pytest.mark.parametrize("wrong", ["bytes 7-99/{size}", "bytes {first}-{last}/5", "", "nonsense"])
async def test_an_answer_for_other_bytes_than_were_asked_for_is_not_taken(
    hub: HubServer, tmp_path: Path, wrong: str
) -> None:
    files = model_files(tmp_path, weights=20 * MIB)  # in 16 bits: more than one segment
    hub.add("org/model", files)
    weights = files["model.safetensors"]
    answers = count()

    def answer(request: BaseHTTPRequestHandler) -> None:
        first, end = asked_for(request, len(weights))
        said = f"bytes {first}-{end - 1}/{len(weights)}"
        if next(answers) < 2:  # of both segments
            said = wrong.format(first=first, last=end - 1, size=len(weights))
            send(request, 206, bytes(end - first), Content_Range=said)
        else:
            send(request, 206, weights[first:end], Content_Range=said)

    watcher = Watcher()
    with OddStore(hub, answer):
        path = await _download(tmp_path, watcher)
    assert (path / "model.safetensors").read_bytes() == weights
    assert any("no use" in status.message for status in watcher.seen)
    assert not any("damaged" in status.message for status in watcher.seen), "its bytes were not believed"


async def test_a_token_does_not_travel_to_another_port_of_the_hubs_host(
    hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    weights = hub.repositories["org/model"].files["model.safetensors"]
    with OddStore(hub, lambda request: send(request, 200, weights)) as store:
        await _download(tmp_path, Watcher())
    assert store.tokens == [None]
    assert {request.token for request in hub.requests} == {"hf_secret"}


@pytest.mark.parametrize(
    ("url", "ours"),
    [
        ("https://hub.example/x", True),
        ("https://HUB.example:443/x", True),
        ("http://hub.example/x", False),
        ("https://hub.example:8443/x", False),
        ("https://cdn.hub.example/x", False),
        ("https://hub.example.evil.example/x", False),
        ("https://hub.example@evil.example/x", False),
    ],
)
def test_only_the_hubs_own_scheme_host_and_port_are_the_hub(
    monkeypatch: pytest.MonkeyPatch, url: str, ours: bool
) -> None:
    from huggingface_hub import constants

    monkeypatch.setattr(constants, "ENDPOINT", "https://hub.example")
    assert is_hub(url) is ours


async def test_of_an_errors_text_only_a_bounded_part_is_read(hub: HubServer, tmp_path: Path) -> None:
    chunk, chunks = bytes(MIB), 256
    sent = 0

    def answer(request: BaseHTTPRequestHandler) -> None:
        nonlocal sent
        request.send_response(400)
        request.send_header("Content-Length", str(chunks * len(chunk)))
        request.end_headers()
        for _ in range(chunks):
            request.wfile.write(chunk)
            sent += len(chunk)

    with OddStore(hub, answer), pytest.raises(DownloadError) as caught:
        await _download(tmp_path, Watcher())
    assert caught.value.reason == "server"
    assert sent < chunks * len(chunk) / 4, "the rest lies in the buffers of the connection at most"


_SOON = format_datetime(datetime.now(UTC) + timedelta(days=2))


@pytest.mark.parametrize(("header", "seconds"), [("120", 120), (_SOON, 600), ("9e9", 600)], ids=["120", "date", "9e9"])
async def test_a_server_that_says_when_is_not_asked_before(
    hub: HubServer, tmp_path: Path, header: str, seconds: int
) -> None:
    hub.status, hub.status_match, hub.status_headers = 429, "/storage/", {"Retry-After": header}
    message = await _first(tmp_path, Watcher(), "retrying", "failed")
    waits = re.fullmatch(r"retrying: .*asked less often.* in (\d+) s\.", message)
    assert waits is not None, message
    assert seconds - 60 < int(waits[1]) <= seconds
    assert len([request for request in hub.requests if request.path.startswith("/storage/")]) == 1


_IMPATIENT = """
import sys, threading
from pathlib import Path
from engine.checkpoints.downloads.job import WantedFile
from engine.checkpoints.downloads.requests import Remote
from engine.checkpoints.downloads.transfer import Patience, Transfer
from engine.checkpoints.hub_errors import FetchFailedError

repository, commit, etag, size = sys.argv[1:]
wanted = WantedFile("model.safetensors", int(size), etag, True)
patience = Patience(first_s=0.01, longest_s=0.01, give_up_s=0.3)
stop = threading.Event()
try:
    Transfer(Remote("org/model", commit), Path(repository), commit, [wanted], stop=stop, patience=patience).run()
except FetchFailedError as error:
    print(error.reason, error.message)
"""


def test_a_server_that_never_sends_a_byte_is_given_up(hub: HubServer, tmp_path: Path) -> None:
    repository = hub.repositories["org/model"]
    weights = repository.files["model.safetensors"]
    hub.status, hub.status_match, hub.status_times = 503, "/storage/", 500
    arguments = (str(tmp_path / "cache" / "x"), repository.commit, sha256(weights), str(len(weights)))
    said = subprocess.run([sys.executable, "-c", _IMPATIENT, *arguments], check=True, capture_output=True, text=True)
    assert said.stdout == "server The Hub is overloaded or down (HTTP 503).\n"
