"""The directory of a download: what was asked for, the plan that was made of it, and how far it is.

    downloads/ID/job.json      the request; from the Hub's answer on also the commit and its files
    downloads/ID/status.json   a Status, replaced as a whole several times a second by the download's process
    downloads/ID/lock          held by that process as long as it lives
    downloads/ID/log.txt       what the process printed
    downloads/ID/seen          there, once somebody has been told that it is done

Everything that is known is in these files, so a download does not need the program that began it.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
from collections.abc import Iterator
from pathlib import Path

import msgspec
from filelock import FileLock, Timeout

from engine.checkpoints.downloads.partial import discard
from engine.checkpoints.downloads.status import Status
from engine.checkpoints.hub_cache import HubReference, repository_dir
from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.paths import downloads_dir
from engine.checkpoints.reading import reason

_UNFIT = re.compile(r"[^\w.-]+")


class WantedFile(msgspec.Struct, frozen=True):
    """A file of the commit. etag: its sha256 if it is a large one (LFS), else git's sha1 of it as a blob.

    here: it was in the cache before the download began.
    """

    path: str
    size: int
    etag: str
    large: bool
    here: bool = False


class Plan(msgspec.Struct, frozen=True):
    """What the Hub said: the commit that the revision named, and the files of it that are wanted.

    before: what the commit's snapshot held already, whosoever fetched it. ref: the commit that the revision named in
    the cache then, empty when it named none.
    """

    commit: str
    files: tuple[WantedFile, ...]
    before: tuple[str, ...] = ()
    ref: str = ""


class Request(msgspec.Struct, frozen=True):
    """What was asked for. given_up: plans whose commits the Hub has no more; what came of them may be of use yet."""

    repo_id: str
    revision: str
    file: str
    cache_dir: str
    plan: Plan | None = None
    given_up: tuple[Plan, ...] = ()

    @property
    def reference(self) -> HubReference:
        return HubReference(self.repo_id, self.revision, self.file)

    @property
    def repository(self) -> Path:
        return repository_dir(Path(self.cache_dir), self.repo_id)

    @property
    def ref(self) -> Path:
        """The file in the cache that says which commit the revision names."""
        return self.repository / "refs" / self.revision


class Job:
    """One download's directory."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.status_path = directory / "status.json"
        self.log_path = directory / "log.txt"

    @classmethod
    def of(cls, data: Path, reference: HubReference, cache: Path) -> Job:
        """The place of the download of this reference into this cache."""
        text = f"{reference.repo_id}\n{reference.revision}\n{reference.file}\n{cache}"
        digest = hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()[:10]
        return cls(downloads_dir(data) / f"{_UNFIT.sub('-', reference.repo_id)}-{digest}")

    @property
    def id(self) -> str:
        return self.directory.name

    def create(self, request: Request) -> None:
        """Write the request, unless the download is there already. Raises OSError."""
        if self.request() is None:
            self.directory.mkdir(parents=True, exist_ok=True)
            self.save_request(request)
            self.save_status(self.first_status(request))

    def first_status(self, request: Request) -> Status:
        return Status(
            id=self.id,
            repo_id=request.repo_id,
            revision=request.revision,
            file=request.file,
            cache_dir=request.cache_dir,
            commit=request.plan.commit if request.plan is not None else "",
        )

    def request(self) -> Request | None:
        """What was asked for; None when there is no download here, or nothing that can be read."""
        try:
            return msgspec.json.decode((self.directory / "job.json").read_bytes(), type=Request)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def save_request(self, request: Request) -> None:
        _replace(self.directory / "job.json", msgspec.json.encode(request), durable=True)

    def status(self) -> Status | None:
        try:
            return msgspec.json.decode(self.status_path.read_bytes(), type=Status)
        except (OSError, msgspec.DecodeError, UnicodeDecodeError):
            return None

    def save_status(self, status: Status) -> None:
        _replace(self.status_path, msgspec.json.encode(status))

    def lock(self) -> FileLock:
        return FileLock(self.directory / "lock", thread_local=False)

    def note_link(self, commit: str, path: str) -> None:
        """Remember that this download gives a file its name in the commit's snapshot."""
        links = self.directory / "links.txt"
        try:
            with links.open("a", encoding="utf-8") as file:
                file.write(f"{commit}/{path}\n")
        except OSError as error:
            error.filename = error.filename or str(links)
            raise

    def links(self, commit: str) -> set[str]:
        """Paths in the commit's snapshot that this download gave their names."""
        try:
            lines = (self.directory / "links.txt").read_text("utf-8").splitlines()
        except OSError:
            return set()
        return {line.removeprefix(f"{commit}/") for line in lines if line.startswith(f"{commit}/")}

    def give_up_plan(self) -> None:
        """Forget the plan, so that the next try makes a new one; what came is kept for that. Raises OSError."""
        request = self.request()
        if request is not None and request.plan is not None:
            given_up = (*request.given_up, request.plan)
            self.save_request(msgspec.structs.replace(request, plan=None, given_up=given_up))

    def remove_given_up(self) -> None:
        """Delete what came of plans that were given up and is of no use to the one that was carried out."""
        request = self.request()
        if request is not None and request.plan is not None and request.given_up:
            for plan in request.given_up:
                if plan.commit != request.plan.commit:  # unless the Hub has it again
                    _remove_fetched(request, plan, self.links(plan.commit))
            self.save_request(msgspec.structs.replace(request, given_up=()))

    @property
    def seen(self) -> bool:
        """Whether somebody was told of its end, so that it need not be listed any more."""
        return (self.directory / "seen").exists()

    def mark_seen(self, seen: bool) -> None:
        """Raises OSError."""
        if seen:
            (self.directory / "seen").touch()
        else:
            (self.directory / "seen").unlink(missing_ok=True)

    @property
    def running(self) -> bool:
        """Whether a process works on it now. The system frees the lock of one that was killed."""
        if not (self.directory / "job.json").exists():
            return False
        lock = self.lock()
        try:
            lock.acquire(blocking=False)
        except Timeout:
            return True
        except OSError:
            return False  # the directory is gone
        lock.release()
        return False

    def last_words(self) -> str:
        """The last line that the process printed."""
        try:
            return (self.log_path.read_text("utf-8", "replace").strip().splitlines() or [""])[-1]
        except OSError:
            return ""

    def remove(self) -> None:
        shutil.rmtree(self.directory, ignore_errors=True)

    def discard(self) -> None:
        """Remove the download and what came of it, but nothing that was there before or that others use.

        To be called when its process has ended. Raises OSError.
        """
        request = self.request()
        if request is not None:
            for plan in (*request.given_up, *((request.plan,) if request.plan is not None else ())):
                _remove_fetched(request, plan, self.links(plan.commit))
        self.remove()


