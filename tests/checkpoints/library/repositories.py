"""Repositories of the Hugging Face cache as its client makes them, and what `du` says of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from engine.checkpoints.library.inventory import Stocktaking
from engine.checkpoints.library.removal import Removal, plan_removal
from engine.checkpoints.library.rows import Inventory, Places, Row
from engine.checkpoints.library.trash import Trash
from tests.checkpoints.builders import LLAMA

CONFIG = json.dumps(LLAMA).encode()
WEIGHTS = b"w" * 20_000


def commit_of(text: str) -> str:
    """A commit's hash, made up."""
    return hashlib.sha1(text.encode()).hexdigest()


def etag_of(content: bytes, *, lfs: bool = False) -> str:
    """The name of a blob: sha256 of a large file, git's hash of others."""
    if lfs:
        return hashlib.sha256(content).hexdigest()
    return hashlib.sha1(b"blob %d\0" % len(content) + content).hexdigest()


def add_revision(cache: Path, repo_id: str, revision: str, files: Mapping[str, bytes], *, ref: str = "") -> Path:
    """One more revision: blobs, the links to them, the listing and the locks; the snapshot's directory."""
    repository = cache / ("models--" + repo_id.replace("/", "--"))
    commit = commit_of(f"{repo_id} {revision}")
    snapshot = repository / "snapshots" / commit
    for directory in (repository / "blobs", snapshot, repository / "trees", cache / ".locks" / repository.name):
        directory.mkdir(parents=True, exist_ok=True)
    (repository / "trees" / f"{commit}.json").write_text("{}")
    for name, content in files.items():
        etag = etag_of(content, lfs=name.endswith((".safetensors", ".gguf", ".bin")))
        blob = repository / "blobs" / etag
        if not blob.exists():
            blob.write_bytes(content)
        (cache / ".locks" / repository.name / f"{etag}.lock").touch()
        link = snapshot / name
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(os.path.relpath(blob, link.parent))
    if ref:
        path = repository / "refs" / ref
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(commit)
    return snapshot


def share(blob: Path, cache: Path) -> Path:
    """Move a blob's content into the store that repositories share, as the client does; where it lies now."""
    key = hashlib.sha256(b"xet" + blob.read_bytes()).hexdigest()
    stored = cache / "blobs" / key[:2] / key
    stored.parent.mkdir(parents=True, exist_ok=True)
    (cache / "blobs" / ".huggingface-shared-blobs").write_text("1\n")
    stored.with_name(f"{key}.lock").touch()
    with stored.with_name(f"{key}.refs").open("a") as file:
        file.write(f"{blob.relative_to(cache).as_posix()}\n")
    blob.rename(stored)
    blob.symlink_to(os.path.relpath(stored, blob.parent))
    return stored


def du(*paths: Path) -> int:
    """Bytes that files, folders and links below these paths take up, each inode once."""
    answer = subprocess.run(["du", "-sc", "--block-size=1", *paths], capture_output=True, check=True, text=True)
    return int(answer.stdout.splitlines()[-1].split()[0])


def contents(top: Path) -> dict[str, bytes | str | None]:
    """Everything below a folder: bytes of files, targets of links, None for folders."""
    found: dict[str, bytes | str | None] = {}
    for path in sorted(top.rglob("*")):
        name = str(path.relative_to(top))
        found[name] = str(path.readlink()) if path.is_symlink() else path.read_bytes() if path.is_file() else None
    return found


def inventory(places: Places) -> Inventory:
    stocktaking = Stocktaking(places, {})
    list(stocktaking.rows())
    return stocktaking.inventory()


def plan(places: Places, *paths: Path) -> Removal:
    """What deleting the rows with these paths means."""
    rows = rows_of(places)
    keys = {str(path) for path in paths}
    return plan_removal([row for row in rows if row.key in keys], rows, places)


def rows_of(places: Places) -> tuple[Row, ...]:
    return inventory(places).rows


def row_at(places: Places, path: Path) -> Row:
    return next(row for row in rows_of(places) if row.key == str(path))


def two_revisions(places: Places) -> tuple[Path, Path]:
    """Two revisions that share their weights."""
    files = {"model.safetensors": WEIGHTS, "config.json": CONFIG, "sub/notes.txt": b"notes"}
    one = add_revision(places.cache_dir, "org/m", "1", files, ref="main")
    return one, add_revision(places.cache_dir, "org/m", "2", files | {"config.json": b"{}"}, ref="refs/pr/1")


def trashes(places: Places) -> list[Path]:
    return sorted(places.cache_dir.parent.rglob(".hugchat-trash-*"))


def carry_out(places: Places, removal: Removal) -> None:
    trash = Trash(places)
    trash.discard(removal)
    assert trash.empty() == ()


def refusal(places: Places, row: Row) -> str:
    removal = plan_removal([row], [*rows_of(places), row], places)
    assert removal.paths == ()
    assert removal.rows == ()
    return removal.refuses[0].why
