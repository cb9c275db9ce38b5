"""Corpora and data sets are fetched into the Hugging Face cache, where reading finds them."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from sft.data.fetching import fetch
from sft.data.sources import Source, read
from sft.errors import SftError
from tests.hub_server import HubServer
from tests.sft.data.rows import ALPACA, only, said

_FETCH = """
import sys
from sft.data.fetching import fetch
from sft.errors import SftError
try:
    print(fetch(sys.argv[1]))
except SftError as error:
    sys.exit(f"{error.message} | {error.hint}")
"""


def fetched(name: str) -> subprocess.CompletedProcess[str]:
    """In a process of its own: the client reads the environment when it is imported."""
    return subprocess.run(
        [sys.executable, "-c", _FETCH, name], check=False, capture_output=True, text=True, timeout=120
    )


def publish(hub: HubServer, repo_id: str, files: dict[str, bytes]) -> None:
    hub.add(repo_id, files)  # what its API tells
    hub.add(f"datasets/{repo_id}", files)  # where its files are


def test_a_corpus_is_fetched_and_found(hub: HubServer) -> None:
    files = {
        "Belle_open_source_1M.json": json.dumps(ALPACA).encode() + b"\n",
        "README.md": b"Rows.",
        "model.bin": b"no rows",
    }
    publish(hub, "BelleGroup/train_1M_CN", files)
    done = fetched("belle-1m")
    assert done.returncode == 0, done.stderr
    assert sorted(path.name for path in Path(done.stdout.strip()).iterdir()) == [
        "Belle_open_source_1M.json",
        "README.md",
    ]
    assert said(only(list(read(Source("belle-1m")))))[1] == ("assistant", "Blue.")


def test_a_data_set_is_fetched_and_found(hub: HubServer) -> None:
    publish(hub, "org/rows", {"data/train.jsonl": json.dumps(ALPACA).encode(), "data/picture.png": b"no rows"})
    done = fetched("hub:org/rows")
    assert done.returncode == 0, done.stderr
    assert said(only(list(read(Source("hub:org/rows")))))[1] == ("assistant", "Blue.")


def test_what_cannot_be_fetched_is_said_in_words(hub: HubServer) -> None:
    done = fetched("hub:org/nothing")
    assert done.returncode == 1
    assert "org/nothing" in done.stderr.splitlines()[-1] and " | " in done.stderr


@pytest.mark.parametrize("name", ["alpacca", "hub:", "hub:../../x", "hub:a/b/c"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(SftError) as caught:
        fetch(name)
    assert caught.value.hint
