"""Deleting with a way back: what is deleted is renamed into a trash, and really gone when the program closes.

A trash is a hidden folder, .hugchat-trash-<id>, on the file system of what is in it, so that nothing is ever copied:
for the Hugging Face cache beside the cache's folder, or in its .locks where the cache is a file system of its own (both
are places that the Hub's client does not scan), for everything else beside what is deleted.

data/trash/<id>.jsonl is the journal: {"number", "moves": [[from, to], ...]} before anything is moved, then {"done":
number}, and {"restoring": number} and {"restored": number} around an undo. <id>.lock is held while its process lives;
the system frees it when the process dies, however. The next start then puts back what was moved by a deletion that
did not come to its end, or not yet moved back by an undo, and deletes the rest. A journal that says anything else is
of another version of this program: it and its trash are left alone.
"""

from __future__ import annotations

import errno
import json
import logging
import os
import re
import secrets
import shutil
import stat
import threading
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from engine.checkpoints.library.removal import Removal, plan_removal
from engine.checkpoints.library.row_files import TRASH_PREFIX
from engine.checkpoints.library.rows import Places, Row
from engine.checkpoints.library.shared_store import add_user, listed_in, lock_of, store_of
from engine.checkpoints.reading import reason
from engine.errors import EngineError

_REPOSITORY = re.compile(r"(?:models|datasets|spaces|kernels)--.+")
_NO_PLACE = (errno.EXDEV, errno.EACCES, errno.EPERM, errno.EROFS)  # then another place may do
_LOCK_WAIT_S = 5.0  # for locks that others hold for a moment only

_log = logging.getLogger(__name__)

Move = tuple[Path, Path]
"""From where to where."""


class RemovalError(EngineError):
    """A deletion or its undo was not carried out."""

    code = "removal"


class NoTrashError(RemovalError):
    """What is to be deleted cannot be renamed into a trash; Trash.delete_for_good can still delete it."""


@dataclass(frozen=True, slots=True)
class Discarded:
    """A deletion that can be undone. freed_bytes: what emptying the trash will free of it."""

    number: int
    rows: tuple[Row, ...]
    freed_bytes: int
    moves: tuple[Move, ...]


class _UnknownJournalError(Exception):
    """A journal says what this version does not know."""


@dataclass(slots=True)
class _Record:
    """What a journal says of one deletion."""

    moves: list[Move] = field(default_factory=list)
    done: bool = False
    restoring: bool = False
    restored: bool = False


