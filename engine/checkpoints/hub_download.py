"""The child process of hub.fetch; it imports the Hub's client, which is slow and reads its settings at import.

    python -m engine.checkpoints.hub_download CACHE REPO_ID REVISION FILE

Lines of JSON on stdout: {"stage", "done", "total"} any number of times, then {"path"} or {"error", "hint", "reason"}.
"""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import sys
import threading
import traceback
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from engine.checkpoints.children import Report, connect_to_parent
from engine.checkpoints.hub_cache import repository_dir

_POLL_S = 0.1
_SMALL_FILES = re.compile(
    r"(config|generation_config|adapter_config|tokenizer|tokenizer_config|special_tokens_map|added_tokens|vocab"
    r"|chat_template|tekken)\.json"
    r"|chat_template\.jinja|merges\.txt|vocab\.txt|[\w.-]+\.(model|tiktoken)|README\.md|LICEN[CS]E[\w.-]*"
)
# In the order in which they are preferred, as in weights.find_weights.
_WEIGHT_FILES = (
    re.compile(r"(adapter_)?model\.safetensors"),
    re.compile(r"(adapter_)?model(-\d+-of-\d+\.safetensors|\.safetensors\.index\.json)"),
    re.compile(r"(pytorch_model|adapter_model)\.bin"),
    re.compile(r"pytorch_model(-\d+-of-\d+\.bin|\.bin\.index\.json)"),
)


class FetchFailedError(Exception):
    """In words: what happened, what to do, and a reason for the program."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason


def choose_files(names: Sequence[str], file: str) -> list[str]:
    """Which files of a repository to fetch: the one that was named, or what loading the model needs.

    Raises FetchFailedError when there is nothing that could be loaded.
    """
    if file:
        if file not in names:
            raise FetchFailedError(f"The repository has no file {file}.", _gguf_hint(names), "not-found")
        return [file]
    for pattern in _WEIGHT_FILES:
        weights = [name for name in names if pattern.fullmatch(name)]
        if weights:
            return [name for name in names if _SMALL_FILES.fullmatch(name)] + weights
    raise FetchFailedError("The repository holds no weights that can be loaded.", _gguf_hint(names), "unusable")


def _gguf_hint(names: Sequence[str]) -> str:
    ggufs = [name for name in names if name.endswith(".gguf") and "/" not in name]
    if not ggufs:
        return "Choose a repository with model.safetensors."
    return f"Name one of its GGUF files behind the id: {', '.join(ggufs[:8])}"


def download(report: Report, cache: Path, repo_id: str, revision: str, file: str) -> Path:
    """Fetch the chosen files of one commit, smallest first, then let the ref point to it."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.hf_api import RepoFile

    report({"stage": "looking up", "done": 0, "total": 0})
    api = HfApi(library_name="hugchat-tui")
    commit = api.model_info(repo_id, revision=revision).sha
    if commit is None:
        raise FetchFailedError(f"The Hub names no commit for {revision}.", "Try again later.", "server")
    entries = {
        entry.path: entry
        for entry in api.list_repo_tree(repo_id, revision=commit, recursive=True)
        if isinstance(entry, RepoFile)
    }
    chosen = sorted((entries[name] for name in choose_files(list(entries), file)), key=lambda entry: entry.size)
    repository = repository_dir(cache, repo_id)
    snapshot = repository / "snapshots" / commit
    wanted = [entry for entry in chosen if not (snapshot / entry.path).is_file()]
    total = sum(entry.size for entry in chosen)
    done = total - sum(entry.size for entry in wanted)
    check_space(cache, total - done)
    for entry in wanted:
        digest = entry.lfs.sha256 if entry.lfs is not None else entry.blob_id
        with _watched(report, repository / "blobs", digest, done, total):
            path = Path(hf_hub_download(repo_id, entry.path, revision=commit, cache_dir=cache))
        report({"stage": "checking", "done": done, "total": total})
        _verify(path, digest, is_lfs=entry.lfs is not None)
        done += entry.size
    report({"stage": "downloading", "done": done, "total": total})
    if revision != commit:
        _write_ref(repository / "refs" / revision, commit)
    return snapshot / file if file else snapshot


@contextmanager
def _watched(report: Report, blobs: Path, digest: str, done: int, total: int) -> Iterator[None]:
    """Report how large the partial file is while the client writes it, whatever protocol it uses."""
    finished = threading.Event()

    def watch() -> None:
        while True:
            partial = sum(_size(path) for path in blobs.glob(f"{digest}.*.incomplete"))
            report({"stage": "downloading", "done": done + partial, "total": total})
            if finished.wait(_POLL_S):
                return

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield
    finally:
        finished.set()
        watcher.join()


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0  # it was whole just now, and has its name


