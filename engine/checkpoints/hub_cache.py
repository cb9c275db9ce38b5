"""The standard Hugging Face cache, read without importing its client.

Layout: models--ORG--NAME/{blobs, refs/REVISION, snapshots/COMMIT}; a ref file holds a commit's hash, a snapshot
holds links into blobs. https://huggingface.co/docs/huggingface_hub/guides/manage-cache
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.checkpoints.reading import UnreadableError, is_folder, modified, open_regular

MAIN = "main"
_COMMIT = re.compile(r"[0-9a-f]{40}")
MODELS_PREFIX = "models--"
# huggingface_hub's rule for ids: at most one slash, 96 characters, no "--" and no ".." inside.
_PART = r"[A-Za-z0-9_](?:[\w.-]*[A-Za-z0-9_])?"
_GGUF = r"[^@\x00-\x1f\x7f]+\.gguf"
_REFERENCE = re.compile(rf"({_PART}(?:/{_PART})?)(?:/({_GGUF}))?(?:@([\w./-]+))?", re.ASCII | re.IGNORECASE)
_PAGE = re.compile(r"/(?P<id>[^/]+(?:/[^/]+)?)(?:/(?:tree|blob|resolve)/(?P<revision>[^/]+)(?:/(?P<file>.+))?)?/?")
_HOSTS = ("huggingface.co", "www.huggingface.co", "hf.co")
_NO_MODELS = ("datasets", "spaces", "docs", "papers", "collections", "settings", "models")  # other pages of the Hub


@dataclass(frozen=True, slots=True)
class HubReference:
    """What `org/name`, `org/name@revision` and `org/name/folder/file.gguf` mean. file: empty for the whole."""

    repo_id: str
    revision: str = MAIN
    file: str = ""

    @property
    def name(self) -> str:
        """How it is written, whatever was typed: an address of its page has a name too."""
        name = f"{self.repo_id}/{self.file}" if self.file else self.repo_id
        return name if self.revision == MAIN else f"{name}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Snapshot:
    """One revision of one repository in the cache. name: its id, with @revision unless it is main.

    refs: what points to it, main first; without any it is detached, left behind by a newer one.
    """

    name: str
    path: Path
    commit: str
    refs: tuple[str, ...] = ()


def parse_hub_reference(text: str) -> HubReference | None:
    """The Hub reference that a person typed, or the address of its page; None when it cannot be one."""
    match = _REFERENCE.fullmatch(_of_page(text) if text.startswith(("https://", "http://")) else text)
    if match is None:
        return None
    repo_id, file, revision = match[1], match[2] or "", match[3] or MAIN
    if len(repo_id) > 96 or "--" in repo_id or ".." in repo_id:
        return None
    if any(part in ("", ".", "..") for name in (revision, file or MAIN) for part in name.split("/")):
        return None  # both are paths below the repository's directory, and are to stay there
    return HubReference(repo_id, revision, file)


def _of_page(address: str) -> str:
    """The reference of what a page of the Hub shows, or the Hub sends there; empty when it is no such address."""
    try:
        url, ours = urlsplit(address), urlsplit(os.environ.get("HF_ENDPOINT") or "https://huggingface.co")
    except ValueError:
        return ""
    if url.netloc not in (ours.netloc, *_HOSTS):
        return ""
    page = _PAGE.fullmatch(url.path.removeprefix(ours.path.rstrip("/")) if url.netloc == ours.netloc else url.path)
    if page is None or page["id"].partition("/")[0] in _NO_MODELS:
        return ""
    file, revision = (unquote(page[name] or "") for name in ("file", "revision"))  # refs/pr/1 is written refs%2Fpr%2F1
    return f"{page['id']}{file and f'/{file}'}{revision and f'@{revision}'}"


def repository_dir(cache: Path, repo_id: str) -> Path:
    return cache / (MODELS_PREFIX + repo_id.replace("/", "--"))


def repository_id(repository: Path) -> str:
    """The id of a repository, from the name of its directory: "org/name"."""
    return repository.name.partition("--")[2].replace("--", "/")


def all_snapshots(cache: Path) -> Iterator[Snapshot]:
    """Every revision that a ref names, main first; of a repository without refs, its newest snapshot."""
    for repository in sorted(_children(cache)):
        if repository.name.startswith(MODELS_PREFIX):
            plain = repository_id(repository)
            for snapshot in repository_snapshots(repository):
                if snapshot.refs or snapshot.name == plain:
                    yield snapshot


def find_snapshot(cache: Path, reference: HubReference) -> Snapshot | None:
    """The snapshot of a revision (a branch, a tag or a commit), None when it is not in the cache."""
    wanted = _name(reference.repo_id, reference.revision)
    for snapshot in repository_snapshots(repository_dir(cache, reference.repo_id)):
        if wanted in (snapshot.name, *(_name(reference.repo_id, ref) for ref in snapshot.refs)):
            return snapshot
        if snapshot.commit == reference.revision:
            return replace(snapshot, name=wanted)
    return None


def _name(repo_id: str, revision: str) -> str:
    return repo_id if revision == MAIN else f"{repo_id}@{revision}"


def repository_snapshots(repository: Path) -> list[Snapshot]:
    """All revisions in a repository's directory: those that refs name, main first, then detached ones from the newest.

    Where no ref names any, the newest has the plain name.
    """
    repo_id = repository_id(repository)
    refs: dict[str, list[str]] = {}
    for ref, commit in _refs(repository / "refs"):
        refs.setdefault(commit, []).append(ref)
    paths = {path.name: path for path in _children(repository / "snapshots") if _COMMIT.fullmatch(path.name)}
    found = [
        Snapshot(_name(repo_id, names[0]), paths.pop(commit), commit, tuple(names))
        for commit, names in refs.items()
        if commit in paths
    ]
    for path in sorted(paths.values(), key=lambda path: (-modified(path), path.name)):
        found.append(Snapshot(f"{repo_id}@{path.name}" if found else repo_id, path, path.name))
    return found


def _refs(directory: Path) -> list[tuple[str, str]]:
    """(name, commit) of every ref, main first. A ref's name may hold slashes: refs/pr/1."""
    found: list[tuple[str, str]] = []
    for folder, _, files in os.walk(directory):
        for file in files:
            path = Path(folder, file)
            try:
                with open_regular(path) as opened:
                    commit = opened.read(64).decode("ascii", "replace").strip()
            except (OSError, UnreadableError):
                continue  # an unreadable ref names no revision; its snapshot is found as a detached one
            if _COMMIT.fullmatch(commit):
                found.append((path.relative_to(directory).as_posix(), commit))
    return sorted(found, key=lambda item: (item[0] != MAIN, item[0]))


def _children(directory: Path) -> list[Path]:
    """Subfolders in the order of the disk; none of a folder that is not there or cannot be read."""
    try:
        return [path for path in directory.iterdir() if is_folder(path)]
    except OSError:
        return []
