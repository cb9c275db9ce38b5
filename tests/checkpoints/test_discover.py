"""Finding every checkpoint on the machine, wherever it lies."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from engine.checkpoints.discover import find_checkpoints
from engine.checkpoints.hub_cache import HubReference, find_snapshot, parse_hub_reference
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import data_dir, hub_cache_dir
from tests.checkpoints.builders import COMMIT, LLAMA, make_adapter, make_cached, make_gguf, make_model

OTHER_COMMIT = "f" * 40


def _find(tmp_path: Path, *folders: Path) -> dict[str, Checkpoint]:
    found = find_checkpoints(folders, data_dir=tmp_path / "data", cache_dir=tmp_path / "cache")
    assert len({checkpoint.name for checkpoint in found}) == len(found)
    return {checkpoint.name: checkpoint for checkpoint in found}


def test_an_empty_machine_has_no_checkpoints(tmp_path: Path) -> None:
    assert _find(tmp_path) == {}


def test_every_source_is_listed_with_its_name_and_kind(tmp_path: Path) -> None:
    make_model(tmp_path / "data" / "models" / "starter")
    make_model(tmp_path / "data" / "models" / "merged")
    make_model(tmp_path / "data" / "models" / ".making-tmp-x")
    make_model(make_cached(tmp_path / "cache", "org/model"))
    make_model(tmp_path / "mine" / "publisher" / "repo")
    make_gguf(tmp_path / "mine" / "small.gguf")
    run = tmp_path / "data" / "runs" / "first"
    make_model(run / "final")
    make_model(run / "checkpoints" / "step-9")
    make_model(run / "checkpoints" / "step-100")
    make_model(run / "checkpoints" / "tmp-step-200")
    found = _find(tmp_path, tmp_path / "mine")
    assert [(name, checkpoint.source) for name, checkpoint in found.items()] == [
        ("starter", "starter"),
        ("org/model", "cache"),
        ("publisher/repo", "folder"),
        ("small.gguf", "folder"),
        ("merged", "made"),
        ("runs/first", "run"),
        ("runs/first/step-100", "run"),
        ("runs/first/step-9", "run"),
    ]
    assert all(checkpoint.problem is None for checkpoint in found.values())
    assert found["org/model"].revision == COMMIT


def test_each_revision_of_a_cached_repository_is_listed_once_and_main_has_the_plain_name(tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    make_model(make_cached(cache, "org/model"))
    make_model(make_cached(cache, "org/model", ref="refs/pr/1", commit=OTHER_COMMIT))
    refs = cache / "models--org--model" / "refs"
    (refs / "v1.0").write_text(COMMIT)
    (refs / "broken").write_text("../../../etc")
    (refs / "gone").write_text("e" * 40)
    make_model(make_cached(cache, "org/model", ref="", commit="d" * 40))  # left behind by a newer revision
    make_model(make_cached(cache, "lonely", ref=""))
    found = _find(tmp_path)
    assert {name: checkpoint.revision for name, checkpoint in found.items()} == {
        "lonely": COMMIT,
        "org/model": COMMIT,
        "org/model@refs/pr/1": OTHER_COMMIT,
    }


def test_a_revision_is_found_by_each_of_its_refs_and_by_its_commit(tmp_path: Path) -> None:
    snapshot = make_model(make_cached(tmp_path / "cache", "org/model"))
    (tmp_path / "cache" / "models--org--model" / "refs" / "v1.0").write_text(COMMIT)
    detached = make_model(make_cached(tmp_path / "cache", "org/model", ref="", commit=OTHER_COMMIT))

    def found(revision: str) -> Path | None:
        snapshot = find_snapshot(tmp_path / "cache", HubReference("org/model", revision))
        return snapshot.path if snapshot is not None else None

    assert found("main") == found("v1.0") == found(COMMIT) == snapshot
    assert found(OTHER_COMMIT) == detached
    assert found("v2.0") is None


def test_a_download_that_did_not_finish_is_a_row_with_a_reason(tmp_path: Path) -> None:
    snapshot = make_cached(tmp_path / "cache", "org/model")
    make_model(snapshot)
    weights = snapshot / "model.safetensors"
    weights.unlink()
    weights.symlink_to("../../blobs/not-there")
    assert "no weights" in (_find(tmp_path)["org/model"].problem or "")


def test_each_gguf_file_of_a_cached_repository_is_a_row(tmp_path: Path) -> None:
    snapshot = make_cached(tmp_path / "cache", "org/quants")
    make_gguf(snapshot / "a-Q4_1.gguf")
    make_gguf(snapshot / "a-Q8_0.gguf")
    make_gguf(make_cached(tmp_path / "cache", "org/single") / "b.gguf")
    found = _find(tmp_path)
    assert list(found) == ["org/quants/a-Q4_1.gguf", "org/quants/a-Q8_0.gguf", "org/single"]
    assert {checkpoint.kind for checkpoint in found.values()} == {"gguf"}


def test_a_named_folder_that_is_itself_a_hub_cache_is_read_as_one(tmp_path: Path) -> None:
    make_model(make_cached(tmp_path / "old-cache", "org/model"))
    assert list(_find(tmp_path, tmp_path / "old-cache")) == ["org/model"]


def test_link_loops_and_unreadable_folders_neither_hang_nor_hide_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "mine"
    make_model(folder / "good")
    (folder / "loop").symlink_to(folder)
    (folder / "to-itself").symlink_to("to-itself")
    (folder / "deep" / "er").mkdir(parents=True)
    (folder / "deep" / "er" / "up").symlink_to(folder)
    found = _find(tmp_path, folder, tmp_path / "absent", folder / "to-itself")
    assert found["good"].problem is None
    assert "nothing at this path" in (found["absent"].problem or "")
    assert found["to-itself"].problem is not None
    assert len(found) == 3


def test_what_may_not_even_be_looked_at_hides_nothing_else(tmp_path: Path) -> None:
    make_model(make_cached(tmp_path / "cache", "org/model"))
    make_model(tmp_path / "mine" / "good")
    make_model(tmp_path / "data" / "runs" / "first" / "final")
    for folder in ("cache", "mine", "data/runs", "data/runs/first"):
        (tmp_path / folder / "link").symlink_to("x" * 300)  # as any path in a closed folder: stat itself fails
    assert list(_find(tmp_path, tmp_path / "mine")) == ["org/model", "good", "runs/first"]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_folder_without_permission_is_a_row_with_a_reason(tmp_path: Path) -> None:
    (tmp_path / "mine" / "closed").mkdir(parents=True, mode=0o000)
    assert "Permission denied" in (_find(tmp_path, tmp_path / "mine")["closed"].problem or "")


def test_the_same_place_named_twice_is_one_row(tmp_path: Path) -> None:
    make_model(tmp_path / "mine" / "m")
    assert list(_find(tmp_path, tmp_path / "mine", tmp_path / "mine" / "m", tmp_path / "mine")) == ["m"]


def test_names_from_outside_are_passed_on_unchanged(tmp_path: Path) -> None:
    name = "\x1b]52;c;aGk=\x07[bold]夜\u202e"
    make_model(tmp_path / "mine" / name)
    assert _find(tmp_path, tmp_path / "mine")[name].problem is None


def test_adapters_get_their_base_wherever_it_lies(tmp_path: Path) -> None:
    starter = make_model(tmp_path / "data" / "models" / "starter")
    config = {**LLAMA, "num_hidden_layers": 2, "num_attention_heads": 1, "hidden_size": 8}
    cached = make_model(make_cached(tmp_path / "cache", "org/base"), config)
    mine = tmp_path / "mine"
    own = make_model(mine / "own")
    for name, base in {"a": "org/base", "b": str(own), "c": "starter", "d": "own", "e": "gone/base"}.items():
        make_adapter(mine / name, base)
    make_adapter(mine / "f", str(mine / "a"))
    found = _find(tmp_path, mine)
    assert {name: found[name].base for name in "abcd"} == {"a": cached, "b": own, "c": starter, "d": own}
    assert all(found[name].problem is None for name in "abcd")
    assert (found["a"].family, found["a"].context_length, found["a"].base_name) == ("llama", 4096, "org/base")
    assert found["a"].kv_bytes_per_token == 2 * 2 * 8 * 2
    assert found["e"].base is None
    assert "gone/base is not on this machine. Get it first: hugchat --model gone/base" in (found["e"].problem or "")
    assert "an adapter too" in (found["f"].problem or "")


def test_an_adapter_of_a_broken_base_says_what_is_wrong_with_the_base(tmp_path: Path) -> None:
    base = make_model(tmp_path / "mine" / "base")
    (base / "model.safetensors").write_bytes(b"")
    make_adapter(tmp_path / "mine" / "a", str(base))
    assert "cut off" in (_find(tmp_path, tmp_path / "mine")["a"].problem or "")


def test_an_adapter_config_of_wrong_types_is_a_row_with_a_reason(tmp_path: Path) -> None:
    adapter = make_adapter(tmp_path / "mine" / "a", "x")
    (adapter / "adapter_config.json").write_text(json.dumps({"peft_type": 3, "base_model_name_or_path": ["x"]}))
    assert "names no base model" in (_find(tmp_path, tmp_path / "mine")["a"].problem or "")


def test_several_threads_may_look_at_once(tmp_path: Path) -> None:
    for number in range(20):
        make_model(tmp_path / "mine" / f"m{number}")
    with ThreadPoolExecutor(8) as threads:
        results = list(threads.map(lambda _: _find(tmp_path, tmp_path / "mine"), range(16)))
    assert all(result == results[0] for result in results)


@pytest.mark.parametrize(
    "environment",
    [
        {},
        {"HF_HOME": "~/models"},
        {"HF_HUB_CACHE": "/big/$USER_FOLDER/hub", "USER_FOLDER": "me", "HF_HOME": "/other"},
        {"XDG_CACHE_HOME": "/xdg"},
    ],
)
def test_the_cache_is_where_the_hubs_own_client_puts_it(
    environment: dict[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("HF_HOME", "HF_HUB_CACHE", "HUGGINGFACE_HUB_CACHE", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    script = "from huggingface_hub import constants; print(constants.HF_HUB_CACHE)"
    expected = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert str(hub_cache_dir()) == expected.strip()


def test_the_data_folder_follows_its_variable_at_call_time(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HUGCHAT_DATA_DIR", str(tmp_path))
    assert data_dir() == tmp_path
    monkeypatch.delenv("HUGCHAT_DATA_DIR")
    monkeypatch.setenv("XDG_DATA_HOME", "/xdg")
    assert data_dir() == Path("/xdg/hugchat-tui")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("gpt2", HubReference("gpt2")),
        ("Qwen/Qwen3-0.6B", HubReference("Qwen/Qwen3-0.6B")),
        ("org/name@refs/pr/1", HubReference("org/name", "refs/pr/1")),
        ("org/name/file-Q4_K_M.gguf", HubReference("org/name", "main", "file-Q4_K_M.gguf")),
        ("org/name/file.gguf@v1", HubReference("org/name", "v1", "file.gguf")),
        ("org/name/Q4_K_M/file.gguf", HubReference("org/name", "main", "Q4_K_M/file.gguf")),
        *((text, None) for text in ("org/x@/abs/path", "org/x@../y", "org/x@a//b", "org/x@a/", "org/x@.", "org/x@./a")),
        *((text, None) for text in ("org/x//a.gguf", "org/x/../a.gguf", "org/x/sub/./a.gguf", "org/x/\x1b[31m.gguf")),
        *((text, None) for text in ("", "a/b/c", "../x", "a--b", "org/na me", "org/..", "org/x@a/../b", "x" * 97)),
        *((text, None) for text in ("/abs/path", "org/name\n", "org/\x1b[31m", "-org/name", "org/.name", "org/名")),
    ],
)
def test_hub_references_are_told_from_everything_else(text: str, reference: HubReference | None) -> None:
    assert parse_hub_reference(text) == reference


@pytest.mark.parametrize(
    "host", ["https://huggingface.co", "http://huggingface.co", "https://hf.co", "http://mine:8/hub"]
)
@pytest.mark.parametrize(
    ("page", "reference"),
    [
        ("/org/name", HubReference("org/name")),
        ("/org/name/", HubReference("org/name")),
        ("/gpt2?library=transformers#how-to", HubReference("gpt2")),
        ("/gpt2/tree/v1", HubReference("gpt2", "v1")),
        ("/org/name/tree/refs%2Fpr%2F1", HubReference("org/name", "refs/pr/1")),
        ("/org/name/blob/main/Q4%20K/a.gguf", HubReference("org/name", "main", "Q4 K/a.gguf")),
        ("/org/name/resolve/v1/a.gguf?download=true", HubReference("org/name", "v1", "a.gguf")),
        *(
            (page, None)
            for page in ("", "/", "/org/name/tree/main/sub", "/org/name/blob/main/config.json", "/org/n%0a")
        ),
        *((page, None) for page in ("/datasets/org/name", "/spaces/org/name", "/docs/hub", "/org/name/discussions")),
        *((page, None) for page in ("/org/name/blob/main/../../a.gguf", "/org/name/tree/..%2Fx", "/org/\u540d")),
    ],
)
def test_the_address_of_a_page_means_what_it_shows(
    monkeypatch: pytest.MonkeyPatch, host: str, page: str, reference: HubReference | None
) -> None:
    monkeypatch.setenv("HF_ENDPOINT", "http://mine:8/hub/")
    assert parse_hub_reference(f"{host}{page}") == reference


@pytest.mark.parametrize("text", ["https://evil.example/org/name", "http://[org/name", "https://", "ftp://hf.co/gpt2"])
def test_an_address_of_another_site_is_no_hub_reference(text: str) -> None:
    assert parse_hub_reference(text) is None
