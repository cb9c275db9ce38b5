"""Files of a commit in a repository of the cache: what is known of one, its checksum, and its name in the snapshot."""

from __future__ import annotations

import errno
import hashlib
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from engine.checkpoints.downloads.job import WantedFile

_NO_LINKS = frozenset({errno.EPERM, errno.ENOTSUP, errno.ENOSYS, errno.EINVAL})  # of a file system without links

FileState = Literal["queued", "downloading", "checking", "waiting", "done"]


@dataclass(slots=True)
class Progress:
    """What is known of one file's transfer, for those who show it."""

    wanted: WantedFile
    state: FileState = "queued"
    done: int = 0


def has_size(path: Path, size: int) -> bool:
    try:
        return path.stat().st_size == size
    except OSError:
        return False


def new_digest(wanted: WantedFile) -> hashlib._Hash:
    """Of the file's bytes it makes what the Hub calls the file by."""
    if wanted.large:
        return hashlib.sha256()
    return hashlib.sha1(b"blob %d\0" % wanted.size, usedforsecurity=False)


def link(blob: Path, pointer: Path) -> None:
    """Let the snapshot's name lead to the blob by a relative link, as the Hub's client does, else be a copy of it."""
    pointer.parent.mkdir(parents=True, exist_ok=True)
    temporary = pointer.with_name(f".{pointer.name[:100]}.{os.getpid()}.tmp")
    temporary.unlink(missing_ok=True)
    try:
        temporary.symlink_to(os.path.relpath(blob, pointer.parent))
    except OSError as error:
        if error.errno not in _NO_LINKS:
            raise
        shutil.copyfile(blob, temporary)
        temporary.replace(pointer)
    else:
        temporary.replace(pointer)
