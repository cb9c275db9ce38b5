"""Downloads of this program in the library: each that is not finished is one row, and goes as a whole.

What there is of one lies in several places: partial files that no revision needs, a revision without its weights, and
its directory in the data folder (downloads/job.py).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from engine.checkpoints.downloads.job import Job, Request, all_jobs
from engine.checkpoints.hub_cache import repository_id
from engine.checkpoints.library.repository import Part, count_own_bytes
from engine.checkpoints.library.repository_removal import MustStayError
from engine.memory import human

Downloads = Mapping[Path, Sequence[tuple[Job, Request]]]
"""By the repository's directory."""


def all_downloads(data: Path) -> Downloads:
    found: dict[Path, list[tuple[Job, Request]]] = {}
    for job in all_jobs(data):
        if (request := job.request()) is not None:
            found.setdefault(request.repository, []).append((job, request))
    return found


def joined(repository: Path, parts: list[Part], downloads: Downloads) -> list[Part]:
    """The parts of a repository, in which an unfinished download is one part: the rest, with the revision it makes."""
    rest = next((part for part in parts if part.place is None), None)
    begun = [(job, request) for job, request in downloads.get(repository, ()) if not _is_done(job)]
    partial = rest is not None and rest.own_download
    if not begun and not partial:
        return parts
    commits = {request.plan.commit: (job, request) for job, request in begun if request.plan is not None}
    faults = {part.key: part.place.described().fault for part in parts if part.place is not None}
    half = next((part for part in parts if faults.get(part.key) and _commit(part) in commits), None)
    if half is None and partial and not commits:  # begun with another data folder, perhaps
        halves = [part for part in parts if faults.get(part.key) == "incomplete"]
        half = halves[0] if len(halves) == 1 else None
    if half is None and (rest is None or rest.kind != "unfinished"):
        return parts
    known = (commits.get(_commit(half)) if half is not None else None) or (begun[0] if len(begun) == 1 else None)
    rest = rest or Part(str(repository), repository_id(repository), "cache", repository=repository.name)
    pull = known[0].first_status(known[1]).reference if known is not None else rest.name
    others = [part for part in parts if part is not rest and part is not half]
    rest.name = pull
    if any(part.name == pull for part in others):  # an older revision has that name
        rest.name = half.name if half is not None else f"{pull} (unfinished)"
    if half is not None and half.place is not None:
        rest.place = replace(half.place, name=rest.name)
        rest.refs = half.refs
        rest.occupied.bytes_of.update(half.occupied.bytes_of)
        rest.occupied.modified = max(rest.occupied.modified, half.occupied.modified)
        rest.occupied.used = max(rest.occupied.used, half.occupied.used)
    here = f"A download of HugChat's that is not finished ({human(rest.occupied.size)} are here)."
    rest.kind = "unfinished"
    rest.problem = f"{here} Ask for it again and it goes on: hugchat models pull {pull}. {rest.problem}".rstrip()
    found = [*others, rest]
    count_own_bytes(found)
    return found


def _commit(part: Part) -> str:
    return part.place.revision if part.place is not None else ""


def _is_done(job: Job) -> bool:
    status = job.status()
    return status is not None and status.state == "done"


def going_with(repository: Path, keys: Iterable[Path], going: Iterable[Path], downloads: Downloads) -> list[Path]:
    """The directories of the downloads that are dropped with what goes of a repository. keys: of the rows that go.

    Raises MustStayError when what goes is needed by one that runs.
    """
    paths = set(going)
    whole = repository in paths or repository in set(keys)
    found = []
    for job, request in downloads.get(repository, ()):
        snapshot = repository / "snapshots" / request.plan.commit if request.plan is not None else None
        wanted = request.plan.files if request.plan is not None else ()
        needed = {repository / "blobs" / file.etag for file in wanted}
        needed |= {snapshot / file.path for file in wanted if snapshot is not None}
        dropped = whole or (snapshot is not None and not paths.isdisjoint((snapshot, snapshot.parent)))
        if (dropped or not paths.isdisjoint(needed)) and job.running:
            raise MustStayError(
                f"{repository.name} is being downloaded right now. Stop that download first, or wait for its end."
            )
        if dropped:
            found.append(job.directory)
    return found
