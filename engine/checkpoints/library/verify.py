"""Compares a checkpoint's files with the checksums that lie beside them; no network is needed.

    python -m engine.checkpoints.library.verify SOURCE KEY NAME

Where checksums come from:
- the Hugging Face cache names each blob after its content: 64 hex digits are a sha256, 40 are git's, the sha1 of
  b"blob LENGTH\\0" and the content;
- manifest.json, in what this program made and in the checkpoints of training runs:
  {"files": {path below the folder: {"size": bytes, "sha256": 64 hex digits}}}, every file but itself;
- the starter's weights, which come out the same whenever they are converted.
For other files none is known. Then only headers are looked at, which tells whether a file has its full length, not
whether its content is right; that is said and never called verified.

The child prints lines of JSON: {"stage", "done", "total"}, {"checked": file}, {"unchecked": file, "why"}, {"problem"}.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from engine.checkpoints.children import ChildFailedError, OnProgress, Report, connect_to_parent, run_module
from engine.checkpoints.describe import describe
from engine.checkpoints.downloads.choosing import choose_files
from engine.checkpoints.gguf_header import read_gguf_header
from engine.checkpoints.hub_cache import MODELS_PREFIX, repository_id
from engine.checkpoints.hub_errors import FetchFailedError
from engine.checkpoints.library.row_files import files_of, hops
from engine.checkpoints.library.rows import Row
from engine.checkpoints.paths import hub_cache_dir
from engine.checkpoints.reading import (
    UnreadableError,
    file_size,
    open_regular,
    read_json_object,
    read_safetensors_header,
    reason,
)
from engine.errors import EngineError
from engine.priority import lower_priority

MANIFEST = "manifest.json"

_NICENESS = 10
_CHUNK = 1 << 20
_REPORT_EVERY_S = 0.05
_MANIFEST_LIMIT = 16 * 1024 * 1024
_SHA256 = re.compile(r"[0-9a-f]{64}")
_GIT_SHA1 = re.compile(r"[0-9a-f]{40}")
_WEIGHTS = (".safetensors", ".gguf", ".bin")
_PARTIAL = (".incomplete", ".hugchat.map")
# Of the starter's model.safetensors: converted by engine/worker/convert_starter.py from a file of known checksum.
_STARTER_WEIGHTS = "a0efc45b71d0592322e7ca97b04b681e59ac6b9d96cd7f1b4f60623ea7dd2b5b"


class VerifyError(EngineError):
    """A checkpoint could not be looked at. A damaged one is no error but a result."""

    code = "verify"


@dataclass(frozen=True, slots=True)
class Unchecked:
    """A file that was compared with nothing, and why."""

    file: str
    why: str


@dataclass(frozen=True, slots=True)
class Verification:
    """checked_files: those that were compared with a checksum, right or wrong. problems: what is wrong, in words."""

    checked_files: int
    unchecked: tuple[Unchecked, ...]
    problems: tuple[str, ...]

    @property
    def ok(self) -> bool:
        """Nothing is wrong, and of the weights nothing was left unchecked."""
        weights = any(each.file.endswith(_WEIGHTS) for each in self.unchecked)
        return bool(self.checked_files) and not self.problems and not weights


async def verify(row: Row, on_progress: OnProgress) -> Verification:
    """Compare what a row stands for with its checksums, in a child process: cancelling kills it.

    on_progress: the stage "checking", in bytes. Raises VerifyError when the child cannot do its work.
    """
    checked: list[str] = []
    unchecked: list[Unchecked] = []
    problems: list[str] = []

    def on_line(line: str) -> None:
        message = json.loads(line)
        if "stage" in message:
            on_progress(message["stage"], message["done"], message["total"])
        elif "checked" in message:
            checked.append(message["checked"])
        elif "unchecked" in message:
            unchecked.append(Unchecked(message["unchecked"], message["why"]))
        else:
            problems.append(message["problem"])

    try:
        await run_module(("engine.checkpoints.library.verify", row.source, row.key, row.name), on_line)
    except ChildFailedError as error:
        why = error.tail[-1] if error.tail else f"its process ended with status {error.status}"
        raise VerifyError(f"{row.name} could not be verified: {why}", "Try again.") from error
    except (OSError, ValueError) as error:  # ValueError: a NUL in the path
        raise VerifyError(f"{row.name} could not be verified: {reason(error)}.", "Try again.") from error
    return Verification(len(checked), tuple(unchecked), tuple(problems))


@dataclass(frozen=True, slots=True)
class _Checksum:
    """What a file is to be. size: in bytes, None when only its digest is known. git: the digest is git's."""

    digest: str
    size: int | None = None
    git: bool = False


