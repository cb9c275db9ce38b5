"""The files that make up a row's checkpoint, for verifying and exporting it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

# In a folder of the person's: the Hub client's own notes, a repository's history, what was deleted. No part of it.
_NO_PART = (".cache", ".git")
TRASH_PREFIX = ".hugchat-trash-"
_LINKS = 40  # one behind the other, as Linux allows


def files_of(key: Path) -> list[tuple[str, Path]]:
    """(name below the key, path) of every file and link, sorted; of a file itself. Linked folders are not entered.

    Raises OSError.
    """
    return sorted(_walk(key)) if key.is_dir() else [(key.name, key)]


def _walk(top: Path) -> Iterator[tuple[str, Path]]:
    def fail(error: OSError) -> None:
        raise error

    for folder, folders, files in os.walk(top, onerror=fail):
        links = [name for name in folders if Path(folder, name).is_symlink()]
        folders[:] = [name for name in folders if name not in _NO_PART and not name.startswith(TRASH_PREFIX)]
        for name in (*files, *links):
            path = Path(folder, name)
            yield path.relative_to(top).as_posix(), path


def hops(path: Path) -> Iterator[Path]:
    """Where a link leads to, one link after the other, each in its real folder; nothing for what is none."""
    for _ in range(_LINKS):
        if not path.is_symlink():
            return
        target = path.parent / path.readlink()
        path = Path(os.path.realpath(target.parent), target.name)
        yield path
