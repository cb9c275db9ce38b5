"""One download from the question to the Hub to the revision's name. Needs the Hub's client: for child processes."""

from __future__ import annotations

import errno
import os
import re
import shutil
import threading
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec
from huggingface_hub import HfApi
from huggingface_hub.errors import RemoteEntryNotFoundError, RevisionNotFoundError
from huggingface_hub.hf_api import RepoFile

from engine.checkpoints.downloads.choosing import choose_files
from engine.checkpoints.downloads.job import Job, Plan, Request, WantedFile, files_in
from engine.checkpoints.downloads.requests import Remote, trouble_of
from engine.checkpoints.downloads.transfer import Patience, StoppedError, Transfer
from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.hub_queries.accounts import check_token
from engine.checkpoints.reading import UnreadableError, open_regular

if TYPE_CHECKING:
    from engine.checkpoints.downloads.run import Reporter

_PLANNING = Patience(give_up_s=5.0)
_COMMIT = re.compile(r"[0-9a-f]{40}")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MARGIN = 64_000_000  # bytes that are left free on the disk


def download(job: Job, request: Request, reporter: Reporter, stop: threading.Event) -> Path:
    """Fetch what was asked for; the snapshot's directory, or the file that was named.

    A plan that was made before is kept, so that what was begun is finished, unless the Hub has its commit no more.
    Raises FetchFailedError, StoppedError, OSError and the client's errors.
    """
    check_token()
    plan = request.plan
    if plan is None:
        plan = _plan(request, reporter, stop)
        job.save_request(msgspec.structs.replace(request, plan=plan))
    reporter.change(commit=plan.commit)
    remote = Remote(request.repo_id, plan.commit)
    on_link = partial(job.note_link, plan.commit)
    transfer = Transfer(remote, request.repository, plan.commit, plan.files, stop=stop, on_link=on_link)
    check_room(request.repository, transfer.missing)
    reporter.transfer = transfer
    try:
        transfer.run()
    except (RevisionNotFoundError, RemoteEntryNotFoundError) as error:
        job.give_up_plan()
        raise FetchFailedError(
            f"The Hub no longer has all of commit {plan.commit[:12]} of {request.repo_id}, which was begun.",
            f"Try again: it goes on with the commit that {request.revision} names then, and keeps what both share.",
            "not-found",
        ) from error
    if request.revision != plan.commit and not _let_ref_name(request.ref, plan):
        transfer.note = f"{transfer.note} {_moved(request, plan)}".strip()
    job.remove_given_up()
    return transfer.snapshot / request.file if request.file else transfer.snapshot


def _plan(request: Request, reporter: Reporter, stop: threading.Event) -> Plan:
    """Ask the Hub, again for a few seconds if it does not answer. Raises FetchFailedError and the client's errors."""
    waited, pause = 0.0, _PLANNING.first_s
    while True:
        try:
            return make_plan(request)
        except Exception as error:
            trouble = trouble_of(error, request.repo_id)
            if trouble is None:
                raise
            pause = max(pause, trouble.retry_after_s or 0.0)
            if waited + pause > _PLANNING.give_up_s:
                raise trouble.failure from error
            reporter.change(state="retrying", message=trouble.again_in(pause).words)
            if stop.wait(pause):
                raise StoppedError from error
            reporter.change(state="looking up", message="")
            waited, pause = waited + pause, pause * 2


def make_plan(request: Request) -> Plan:
    """Which commit the revision names now, and which files of it are wanted.

    Raises FetchFailedError and the client's errors.
    """
    reference, ref = request.reference, _commit_in(request.ref)
    api = HfApi(library_name="hugchat-tui")
    commit = api.model_info(reference.repo_id, revision=reference.revision, timeout=20).sha
    if commit is None or not _COMMIT.fullmatch(commit):
        raise FetchFailedError(f"The Hub names no commit for {reference.revision}.", "Try again later.", "server")
    entries = {
        entry.path: entry
        for entry in api.list_repo_tree(reference.repo_id, revision=commit, recursive=True)
        if isinstance(entry, RepoFile)
    }
    snapshot = request.repository / "snapshots" / commit
    chosen = [entries[name] for name in choose_files(list(entries), reference.file)]
    return Plan(commit, tuple(_wanted(entry, snapshot) for entry in chosen), files_in(snapshot), ref)


def _wanted(entry: RepoFile, snapshot: Path) -> WantedFile:
    large = entry.lfs is not None
    etag = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
    size = entry.lfs.size if entry.lfs is not None else entry.size
    usable = (_SHA256 if large else _COMMIT).fullmatch(etag) and 0 <= size < 1 << 50
    if not usable or ".." in entry.path.split("/"):
        message = f"What the Hub says of {entry.path[:80]!r} makes no sense."
        raise FetchFailedError(message, "Try again later.", "server")
    return WantedFile(entry.path, size, etag, large, here=(snapshot / entry.path).is_file())


def check_room(repository: Path, needed: int) -> None:
    """Raises FetchFailedError when what is to be fetched does not fit on the disk, OSError when nothing may be written.

    needed: bytes.
    """
    if not needed:
        return
    cache = repository.parent
    cache.mkdir(parents=True, exist_ok=True)
    there = next(path for path in (repository / "blobs", repository, cache) if path.is_dir())
    if not os.access(there, os.W_OK):  # that first: where nothing may be written, room is of no use
        number = errno.EROFS if os.statvfs(there).f_flag & os.ST_RDONLY else errno.EACCES
        raise OSError(number, os.strerror(number), str(there))
    free = shutil.disk_usage(there).free
    if needed + _MARGIN > free:
        raise FetchFailedError(
            f"{_amount(needed)} are to be fetched into {cache}. {_amount(free)} are free there, of which "
            f"{_amount(_MARGIN)} are to stay free.",
            f"Make room for {_amount(needed + _MARGIN - free)} more, or move the cache with HF_HOME.",
            "space",
        )


def _amount(size: int) -> str:
    """Bytes in words, rounded up to the next tenth: who makes as much room as is said has made enough."""
    unit, name = (10**9, "GB") if size >= 10**9 else (10**6, "MB")
    return f"{-(-size * 10 // unit) / 10:.1f} {name}"


def _let_ref_name(ref: Path, plan: Plan) -> bool:
    """Let the revision name the plan's commit in the cache; False when it has come to name another one meanwhile.

    Another program may have fetched what is newer while this download was paused. Raises OSError.
    """
    named = _commit_in(ref)
    if named == plan.commit:
        return True
    if named and named != plan.ref:
        return False
    ref.parent.mkdir(parents=True, exist_ok=True)
    temporary = ref.with_name(f".{ref.name}.{os.getpid()}.tmp")
    temporary.write_text(plan.commit, "ascii")
    temporary.replace(ref)
    return True


def _commit_in(ref: Path) -> str:
    """The commit that a ref names; empty where there is none."""
    try:
        with open_regular(ref) as file:
            return file.read(64).decode("ascii", "replace").strip()
    except (OSError, UnreadableError):
        return ""


def _moved(request: Request, plan: Plan) -> str:
    return (
        f"{request.revision} names a newer commit here by now and keeps it; "
        f"what was fetched is {request.repo_id}@{plan.commit}."
    )