def check(source: str, key: Path, report: Report, row_name: str = "") -> None:
    """The child's work. row_name: to say how to repair it. Raises nothing for what lies on the disk."""
    problems = 0

    def problem(words: str) -> None:
        nonlocal problems
        problems += 1
        report({"problem": words})

    is_rest = "--" in key.name and (key / "blobs").is_dir()  # of a repository, which is no checkpoint
    try:
        files = files_of(key / "blobs" if is_rest else key)
        listed = _listed(source, key)
    except (OSError, UnreadableError) as error:
        problem(f"{error}." if isinstance(error, UnreadableError) else f"{key.name} cannot be read: {reason(error)}.")
        return
    names = {name for name, _ in files}
    for name in listed.keys() - names:
        problem(f"{name} is missing, and {MANIFEST} names it.")
    sums = {name: listed.get(name) or _blob_checksum(path) for name, path in files}
    # A repository may hold one file under two names, which is read once.
    reals = {name: Path(os.path.realpath(path)) for name, path in files}
    unnamed = f"{MANIFEST} does not name it" if listed and source != "starter" else "no checksum is known"
    progress = _Progress(report, sum(map(_size, {reals[name] for name in sums if sums[name] is not None})))
    seen: dict[tuple[Path, _Checksum], str | None] = {}
    for name, path in files:
        wanted = sums[name]
        try:
            if name == MANIFEST and listed:
                continue  # it cannot name its own checksum
            if wanted is None:
                report({"unchecked": name, "why": _look_at_header(name, path, unnamed)})
                continue
            if (reals[name], wanted) not in seen:
                seen[reals[name], wanted] = _compare(path, wanted, progress.add)
            if (wrong := seen[reals[name], wanted]) is not None:
                problem(f"{name} {wrong}{_repair(name, names, key, row_name)}")
            report({"checked": name})
        except OSError as error:
            problem(f"{name} cannot be read: {reason(error)}.")
        except UnreadableError as error:
            problem(f"{error}.")
    checkpoint = describe(key)
    if not problems and not is_rest and checkpoint.problem and checkpoint.fault == "incomplete":
        problem(checkpoint.problem)


def _repair(file: str, names: set[str], key: Path, name: str) -> str:
    """What fetches a damaged file of a cached revision again, in words; empty where that is not known.

    names: of all its files. name: the row's, org/name with @revision and /FILE where it has them.
    """
    repository = next((path for path in key.parents if path.name.startswith(MODELS_PREFIX)), None)
    if repository is None or repository.parent != hub_cache_dir():
        return ""
    repo_id = repository_id(repository)
    revision = name.removeprefix(repo_id).removesuffix(f"/{file}")
    if file.lower().endswith(".gguf"):
        return f" hugchat models pull {repo_id}/{file}{revision} fetches it again."
    try:
        known = file in choose_files(sorted(names), "")
    except FetchFailedError:
        return ""
    return f" hugchat models pull {repo_id}{revision} fetches it again." if known else ""


def _listed(source: str, key: Path) -> dict[str, _Checksum]:
    """Checksums by name: those of a manifest, or the starter's. Raises UnreadableError for a broken manifest."""
    if source == "starter":
        return {"model.safetensors": _Checksum(_STARTER_WEIGHTS)}
    if source == "cache" or not key.is_dir():
        return {}
    files = (read_json_object(key / MANIFEST, _MANIFEST_LIMIT) or {}).get("files")
    if not isinstance(files, dict):
        return {}  # some other program's file of that name
    found = {}
    for name, entry in files.items():
        size, digest = (entry.get("size"), entry.get("sha256")) if isinstance(entry, dict) else (None, None)
        if not isinstance(size, int) or not isinstance(digest, str) or not _SHA256.fullmatch(digest):
            raise UnreadableError(f"{MANIFEST} says nothing that makes sense of {name[:80]}")
        found[name] = _Checksum(digest, size)
    return found


def _blob_checksum(path: Path) -> _Checksum | None:
    """What the name of a cached blob says of it. path: the blob itself or a link to it."""
    for hop in (path, *hops(path)):
        if hop.parent.name == "blobs" and "--" in hop.parent.parent.name:
            if _SHA256.fullmatch(hop.name):
                return _Checksum(hop.name)
            if _GIT_SHA1.fullmatch(hop.name):
                return _Checksum(hop.name, git=True)
    return None


def _compare(path: Path, wanted: _Checksum, on_bytes: Callable[[int], None]) -> str | None:
    """What is wrong with a file, None when nothing is."""
    try:
        opened = open_regular(path)
    except FileNotFoundError:
        return "is missing: the link to it leads nowhere."
    with opened as file:
        size = file_size(file)
        if wanted.size is not None and size != wanted.size:
            return f"is damaged: it has {size:,} bytes and should have {wanted.size:,}."
        digest = hashlib.sha1(b"blob %d\0" % size, usedforsecurity=False) if wanted.git else hashlib.sha256()
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
            on_bytes(len(chunk))
    if digest.hexdigest() != wanted.digest:
        return "is damaged: its content does not have the checksum it was given."
    return None


def _look_at_header(name: str, path: Path, known: str) -> str:
    """Why a file is left unchecked; known: of its checksum. Raises UnreadableError for a broken one, and OSError."""
    if name.endswith(_PARTIAL):
        return "a download that is not finished"
    if name.endswith(".safetensors"):
        read_safetensors_header(path)
        return f"{known}; it has the length its header says"
    if name.endswith(".gguf"):
        read_gguf_header(path)
        return f"{known}; it has the length its header says"
    try:
        open_regular(path).close()
    except FileNotFoundError:
        raise UnreadableError(f"{name} is missing: the link to it leads nowhere") from None
    return known


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0  # told later


class _Progress:
    """Counts bytes and reports them, twenty times a second at most."""

    def __init__(self, report: Report, total: int) -> None:
        self._report = report
        self._total = total
        self._done = 0
        self._reported_at = 0.0

    def add(self, count: int) -> None:
        self._done += count
        now = time.monotonic()
        if now - self._reported_at >= _REPORT_EVERY_S or self._done >= self._total:
            self._reported_at = now
            self._report({"stage": "checking", "done": self._done, "total": max(self._done, self._total)})


def main() -> None:
    report = connect_to_parent()
    lower_priority(_NICENESS)
    source, key, name = sys.argv[1:]
    check(source, Path(key), report, name)


if __name__ == "__main__":
    main()
