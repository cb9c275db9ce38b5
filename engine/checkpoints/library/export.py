"""Writes a checkpoint as a plain folder of real files, which any program can load, move or pack.

    python -m engine.checkpoints.library.export KEY FOLDER CACHE

Files are never linked to those of the cache: a program that trains on the folder or edits in it writes into the files
it finds there, and would change the cache with them. Where the file system can, a copy shares its blocks until one of
the two is changed (btrfs, XFS, APFS), so that it takes neither time nor space.

The child prints lines of JSON: {"stage", "done", "total"}, and {"error"} if it fails.
"""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from engine.checkpoints.children import ChildFailedError, OnProgress, Report, connect_to_parent, run_module
from engine.checkpoints.library.row_files import files_of
from engine.checkpoints.library.rows import Row
from engine.checkpoints.making import flush_tree, put_in_place, temporary_directory
from engine.checkpoints.reading import UnreadableError, open_regular, reason
from engine.errors import EngineError
from engine.priority import lower_priority

_TEMPORARY = ".hugchat-export-"
_NICENESS = 10
_CHUNK = 16 * 1024 * 1024
_ROOM = 1_000_000  # for folders and the ends of blocks
_NOT_THERE = (errno.EXDEV, errno.ENOSYS, errno.EINVAL, errno.EOPNOTSUPP, errno.EPERM, errno.EBADF)


class ExportError(EngineError):
    """A checkpoint could not be written to a folder; nothing of it is left there."""

    code = "export"


async def export(row: Row, destination: Path, on_progress: OnProgress) -> Path:
    """Copy a row's checkpoint into a new folder, whole or not at all; the folder.

    destination: must not be there yet, and its parent must. A GGUF file comes to lie in the folder under its own name.
    on_progress: the stage "copying", in bytes. Cancelling kills the child and leaves nothing. Raises ExportError.
    """
    try:
        destination, cache = await asyncio.to_thread(_check, row, destination)
        async with _temporary(destination.parent) as directory:
            await _copy(row, directory, cache, on_progress)
            await asyncio.to_thread(put_in_place, directory, destination)
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise ExportError(
            f"{row.name} could not be written to {destination}: {reason(error)}.",
            "Make room or give access there, or choose another folder.",
        ) from error
    return destination


def _check(row: Row, destination: Path) -> tuple[Path, str]:
    """Look before anything is copied. (destination, the real path of the cache that links have to stay in, or "")."""
    destination = destination.expanduser().absolute()
    if row.checkpoint is None:
        raise ExportError(f"{row.name} is no checkpoint.", "Choose a model, an adapter or a GGUF file.")
    if os.path.lexists(destination):
        raise ExportError(f"There is something at {destination} already.", "Choose another name.")
    if not destination.parent.is_dir():
        raise ExportError(f"There is no folder {destination.parent}.", "Make it first, or choose another one.")
    key = Path(row.key)
    parent = destination.parent.resolve()
    cache = _cache_of(key) if row.source == "cache" else ""
    if (cache and parent.is_relative_to(cache)) or parent.is_relative_to(key.resolve()):
        raise ExportError(f"{destination} lies among the files to be copied.", "Choose a folder elsewhere.")
    files = files_of(key)
    if missing := [name for name, path in files if not path.exists()]:
        raise ExportError(f"{row.name} is not whole: {missing[0]} is missing.", "Fetch it again.")
    needed = sum(path.stat().st_size for _, path in files) + _ROOM
    free = shutil.disk_usage(parent).free
    if needed > free:
        raise ExportError(
            f"{row.name} needs {needed / 1e9:.2f} GB in {destination.parent}; {free / 1e9:.2f} GB are free.",
            "Make room there, or choose another disk.",
        )
    return destination, cache


def _cache_of(key: Path) -> str:
    """The cache that a snapshot, or a file in it, belongs to: <cache>/<repository>/snapshots/<commit>."""
    snapshots = next((path for path in key.parents if path.name == "snapshots"), None)
    if snapshots is None:
        raise ExportError(f"{key} is no revision of a cached repository.", "Look through the library again.")
    return os.path.realpath(snapshots.parent.parent)


@asynccontextmanager
async def _temporary(parent: Path) -> AsyncIterator[Path]:
    """A folder for the copy that is locked while we live; those of processes that were killed are deleted."""
    await asyncio.to_thread(_remove_leftovers, parent)
    async with temporary_directory(parent, _TEMPORARY) as directory:
        descriptor = os.open(directory, os.O_RDONLY | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            yield directory
        finally:
            os.close(descriptor)


def _remove_leftovers(parent: Path) -> None:
    """What is not ours to open or delete, in a folder that several people use, stays."""
    for path in parent.glob(f"{_TEMPORARY}*"):
        with suppress(OSError):  # BlockingIOError: its process lives
            descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(path)
            finally:
                os.close(descriptor)


async def _copy(row: Row, directory: Path, cache: str, on_progress: OnProgress) -> None:
    failure = ""

    def on_line(line: str) -> None:
        nonlocal failure
        message = json.loads(line)
        if "stage" in message:
            on_progress(message["stage"], message["done"], message["total"])
        else:
            failure = message["error"]

    arguments = (row.key, str(directory), cache)
    try:
        await run_module(("engine.checkpoints.library.export", *arguments), on_line)
    except ChildFailedError as error:
        why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
        raise ExportError(f"{row.name} could not be copied: {why}", "Try again.") from error
    if failure:
        raise ExportError(f"{row.name} could not be copied. {failure}", "Verify it, and fetch it again if need be.")


def copy_files(key: Path, directory: Path, cache: str, report: Report) -> None:
    """The child's work: every file, with what is behind links, flushed to the disk. Raises UnreadableError, OSError."""
    files = files_of(key)
    total = sum(path.stat().st_size for _, path in files)
    done = 0
    for name, path in files:
        real = os.path.realpath(path)
        if cache and not real.startswith(cache + os.sep):
            raise UnreadableError(f"{name} is a link that leads out of the cache")
        if path.is_dir():
            raise UnreadableError(f"{name} is a link to a folder")
        target = directory / name
        target.parent.mkdir(parents=True, exist_ok=True)
        with open_regular(path) as source, target.open("xb") as out:
            size = os.fstat(source.fileno()).st_size
            written = 0
            while written < size:
                count = _copy_some(source.fileno(), out.fileno(), written)
                if not count:
                    raise UnreadableError(f"{name} became shorter while it was copied")
                written += count
                report({"stage": "copying", "done": done + written, "total": total})
        done += size
    flush_tree(directory)


def _copy_some(source: int, out: int, position: int) -> int:
    """Up to _CHUNK bytes from there on, by the kernel where it can; how many."""
    if hasattr(os, "copy_file_range"):
        try:
            return os.copy_file_range(source, out, _CHUNK, position, position)
        except OSError as error:
            if error.errno not in _NOT_THERE:
                raise
    return os.pwrite(out, os.pread(source, _CHUNK, position), position)


def main() -> None:
    report = connect_to_parent()
    lower_priority(_NICENESS)
    key, directory, cache = sys.argv[1:]
    try:
        copy_files(Path(key), Path(directory), cache, report)
    except UnreadableError as error:
        report({"error": f"{error}."})
    except OSError as error:
        report({"error": f"{error.filename or key}: {reason(error)}."})


if __name__ == "__main__":
    main()