class Trash:
    """This process's trash. Every method blocks on the disk: call it in a thread; calls wait for each other."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._folder = places.data_dir / "trash"
        self._id = f"{os.getpid()}-{secrets.token_hex(4)}"
        self._journal = self._folder / f"{self._id}.jsonl"
        self._held: FileLock | None = None
        self._count = 0
        self._lock = threading.Lock()

    def settle(self) -> tuple[str, ...]:
        """At the start: what processes that are dead left in their trashes is put right and deleted.

        Returns what could not be, in words; the next start tries again.
        """
        problems: list[str] = []
        with self._lock:
            for path in sorted({file.with_suffix(".lock") for file in self._folder.glob("*.*")}):
                try:
                    with FileLock(path).acquire(blocking=False):
                        problems += _settle(path.with_suffix(".jsonl"))
                except Timeout:
                    continue  # its process lives
                except OSError as error:
                    problems.append(f"The trash {path.stem} cannot be looked at: {reason(error)}.")
        return tuple(problems)

    def discard(self, removal: Removal) -> Discarded:
        """Carry out a plan, if it is still the right one. Raises NoTrashError or RemovalError."""
        with self._lock, _nobody_uses(removal):
            self._count += 1
            record = _Record()
            try:
                self._open()
                self._move_all(removal.paths, record)
                self._note({"done": self._count})
            except (OSError, Timeout) as error:
                self._put_back_or_log(record.moves)
                raise _failed(error) from error
            moves = tuple((source, target) for source, target in record.moves if os.path.lexists(target))
            return Discarded(self._count, removal.rows, removal.freed_bytes, moves)

    def restore(self, discarded: Discarded) -> None:
        """Undo a deletion: everything is where it was. Raises RemovalError, also once the trash is emptied.

        What a download brought back into the cache meanwhile stays as it is now, and what is not there again joins it:
        blobs and revisions are what their names say, and a ref that is there again is the newer one.
        """
        with self._lock:
            left = [move for move in discarded.moves if os.path.lexists(move[1])]
            back = [source for source, target in discarded.moves if (source, target) not in left]
            if not left or not all(map(os.path.lexists, back)):  # by an undo that did not come to its end
                raise RemovalError("That is no longer in the trash.", "Look through the library again.")
            for source, _ in left:
                if os.path.lexists(source) and self._cache_of(source) is None:
                    raise RemovalError(
                        f"There is something at {source} again, so that what was deleted cannot come back.",
                        "Move away what is there now, then undo.",
                    )
            try:
                self._note({"restoring": discarded.number})
                _put_back(discarded.moves)
                self._note({"restored": discarded.number})
            except OSError as error:
                raise RemovalError(
                    f"Not all that was deleted could be brought back: {reason(error)}: {error.filename}.",
                    "Put that right and undo again; the next start of the program tries it too.",
                ) from error

    def empty(self) -> tuple[str, ...]:
        """When the program closes: delete for good what is in the trash. Returns what could not be, in words."""
        with self._lock:
            if self._held is None:
                return ()
            problems = _settle(self._journal)
            self._held.release()
            self._held = None
            return problems

    def delete_for_good(self, removal: Removal) -> None:
        """Carry out a plan without a way back. Raises RemovalError, which says what is left."""
        with self._lock, _nobody_uses(removal):
            for path in removal.paths:
                try:
                    _remove(path)
                except OSError as error:
                    raise RemovalError(
                        f"{path} could not be deleted: {reason(error)}. What was to go before it is gone.",
                        "Put that right, look through the library again, and delete the rest.",
                    ) from error

    def _open(self) -> None:
        if self._held is not None:
            return
        self._folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self._journal.with_suffix(".lock"), thread_local=False)
        lock.acquire(timeout=_LOCK_WAIT_S)
        self._held = lock

    def _note(self, line: object) -> None:
        left = memoryview(f"{json.dumps(line)}\n".encode("ascii"))
        with self._journal.open("ab", buffering=0) as file:
            end = file.tell()
            try:
                while left:
                    left = left[file.write(left) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(end)  # half a line of a full disk would make the next one unreadable
                raise

    def _move_all(self, paths: Sequence[Path], record: _Record) -> None:
        """Every move is in the journal before it is made. record.moves: those that were tried."""
        planned = [
            (path, [parent / f"{TRASH_PREFIX}{self._id}" / f"{self._count}-{index}" for parent in self._parents(path)])
            for index, path in enumerate(paths)
        ]
        first = [[str(path), str(targets[0])] for path, targets in planned]
        self._note({"number": self._count, "moves": first})
        for path, targets in planned:
            for target, is_last in zip(targets, [*[False] * (len(targets) - 1), True], strict=True):
                if target != targets[0]:
                    self._note({"number": self._count, "moves": [[str(path), str(target)]]})
                record.moves.append((path, target))
                try:
                    target.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    path.rename(target)
                    break
                except OSError as error:
                    if is_last or error.errno not in _NO_PLACE:
                        raise

    def _parents(self, path: Path) -> list[Path]:
        """The folders in which a trash for this path may be made, the best first."""
        cache = self._cache_of(path)
        if cache is None:
            return [path.parent]
        beside, inside = cache.parent, cache / ".locks"
        return [beside, inside] if beside.stat().st_dev == cache.stat().st_dev else [inside]

    def _cache_of(self, path: Path) -> Path | None:
        if path.is_relative_to(self._places.cache_dir):
            return self._places.cache_dir
        for inner, outer in zip((path, *path.parents), path.parents, strict=False):  # another one, in a folder
            if _REPOSITORY.fullmatch(inner.name) or store_of(outer) == inner:
                return outer.parent if outer.name == ".locks" else outer
        return None

    def _put_back_or_log(self, moves: Sequence[Move]) -> None:
        """After a failure. What cannot be put back now is put back by the next start, as the journal says."""
        try:
            _put_back(moves)
        except OSError:
            _log.exception("what was moved could not be put back")


@contextmanager
def _nobody_uses(removal: Removal) -> Iterator[None]:
    """Hold the locks of shared contents that go, and see that the plan is still the right one."""
    locks = [FileLock(lock_of(path)) for path in removal.paths if _is_content(path)]
    with ExitStack() as stack:
        try:
            now = plan_removal(removal.rows, removal.among, removal.places)
            for lock in locks:
                stack.enter_context(lock.acquire(blocking=False))
        except (Timeout, OSError) as error:
            raise RemovalError("Another program is using it right now.", "Wait for its end and try again.") from error
        if now.refuses:
            raise RemovalError(f"{now.refuses[0].row.name} cannot be deleted. {now.refuses[0].why}")
        if now.paths != removal.paths or not now.paths:
            raise RemovalError(
                "What was to be deleted has changed since you were asked.", "Look at it again, then delete it."
            )
        yield


def _is_content(path: Path) -> bool:
    return store_of(path.parent.parent.parent) == path.parent.parent and path.suffix != ".refs"


def _put_back(moves: Sequence[Move]) -> None:
    """The last one first, as far as they were made. May be done again after it failed in between."""
    for source, target in reversed(moves):
        if os.path.lexists(target):
            source.parent.mkdir(parents=True, exist_ok=True)
            _bring_back(source, target)


def _bring_back(source: Path, target: Path) -> None:
    """A path to where it was; of a folder that is there again what it lacks, of a list of users their names."""
    if not os.path.lexists(source):
        target.rename(source)
    elif _is_folder(target) and _is_folder(source):
        for child in sorted(target.iterdir()):
            _bring_back(source / child.name, child)
    elif source.suffix == ".refs" and _is_content(source.with_suffix("")):
        content = source.with_suffix("")
        with FileLock(lock_of(content)).acquire(timeout=_LOCK_WAIT_S):
            for blob in listed_in(target, content.parent.parent.parent) or ():
                add_user(content, blob)


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _settle(journal: Path) -> tuple[str, ...]:
    """Put back what did not come to its end, delete the rest, and then the journal."""
    problems: list[str] = []
    try:
        records = _read(journal)
    except _UnknownJournalError:
        return (f"{journal} was written by another version of this program. It and its trash stay as they are.",)
    for record in records.values():
        try:
            if not record.done or (record.restoring and not record.restored):
                _put_back(record.moves)
            for _, target in record.moves:
                if os.path.lexists(target) and target.parent.name.startswith(TRASH_PREFIX):
                    _remove(target)
                with suppress(OSError):  # not empty yet, or gone with another one
                    target.parent.rmdir()
        except OSError as error:
            problems.append(f"The trash of {record.moves[0][0]} could not be emptied: {reason(error)}.")
    if not problems:
        journal.unlink(missing_ok=True)
        journal.with_suffix(".lock").unlink(missing_ok=True)
    return tuple(problems)


def _read(journal: Path) -> dict[int, _Record]:
    """By number. The last line may be cut off; then what it would have said did not happen.

    Raises _UnknownJournalError, and OSError.
    """
    records: dict[int, _Record] = {}
    lines = journal.read_text("ascii", "replace").splitlines() if journal.exists() else []
    for position, line in enumerate(lines, 1):
        try:
            said = json.loads(line)
        except (ValueError, RecursionError):
            if position == len(lines):
                break
            raise _UnknownJournalError from None
        match said:
            case {"number": int(number), "moves": list(moves), **rest} if not rest and all(map(_is_move, moves)):
                record = records.setdefault(number, _Record())
                record.moves += [(Path(source), Path(target)) for source, target in moves]
            case {"done": int(number), **rest} if number in records and not rest:
                records[number].done = True
            case {"restoring": int(number), **rest} if number in records and not rest:
                records[number].restoring = True
            case {"restored": int(number), **rest} if number in records and not rest:
                records[number].restored = True
            case _:
                raise _UnknownJournalError
    return records


def _is_move(value: object) -> bool:
    return isinstance(value, list) and len(value) == 2 and all(isinstance(each, str) for each in value)


def _remove(path: Path) -> None:
    if not _is_folder(path):
        path.unlink()
        return
    try:
        shutil.rmtree(path)
    except PermissionError:
        path.chmod(stat.S_IRWXU)
        for folder, folders, _ in os.walk(path):  # some that were made read-only, or closed altogether
            for name in folders:
                if not (inside := Path(folder, name)).is_symlink():
                    inside.chmod(stat.S_IRWXU)
        shutil.rmtree(path)


def _failed(error: OSError | Timeout) -> RemovalError:
    if isinstance(error, Timeout):
        return RemovalError("The trash is in use by another program.", "Try again.")
    if error.errno in (errno.EXDEV, errno.ENOSPC, errno.EDQUOT):
        return NoTrashError(
            f"It cannot be moved into a trash: {reason(error)}.",
            "It can still be deleted for good, without a way back.",
        )
    where = f": {error.filename}" if error.filename is not None else ""
    return RemovalError(f"It could not be deleted: {reason(error)}{where}.", "Put that right and try again.")