def all_jobs(data: Path) -> Iterator[Job]:
    """Every download there is a directory of."""
    try:
        directories = sorted(path for path in downloads_dir(data).iterdir() if path.is_dir())
    except OSError:
        return
    yield from map(Job, directories)


def _remove_fetched(request: Request, plan: Plan, links: set[str]) -> None:
    """Delete partial files, and whole ones unless another program uses the same snapshot by now."""
    repository = request.repository
    blobs, snapshot = repository / "blobs", repository / "snapshots" / plan.commit
    if not blobs.is_dir():
        return  # nothing came, because of a file in the way, perhaps
    locks = repository.parent / ".locks" / repository.name
    ours = set(files_in(snapshot)) <= {*plan.before, *links}
    for wanted in plan.files:
        if ours and not wanted.here:
            (snapshot / wanted.path).unlink(missing_ok=True)
    used = {link.readlink().name for link in repository.glob("snapshots/**/*") if link.is_symlink()}
    for wanted in plan.files:
        lock = FileLock(locks / f"{wanted.etag}.lock", thread_local=False)
        try:
            locks.mkdir(parents=True, exist_ok=True)
            lock.acquire(blocking=False)
        except Timeout:
            continue  # another program is fetching the same content
        try:
            discard(blobs, wanted.etag)
            if not wanted.here and wanted.etag not in used:
                (blobs / wanted.etag).unlink(missing_ok=True)
        finally:
            lock.release()
            (locks / f"{wanted.etag}.lock").unlink(missing_ok=True)
    for directory in (snapshot, snapshot.parent, blobs, repository / "refs", repository, locks):
        try:
            directory.rmdir()
        except OSError:
            continue  # something is in it, or it is not there


def files_in(snapshot: Path) -> tuple[str, ...]:
    """Paths below a snapshot's directory; none of one that is not there."""
    return tuple(path.relative_to(snapshot).as_posix() for path in snapshot.rglob("*") if not path.is_dir())


def _replace(path: Path, content: bytes, *, durable: bool = False) -> None:
    temporary = path.with_name(f"{path.name}.{os.getpid()}.tmp")
    try:
        with temporary.open("wb") as file:
            file.write(content)
            if durable:
                file.flush()
                os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        error.filename = error.filename or str(path)  # a full disk does not say of itself which it is
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise


def data_problem(error: OSError, directory: Path) -> FetchFailedError | None:
    """Why a download's directory cannot be written to; None when that is not what the error says."""
    if not isinstance(error.filename, str) or not Path(error.filename).is_relative_to(directory):
        return None
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return FetchFailedError(
        f"How far a download is cannot be written down in {directory}: {reason(error)}.",
        f"{'Make room there' if full else 'Put that right'}, or name a folder of your own in HUGCHAT_DATA_DIR.",
        "data",
    )
