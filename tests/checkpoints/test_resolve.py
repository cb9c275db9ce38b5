"""What a person types, and the checkpoint it means."""

from __future__ import annotations

from pathlib import Path

import pytest

from engine.checkpoints.hub_cache import HubReference
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.resolve import NotDownloadedError, StarterNotInstalledError, resolve
from engine.errors import CheckpointNotFoundError
from tests.checkpoints.builders import COMMIT, make_adapter, make_cached, make_gguf, make_model


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """One checkpoint of every source; the current directory is `here`."""
    make_model(tmp_path / "data" / "models" / "starter")
    make_model(tmp_path / "data" / "runs" / "tuned" / "final")
    make_model(tmp_path / "data" / "runs" / "tuned" / "checkpoints" / "step-10")
    make_model(tmp_path / "data" / "runs" / "going" / "checkpoints" / "step-9")
    make_model(tmp_path / "data" / "runs" / "going" / "checkpoints" / "step-20")
    make_model(make_cached(tmp_path / "cache", "org/model"))
    make_gguf(make_cached(tmp_path / "cache", "org/quants") / "a.gguf")
    make_model(tmp_path / "mine" / "publisher" / "named")
    make_adapter(tmp_path / "mine" / "adapter", "publisher/named")
    make_model(tmp_path / "here" / "local")
    make_gguf(tmp_path / "here" / "file.gguf")
    monkeypatch.chdir(tmp_path / "here")
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def _resolve(machine: Path, reference: str) -> Checkpoint:
    return resolve(reference, data_dir=machine / "data", cache_dir=machine / "cache", folders=[machine / "mine"])


@pytest.mark.parametrize(
    ("reference", "path"),
    [
        ("starter", "data/models/starter"),
        ("runs/tuned", "data/runs/tuned/final"),
        ("runs/tuned/step-10", "data/runs/tuned/checkpoints/step-10"),
        ("runs/going", "data/runs/going/checkpoints/step-20"),
        ("org/model", f"cache/models--org--model/snapshots/{COMMIT}"),
        (f"org/model@{COMMIT}", f"cache/models--org--model/snapshots/{COMMIT}"),
        ("org/quants/a.gguf", f"cache/models--org--quants/snapshots/{COMMIT}/a.gguf"),
        ("publisher/named", "mine/publisher/named"),
        ("local", "here/local"),
        ("./file.gguf", "here/file.gguf"),
        ("~/mine/publisher/named", "mine/publisher/named"),
    ],
)
def test_every_kind_of_reference_finds_its_checkpoint(machine: Path, reference: str, path: str) -> None:
    found = _resolve(machine, reference)
    assert (found.path, found.problem) == (machine / path, None)


def test_an_adapter_comes_with_its_base(machine: Path) -> None:
    found = _resolve(machine, str(machine / "mine" / "adapter"))
    assert (found.base, found.problem) == (machine / "mine/publisher/named", None)


def test_the_address_of_a_page_means_the_repository_and_takes_its_name(machine: Path) -> None:
    found = _resolve(machine, "https://huggingface.co/org/model")
    assert (found.name, found.source) == ("org/model", "cache")


def test_a_folder_wins_over_a_hub_id_of_the_same_spelling(machine: Path) -> None:
    make_model(machine / "here" / "org" / "model")
    assert _resolve(machine, "org/model").path == machine / "here/org/model"


def test_a_broken_checkpoint_is_found_and_says_its_problem(machine: Path) -> None:
    (machine / "here" / "local" / "model.safetensors").write_bytes(b"")
    assert "cut off" in (_resolve(machine, "./local").problem or "")


@pytest.mark.parametrize(
    ("reference", "expected"),
    [
        ("Qwen/Qwen3-0.6B", HubReference("Qwen/Qwen3-0.6B")),
        ("org/model@refs/pr/7", HubReference("org/model", "refs/pr/7")),
        ("org/quants/b.gguf", HubReference("org/quants", "main", "b.gguf")),
    ],
)
def test_what_the_hub_may_have_is_told_apart(machine: Path, reference: str, expected: HubReference) -> None:
    with pytest.raises(NotDownloadedError) as caught:
        _resolve(machine, reference)
    assert caught.value.reference == expected


def test_an_unfinished_download_can_be_asked_for_again(machine: Path) -> None:
    (machine / "cache" / "models--org--model" / "snapshots" / COMMIT / "model.safetensors").unlink()
    with pytest.raises(NotDownloadedError):
        _resolve(machine, "org/model")


def test_the_starter_that_is_not_installed_is_an_error_of_its_own(tmp_path: Path) -> None:
    with pytest.raises(StarterNotInstalledError):
        resolve("starter", data_dir=tmp_path, cache_dir=tmp_path)


@pytest.mark.parametrize(
    ("reference", "words"),
    [
        ("./locla", "Nearest here: local"),
        ("/nothing/like it", "There is no folder or file"),
        ("runs/tuend", "Nearest here: runs/tuned"),
        ("publisher/nmaed", "Nearest here: publisher/named"),
        ("not a name", "Name a folder"),
        ("", "Name a folder"),
        ("~nobody-here/x", "There is no folder or file"),
        ("a\0b", "No checkpoint is called"),
        ("x" * 10_000, "No checkpoint is called"),
    ],
)
def test_what_is_not_there_is_answered_with_the_nearest_names_or_a_way(
    machine: Path, reference: str, words: str
) -> None:
    with pytest.raises(CheckpointNotFoundError, match=words) as caught:
        _resolve(machine, reference)
    assert len(str(caught.value)) < 500
