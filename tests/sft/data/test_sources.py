"""Where rows come from: files, folders, globs, corpora, and data sets in the Hugging Face cache."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sft.data.conversation import Conversation
from sft.data.sources import Source, files_of, read
from sft.errors import SftError
from tests.sft.data.rows import ALPACA, only, said, write_lines

COMMIT = "0123456789abcdef0123456789abcdef01234567"


def make_data_set(cache: Path, repo_id: str, files: dict[str, list[object]]) -> Path:
    """A data set as the Hub's client leaves it: files are links to blobs."""
    repository = cache / f"datasets--{repo_id.replace('/', '--')}"
    snapshot = repository / "snapshots" / COMMIT
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(COMMIT)
    (repository / "blobs").mkdir()
    for number, (name, rows) in enumerate(files.items()):
        blob = write_lines(repository / "blobs" / str(number), rows)
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "hub"
    monkeypatch.setenv("HF_HUB_CACHE", str(folder))
    return folder


def test_a_folder_has_its_files_sorted_without_hidden_and_other_ones(tmp_path: Path) -> None:
    names = ["b/x.jsonl", "a.csv", "c.parquet", "a.json.gz", "z.zip", "x.txt"]
    others = [".x.jsonl", ".cache/x.jsonl", "README.md", "dataset_infos.json"]
    for name in (*names, *others):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert files_of(Source(str(tmp_path))) == sorted(tmp_path / name for name in names)


def test_a_folder_that_leads_to_itself_is_read_once(tmp_path: Path) -> None:
    write_lines(tmp_path / "x.jsonl", [ALPACA])
    (tmp_path / "loop").symlink_to(tmp_path)
    assert len(list(read(Source(str(tmp_path))))) == 1


def test_a_glob_takes_files_and_folders(tmp_path: Path) -> None:
    (tmp_path / "part-2").mkdir()
    for name in ("part-1.jsonl", "part-2/x.jsonl", "other.jsonl"):
        write_lines(tmp_path / name, [ALPACA])
    assert files_of(Source(str(tmp_path / "part-*"))) == [tmp_path / "part-1.jsonl", tmp_path / "part-2/x.jsonl"]
    assert len(files_of(Source(str(tmp_path / "**/*.jsonl")))) == 3
    (tmp_path / "[1].jsonl").touch()
    assert files_of(Source(str(tmp_path / "[1].jsonl"))) == [tmp_path / "[1].jsonl"]


@pytest.mark.parametrize("path", ["nothing.jsonl", "*.nothing", "empty", "", "alpacca"])
def test_what_is_not_there_is_said(tmp_path: Path, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    with pytest.raises(SftError) as caught:
        files_of(Source(path))
    assert path in caught.value.message and caught.value.hint


@pytest.mark.parametrize("kind", ["pipe", "dangling", "directory loop", "forbidden"])
def test_what_is_no_readable_file_is_a_clear_error(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "x.jsonl"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "dangling":
        path.symlink_to(tmp_path / "gone")
    elif kind == "directory loop":
        path.symlink_to(path)
    else:
        path.touch(mode=0)
        if os.access(path, os.R_OK):
            pytest.skip("this user may read everything")
    for source in (Source(str(path)), Source(str(tmp_path))):
        with pytest.raises(SftError, match=r"x\.jsonl") as caught:
            list(read(source))
        assert caught.value.hint


def test_a_corpus_is_found_in_the_cache(cache: Path) -> None:
    files: dict[str, list[object]] = {"Belle_open_source_1M.json": [{"input": "Q", "target": "A"}], "README.md": []}
    make_data_set(cache, "BelleGroup/train_1M_CN", files)
    row = only(list(read(Source("belle-1m"))))
    assert said(row) == [("user", "Q"), ("assistant", "A")]
    assert row.source == "belle-1m:Belle_open_source_1M.json"


def test_a_corpus_that_is_not_there_says_how_to_fetch_it(cache: Path) -> None:
    with pytest.raises(SftError, match="BelleGroup/train_1M_CN is not on this machine") as caught:
        files_of(Source("belle-1m"))
    assert caught.value.hint == "Fetch it: hugchat sft data fetch belle-1m"
    make_data_set(cache, "BelleGroup/train_1M_CN", {"README.md": []})
    with pytest.raises(SftError, match=r"no file with rows that matches \*\.json"):
        files_of(Source("belle-1m"))


def test_a_corpus_elsewhere_and_a_folder_of_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "alpaca").mkdir()
    write_lines(tmp_path / "alpaca" / "data.jsonl", [ALPACA])
    assert files_of(Source("./alpaca")) == [Path("alpaca/data.jsonl")]
    assert said(only(list(read(Source(f"alpaca:{tmp_path}/alpaca/data.jsonl")))))[1] == ("assistant", "Blue.")


def test_of_a_hub_data_set_the_training_files_are_read(cache: Path) -> None:
    files: dict[str, list[object]] = {
        "data/train-1.jsonl": [{"text": "one"}],
        "data/train-0.jsonl": [{"text": "zero"}],
        "data/test-0.jsonl": [{"text": "test"}],
        "dataset_infos.json": [{}],
    }
    make_data_set(cache, "org/name", files)
    rows = list(read(Source("hub:org/name")))
    assert [said(row)[0][1] for row in rows] == ["zero", "one"]
    assert rows[0].source == "hub:org/name:data/train-0.jsonl"
    assert [said(row)[0][1] for row in read(Source("hub:org/name:data/test*"))] == ["test"]
    with pytest.raises(SftError, match="hub:org/other"):
        files_of(Source("hub:org/other"))


def test_a_hub_data_set_without_a_training_split_is_read_whole(cache: Path) -> None:
    make_data_set(cache, "name", {"a.jsonl": [{"text": "a"}], "b.jsonl": [{"text": "b"}]})
    rows = list(read(Source("hub:name")))
    assert all(isinstance(row, Conversation) for row in rows)
    assert len(rows) == 2
