"""Directories that are built beside their place and then renamed into it: whole or absent, whatever interrupts."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from filelock import FileLock, Timeout

from engine.checkpoints.children import OnProgress

_WAIT_S = 0.2


@asynccontextmanager
async def alone(lock_path: Path, on_progress: OnProgress) -> AsyncIterator[None]:
    """Hold a lock, waiting for it in the stage "waiting". The system frees it when its holder dies, however."""
    lock = FileLock(lock_path, thread_local=False)
    while not await asyncio.to_thread(_acquired, lock):
        on_progress("waiting", 0, 0)
        await asyncio.sleep(_WAIT_S)
    try:
        yield
    finally:
        lock.release()


def _acquired(lock: FileLock) -> bool:
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    return True


@asynccontextmanager
async def temporary_directory(parent: Path, prefix: str) -> AsyncIterator[Path]:
    """A new directory in parent, gone at the end unless put_in_place took it away."""
    directory = Path(await asyncio.to_thread(tempfile.mkdtemp, prefix=prefix, dir=parent))
    try:
        yield directory
    finally:
        await asyncio.to_thread(shutil.rmtree, directory, ignore_errors=True)


def remove_leftovers(parent: Path, prefix: str) -> None:
    """Delete what attempts that were killed left behind. Only for whoever alone may make such directories."""
    for path in parent.glob(f"{prefix}*"):
        shutil.rmtree(path)


def put_in_place(directory: Path, target: Path) -> None:
    """Give a finished, flushed directory its name. Raises FileExistsError when the name is taken."""
    if os.path.lexists(target):  # rename would replace an empty directory without a word
        raise FileExistsError(f"{target} is there already")
    directory.chmod(0o755)  # mkdtemp lets nobody else in
    directory.rename(target)
    flush(target.parent)


def flush_tree(directory: Path) -> None:
    """fsync every file and folder below a directory and itself, so that a rename shows the whole or nothing."""
    for folder, _, files in os.walk(directory, topdown=False):
        for name in files:
            flush(Path(folder, name))
        flush(Path(folder))


def flush(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