def _verify(path: Path, digest: str, *, is_lfs: bool) -> None:
    """Compare a fetched file with the Hub's checksum; the client compares its size alone.

    Large files have a sha256, the others git's blob hash: sha1 of `blob LENGTH\\0` and the content. A file that
    differs is deleted. Raises FetchFailedError.
    """
    blob = path.resolve()
    with blob.open("rb") as file:
        if is_lfs:
            actual = hashlib.file_digest(file, "sha256").hexdigest()
        else:
            content = file.read()
            actual = hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()
    if actual != digest:
        path.unlink()
        blob.unlink()
        raise FetchFailedError(
            f"{path.name} arrived damaged: its checksum is not the one the Hub names. It was thrown away.",
            "Try again; if it stays so, a proxy on the way changes what it delivers.",
            "checksum",
        )


def check_space(cache: Path, needed: int) -> None:
    cache.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(cache).free
    if needed > free:
        raise FetchFailedError(
            f"{needed / 1e9:.2f} GB are to be fetched into {cache}, and {free / 1e9:.2f} GB are free.",
            "Make room there, or move the cache with HF_HOME.",
            "space",
        )


def _write_ref(ref: Path, commit: str) -> None:
    ref.parent.mkdir(parents=True, exist_ok=True)
    temporary = ref.with_name(f"{ref.name}.{os.getpid()}.tmp")
    temporary.write_text(commit, "ascii")
    temporary.replace(ref)


def in_words(error: Exception, reference: str) -> FetchFailedError:
    """Why the Hub's client failed.

    Its errors arrive wrapped with the truth in __cause__; "gated" is a subclass of "not found", so it is asked for
    first; and a missing repository cannot be told from a private one.
    """
    for cause in _causes(error):
        known = _http_problem(cause, reference) or _local_problem(cause)
        if known is not None:
            return known
    what = (str(error).strip().splitlines() or ["no reason given"])[0]
    return FetchFailedError(
        f"The download of {reference} failed: {type(error).__name__}: {what}", "Try again.", "unexpected"
    )


def _causes(error: BaseException) -> Iterator[BaseException]:
    seen: BaseException | None = error
    while seen is not None:
        yield seen
        seen = seen.__cause__


def _http_problem(error: BaseException, reference: str) -> FetchFailedError | None:
    from huggingface_hub import constants, errors, get_token

    site = constants.ENDPOINT
    if isinstance(error, errors.GatedRepoError):
        todo = "Log in with: hf auth login." if get_token() is None else "Your token's account has no access yet."
        return FetchFailedError(
            f"{reference} is gated: its authors give access on request.",
            f"Ask for it on {site}/{reference}, then try again. {todo}",
            "gated",
        )
    if isinstance(error, errors.RevisionNotFoundError | errors.RemoteEntryNotFoundError):
        return FetchFailedError(
            f"{reference} has no such revision or file.",
            f"See what it has on {site}/{reference}.",
            "not-found",
        )
    if isinstance(error, errors.RepositoryNotFoundError | errors.DisabledRepoError):
        return FetchFailedError(
            f"The Hub has no {reference}, or it is private and your token does not open it.",
            "Check the spelling (org/name). For a private one log in with: hf auth login.",
            "not-found",
        )
    if not isinstance(error, errors.HfHubHTTPError):
        return None
    status = error.response.status_code
    if status in (401, 403):
        return FetchFailedError(
            f"The Hub refused your token (HTTP {status}).",
            "Log in again with: hf auth login, or correct HF_TOKEN.",
            "token",
        )
    if status == 429 or status >= 500:
        return FetchFailedError(f"The Hub is overloaded or down (HTTP {status}).", "Try again later.", "server")
    return None


def _local_problem(error: BaseException) -> FetchFailedError | None:
    from huggingface_hub import constants, errors

    if isinstance(error, errors.OfflineModeIsEnabled):
        return FetchFailedError(
            "The Hub's client is in offline mode.",
            "Unset HF_HUB_OFFLINE to download, or choose a checkpoint that is here.",
            "offline",
        )
    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
        return FetchFailedError("The disk is full.", "Make room, or move the cache with HF_HOME.", "space")
    # The client's own name for whatever goes wrong on the way; its HTTP library has changed before.
    transport = any(kind.__name__ == "TransportError" for kind in type(error).__mro__)
    if transport or isinstance(error, ConnectionError | TimeoutError):
        return FetchFailedError(
            f"The Hub ({constants.ENDPOINT}) cannot be reached: {type(error).__name__}: {error}",
            "Check the network and the proxy, or choose a checkpoint that is here.",
            "network",
        )
    return None


def main() -> None:
    report = connect_to_parent()
    # Read when the client is imported, below. Without the first it sends details of this machine along.
    os.environ.setdefault("HF_HUB_DISABLE_TELEMETRY", "1")
    os.environ["HF_HUB_DISABLE_PROGRESS_BARS"] = "1"
    cache, repo_id, revision, file = sys.argv[1:]
    try:
        path = download(report, Path(cache), repo_id, revision, file)
    except FetchFailedError as error:
        failure = error
    except Exception as error:  # noqa: BLE001 - whatever ends this process is told to its parent
        traceback.print_exc()
        failure = in_words(error, repo_id)
    else:
        report({"path": str(path)})
        return
    report({"error": failure.message, "hint": failure.hint, "reason": failure.reason})


if __name__ == "__main__":
    main()
