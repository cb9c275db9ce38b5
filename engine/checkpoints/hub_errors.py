"""What the Hub's client says when it fails, in words: what happened, what to do, and a reason for the program.

Its errors are imported where they are needed: the client is slow to import and only child processes have it.
"""

from __future__ import annotations

import errno
from collections.abc import Iterator
from pathlib import Path

_UNUSABLE = frozenset(
    {errno.EACCES, errno.EPERM, errno.EROFS, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ELOOP, errno.ENAMETOOLONG}
)
_ASTRAY = frozenset({"TooManyRedirects", "UnsupportedProtocol", "InvalidURL"})


class FetchFailedError(Exception):
    """In words: what happened, what to do, and a reason for the program."""

    def __init__(self, message: str, hint: str, reason: str) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint
        self.reason = reason


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


def cache_problem(error: OSError, cache: Path) -> FetchFailedError | None:
    """What stands in the way of writing to the cache: no permission, a read-only disk, a file where a folder should
    be. None when that is not what the error says."""
    if error.errno not in _UNUSABLE:
        return None
    where = Path(error.filename) if isinstance(error.filename, str) else cache
    if not where.is_relative_to(cache) and where not in cache.parents:
        return None
    return FetchFailedError(
        f"The Hugging Face cache {cache} cannot be written to: {where}: {error.strerror}.",
        "Put that right, or name a folder of your own in HF_HOME.",
        "cache",
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
    # The client's own names for what goes wrong on the way; its HTTP library has changed before.
    kinds = {kind.__name__ for kind in type(error).__mro__}
    if kinds & _ASTRAY:
        return FetchFailedError(
            f"{constants.ENDPOINT} leads nowhere: {type(error).__name__}.",
            "A proxy or a login page may have answered in its place: check the network and HF_ENDPOINT.",
            "server",
        )
    if "TransportError" in kinds or isinstance(error, ConnectionError | TimeoutError):
        return FetchFailedError(
            f"The Hub ({constants.ENDPOINT}) cannot be reached: {type(error).__name__}: {error}",
            "Check the network and the proxy, or choose a checkpoint that is here.",
            "network",
        )
    return None
