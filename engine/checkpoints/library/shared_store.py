"""The Hub client's store of files that several repositories of one cache share.

    <cache>/blobs/.huggingface-shared-blobs   marks the store; holds its layout's version, "1\\n"
    <cache>/blobs/<ab>/<hash>                 a file's content, by its 64-digit Xet hash, which begins with <ab>
    <cache>/blobs/<ab>/<hash>.refs            one line a user: "<repository>/blobs/<etag>", which links to the content
    <cache>/blobs/<ab>/<hash>.lock            held while any of this changes

A line counts only while its link is there. Content without a readable list of users is never deleted: it could be in
use. Source: huggingface_hub 2.4, utils/_shared_blobs.py.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Iterator
from pathlib import Path

from engine.checkpoints.reading import UnreadableError, read_whole

_NAME = "blobs"
_MARKER = ".huggingface-shared-blobs"
_VERSION = b"1\n"
_HASH = re.compile(r"[0-9a-f]{64}")
_PREFIX = re.compile(r"[0-9a-f]{2}")
_USER = re.compile(r"(?:models|datasets|spaces|kernels)--[^/]+/blobs/[^/]+")
_LIST_LIMIT = 16 * 1024 * 1024


def store_of(cache: Path) -> Path | None:
    """The cache's store, None when it has none or one whose layout we do not know."""
    store = cache / _NAME
    marker = store / _MARKER
    try:
        known = not store.is_symlink() and not marker.is_symlink() and read_whole(marker, len(_VERSION)) == _VERSION
    except (OSError, UnreadableError):
        return None
    return store if known else None


def content_of(blob: Path, store: Path) -> Path | None:
    """Where in the store the content of a repository's blob lies; None when the blob has its own."""
    try:
        target = Path(os.path.normpath(blob.parent / blob.readlink()))
    except OSError:
        return None
    inside = target.parent.parent == store and _HASH.fullmatch(target.name) and target.parent.name == target.name[:2]
    return target if inside and target.is_file() and not target.is_symlink() else None


def all_content(store: Path) -> Iterator[Path]:
    """Every content in the store. Raises OSError."""
    for folder in store.iterdir():
        if _PREFIX.fullmatch(folder.name) and folder.is_dir() and not folder.is_symlink():
            yield from (path for path in folder.iterdir() if _HASH.fullmatch(path.name) and path.is_file())


def list_of(content: Path) -> Path:
    return content.with_name(f"{content.name}.refs")


def lock_of(content: Path) -> Path:
    return content.with_name(f"{content.name}.lock")


def users_of(content: Path) -> set[Path] | None:
    """The blobs that link to a content; None when its list cannot be read, so that there may be more."""
    store = content.parent.parent
    blobs = listed_in(list_of(content), store.parent)
    return None if blobs is None else {blob for blob in blobs if content_of(blob, store) == content}


def listed_in(path: Path, cache: Path) -> set[Path] | None:
    """The blobs that a list of users names, which may lie in a trash now; None when it cannot be read."""
    try:
        data = None if path.is_symlink() else read_whole(path, _LIST_LIMIT)
        if data is None:
            return None
        lines = data.decode().splitlines()
    except (OSError, UnreadableError, UnicodeDecodeError):
        return None
    return {cache / line for line in lines if _USER.fullmatch(line) and ".." not in line.split("/")}


def freed_with(contents: Iterable[Path], going: set[Path]) -> Iterator[Path]:
    """Of these contents, the ones all of whose users are among the blobs that go."""
    for content in contents:
        users = users_of(content)
        if users is not None and users <= going:
            yield content


def add_user(content: Path, blob: Path) -> None:
    """See to it that the list of a content's users names this blob. Its lock is held by the caller.

    A list that cannot be read needs no name: what it belongs to is never deleted.
    """
    cache, path = content.parent.parent.parent, list_of(content)
    listed = listed_in(path, cache) if os.path.lexists(path) else set()
    if listed is not None and blob not in listed:
        with path.open("a", encoding="utf-8") as file:
            file.write(f"{blob.relative_to(cache).as_posix()}\n")
            file.flush()
            os.fsync(file.fileno())
