"""`hugchat models pull` as the shell runs it: interrupted, repaired, and where nothing can be written."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from engine.checkpoints.downloads.job import Job
from engine.checkpoints.hub_cache import HubReference
from hugchat_tui.cli import main
from tests.checkpoints.builders import model_files
from tests.hub_server import HubServer, Request

PULL = (sys.executable, "-m", "hugchat_tui", "models", "pull", "org/model")
HALF = 2_000_000
# A file system of a few bytes, in a namespace of its own: nobody else sees it.
_ON_SMALL_DISK = 'mount -t tmpfs -o "$1" none "$2" && shift 2 && exec "$@"'
_NAMESPACE = ("unshare", "-Urm")


@pytest.fixture(autouse=True)
def data(hub: HubServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A person without settings whose folders lie below tmp_path."""
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setenv("HUGCHAT_CONFIG_DIR", str(tmp_path / "config"))
    return tmp_path / "data"


@dataclass(slots=True)
class Gate:
    """Half-way through the weights of org/model. reached: they stop there, until it is opened."""

    reached: threading.Event = field(default_factory=threading.Event)
    opened: threading.Event = field(default_factory=threading.Event)


@pytest.fixture
def gate(hub: HubServer, tmp_path: Path) -> Iterator[Gate]:
    hub.add("org/model", model_files(tmp_path, weights=HALF))
    half_way = Gate()

    def wait(request: Request) -> None:
        if request.sent >= HALF:
            half_way.reached.set()
            half_way.opened.wait()

    hub.before_chunk = wait
    yield half_way
    half_way.opened.set()


def _interrupted(gate: Gate, number: int) -> tuple[int, str]:
    """A pull that is sent this signal once half is there; its exit code and stderr."""
    with subprocess.Popen(PULL, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        first = process.stderr.readline()  # it watches
        assert gate.reached.wait(60)
        os.kill(process.pid, number)
        said = first + process.communicate(timeout=60)[1]
    return process.returncode, said


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_whoever_only_watches_leaves_and_the_download_goes_on(
    hub: HubServer, tmp_path: Path, data: Path, gate: Gate, number: int
) -> None:
    """It stopped the download that was begun with --detach."""
    subprocess.run([*PULL, "--detach"], check=True)
    assert gate.reached.wait(60)
    code, said = _interrupted(gate, number)
    assert code == 130
    assert "org/model goes on: this command only watched it." in said
    job = Job.of(data, HubReference("org/model"), tmp_path / "home" / "hub")
    assert job.running
    gate.opened.set()
    assert subprocess.run(PULL, check=False).returncode == 0
    assert len([request for request in hub.requests if request.path.startswith("/storage/")]) == 1


def test_the_words_of_a_pause_say_once_that_it_is_one(gate: Gate) -> None:
    """It was "paused at paused"."""
    code, said = _interrupted(gate, signal.SIGINT)
    last = said.splitlines()[-1]
    assert code == 130
    assert "org/model: paused · " in last and last.endswith(" MB. The same command goes on.")
    assert last.count("paused") == 1


def test_what_verify_calls_damaged_is_put_right_by_a_pull(
    hub: HubServer, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    assert main(["models", "pull", "org/model"]) == 0
    [weights] = (tmp_path / "home" / "hub").glob("models--org--model/snapshots/*/model.safetensors")
    content = bytearray(weights.read_bytes())
    content[-1] ^= 1
    weights.resolve().write_bytes(content)
    assert main(["models", "verify", "org/model"]) == 1
    capfd.readouterr()
    assert main(["models", "pull", "org/model"]) == 0
    assert "model.safetensors" in capfd.readouterr().err
    assert main(["models", "verify", "org/model"]) == 0


def test_the_address_of_a_page_can_be_pulled(hub: HubServer, capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["models", "pull", f"{hub.url}/org/model/tree/main", "--json"]) == 0
    assert json.loads(capfd.readouterr().out)["reference"] == "org/model"


def test_an_unfinished_download_is_one_thing_that_rm_drops(
    hub: HubServer, tmp_path: Path, data: Path, gate: Gate, capfd: pytest.CaptureFixture[str]
) -> None:
    """It was listed twice, and rm said that its name meant two things."""
    _interrupted(gate, signal.SIGINT)
    gate.opened.set()
    assert main(["models", "ls", "--json"]) == 0
    [row] = [row for row in json.loads(capfd.readouterr().out) if row.get("repository")]
    assert (row["name"], row["kind"]) == ("org/model", "unfinished")
    assert "hugchat models pull org/model" in row["problem"]
    assert main(["models", "rm", "org/model", "--yes"]) == 0
    assert not (tmp_path / "home" / "hub" / "models--org--model").exists()
    assert list((data / "downloads").glob("*/job.json")) == []


def _on_small_disk(options: str, folder: Path, command: Sequence[str]) -> subprocess.CompletedProcess[str]:
    try:
        subprocess.run([*_NAMESPACE, "true"], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("file systems cannot be made here")
    folder.mkdir(parents=True, exist_ok=True)
    inside = [*_NAMESPACE, "sh", "-c", _ON_SMALL_DISK, "sh", options, str(folder), *command]
    return subprocess.run(inside, check=False, capture_output=True, text=True)


@pytest.mark.parametrize(("options", "why"), [("size=4k", "No space left on device"), ("ro", "Read-only file system")])
@pytest.mark.parametrize("how", [(), ("--detach",)])
def test_a_data_folder_that_takes_nothing_is_told_in_words(
    data: Path, options: str, why: str, how: tuple[str, ...]
) -> None:
    ended = _on_small_disk(options, data, [*PULL, *how])
    assert (ended.returncode, ended.stdout) == (1, "")
    assert str(data) in ended.stderr and why in ended.stderr and "HUGCHAT_DATA_DIR" in ended.stderr
    assert "Errno" not in ended.stderr


def test_a_cache_that_is_read_only_is_told_as_such_although_it_has_no_room_either(tmp_path: Path) -> None:
    cache = tmp_path / "home" / "hub"
    ended = _on_small_disk("ro,size=4k", cache, PULL)
    assert ended.returncode == 1
    assert f"{cache} cannot be written to" in ended.stderr and "Read-only file system" in ended.stderr
    assert "free" not in ended.stderr


def test_a_cache_without_room_says_how_much_is_there_and_how_much_is_kept(tmp_path: Path) -> None:
    ended = _on_small_disk("size=1m", tmp_path / "home" / "hub", PULL)
    assert ended.returncode == 1
    assert "1.1 MB are free there, of which 64.0 MB are to stay free. Make room for 63.4 MB more" in ended.stderr
