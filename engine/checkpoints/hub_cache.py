"""The standard Hugging Face cache, read without importing its client.

Layout: models--ORG--NAME/{blobs, refs/REVISION, snapshots/COMMIT}; a ref file holds a commit's hash, a snapshot
holds links into blobs. https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.reading import is_folder

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
_PREFIX = "models--"
# huggingface_hub's rule for ids: at most one slash, 96 characters, no "--" and no ".." inside.
_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_REFERENCE = re.compile(rf"({_PART}(?:/{_PART})?)(?:/([^/@]+\.gguf))?(?:@([\w./-]+))?", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class HubReference:
    """What `org/name`, `org/name@revision` and `org/name/file.gguf` mean. file: empty for the whole."""

    repo_id: str
    revision: str = MAIN
    file: str = ""


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision of one repository in the cache. name: its id, with @revision unless it is main."""

    name: str
    path: Path
    commit: str


def parse_hub_reference(text: str) -> HubReference | None:
    """The Hub reference that a person typed, None when it cannot be one."""
    match = _REFERENCE.fullmatch(text)
    if match is None:
        return None
    repo_id, file, revision = match[1], match[2] or "", match[3] or MAIN
    if len(repo_id) > 96 or "--" in repo_id or ".." in repo_id or ".." in revision.split("/"):
        return None
    return HubReference(repo_id, revision, file)


def repository_dir(cache: Path, repo_id: str) -> Path:
    return cache / (_PREFIX + repo_id.replace("/", "--"))


def all_snapshots(cache: Path) -> Iterator[Snapshot]:
    """Every revision that a ref names, main first; of a repository without refs, its newest snapshot."""
    for repository in sorted(_children(cache)):
        if repository.name.startswith(_PREFIX):
            repo_id = repository.name.removeprefix(_PREFIX).replace("--", "/")
            yield from _snapshots(repository, repo_id)


def find_snapshot(cache: Path, reference: HubReference) -> Snapshot | None:
    """The snapshot of a revision (a branch, a tag or a commit), None when it is not in the cache."""
    repository = repository_dir(cache, reference.repo_id)
    for snapshot in _snapshots(repository, reference.repo_id):
        if snapshot.name == _name(reference.repo_id, reference.revision):
            return snapshot
    path = repository / "snapshots" / reference.revision
    if _COMMIT.fullmatch(reference.revision) and is_folder(path):
        return Snapshot(_name(reference.repo_id, reference.revision), path, reference.revision)
    return None


def _name(repo_id: str, revision: str) -> str:
    return repo_id if revision == MAIN else f"{repo_id}@{revision}"


def _snapshots(repository: Path, repo_id: str) -> Iterator[Snapshot]:
    seen: set[str] = set()
    for ref, commit in _refs(repository / "refs"):
        path = repository / "snapshots" / commit
        if commit not in seen and is_folder(path):
            seen.add(commit)
            yield Snapshot(_name(repo_id, ref), path, commit)
    if not seen:
        detached = [path for path in _children(repository / "snapshots") if _COMMIT.fullmatch(path.name)]
        if detached:
            newest = max(detached, key=lambda path: path.lstat().st_mtime)
            yield Snapshot(repo_id, newest, newest.name)


def _refs(directory: Path) -> list[tuple[str, str]]:
    """(name, commit) of every ref, main first. A ref's name may hold slashes: refs/pr/1."""
    found: list[tuple[str, str]] = []
    for folder, _, files in os.walk(directory):
        for file in files:
            path = Path(folder, file)
            try:
                with path.open("rb") as opened:
                    commit = opened.read(64).decode("ascii", "replace").strip()
            except OSError:
                continue  # an unreadable ref names no revision; its snapshot is found as a detached one
            if _COMMIT.fullmatch(commit):
                found.append((path.relative_to(directory).as_posix(), commit))
    return sorted(found, key=lambda item: (item[0] != MAIN, item[0]))


def _children(directory: Path) -> list[Path]:
    """Subfolders; none of a folder that is not there or cannot be read."""
    try:
        return [path for path in directory.iterdir() if is_folder(path)]
    except OSError:
        return []
