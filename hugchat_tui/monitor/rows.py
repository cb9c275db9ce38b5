"""The runs of this machine as the monitor lists them: what their directories say, read in a thread."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, field, replace
from pathlib import Path

from engine.checkpoints.library.occupied import Occupied, walk
from hugchat_tui.monitor.run_notes import Said, load_notes
from hugchat_tui.monitor.run_totals import RunTotals
from sft.config import Recipe, RecipeError, load
from sft.json_lines import Record
from sft.runs import RunDirectory, RunStatus, list_runs, read_status

_CHUNKS = 64  # megabytes of one run's events that are read in a turn, so that a long one does not hide the others
_MEASURE_AGAIN_S = 5.0
_NEWS_S = 60.0  # longer than until the next look
_UNSAID = Said()


@dataclass(frozen=True, slots=True)
class RunRow:
    """One run. best: (step, evaluation loss). begun_at: in seconds since the epoch, 0 before.

    worked_s: how long it was going in all, until its last event. size_bytes: on the disk. read_at: time.monotonic()
    when the status was read. problem: why some of this is not known.
    """

    run: RunDirectory
    status: RunStatus
    recipe: Recipe | None = None
    best: tuple[int, float] | None = None
    begun_at: float = 0.0
    worked_s: float = 0.0
    size_bytes: int = 0
    said: Said = _UNSAID
    read_at: float = 0.0
    problem: str = ""

    @property
    def name(self) -> str:
        return self.run.name

    @property
    def going(self) -> bool:
        return self.status.going

    @property
    def base(self) -> str:
        return self.recipe.model.base if self.recipe is not None else ""

    @property
    def data(self) -> str:
        """The names of its sources."""
        sources = self.recipe.data.sources if self.recipe is not None else ()
        return ", ".join(Path(source.path).name or source.path for source in sources)

    @property
    def method(self) -> str:
        if self.recipe is None:
            return ""
        chosen = self.recipe.method
        return f"LoRA {chosen.rank}" if chosen.kind == "lora" else "full"

    def quiet_s(self) -> float:
        """How long it has written nothing."""
        return self.status.quiet_s + (time.monotonic() - self.read_at if self.status.quiet_s else 0.0)

    def duration_s(self) -> float:
        """How long it was going in all, until now if it still is."""
        return self.worked_s + (self.quiet_s() if self.going else 0.0)


@dataclass(slots=True)
class _Known:
    """What is kept of a run between two readings."""

    totals: RunTotals
    row: RunRow | None = None
    stamp: tuple[object, ...] = ()
    recipe: Recipe | None = None
    recipe_problem: str = ""
    recipe_stamp: object = ()  # of the recipe as it was read; () while it could not be
    measured_at: float = 0.0
    size_bytes: int = 0
    appeared: bool = True  # while the program ran; what the others told before is old news
    caught_up: bool = False


@dataclass(slots=True)
class Reading:
    """rows: by name. told: answers, alerts and ends that came since the last reading, each with its run's path.
    more: events are waiting to be read. going_before: paths that the file of notes names.
    """

    rows: list[RunRow] = field(default_factory=list)
    told: list[tuple[Path, Record]] = field(default_factory=list)
    more: bool = False
    going_before: tuple[str, ...] = ()


class RunReader:
    """Reads again and again; what did not change is not read twice. One thread at a time may use it."""

    def __init__(self, data: Path) -> None:
        self._data = data
        self._known: dict[Path, _Known] = {}
        self._first = True

    def read(self) -> Reading:
        """Every run as it is now. Raises OSError where the data folder cannot be read."""
        notes = load_notes(self._data)
        reading = Reading(going_before=notes.going)
        runs = list_runs(self._data)
        for run in runs:
            known = self._known.setdefault(run.path, _Known(RunTotals(run.events), appeared=not self._first))
            told = self._read_run(run, known, notes.of(run.path), reading)
            reading.told += [(run.path, record) for record in told]
        here = {run.path for run in runs}
        self._known = {path: known for path, known in self._known.items() if path in here}
        self._first = False
        return reading

    def _read_run(self, run: RunDirectory, known: _Known, said: Said, reading: Reading) -> list[Record]:
        told: list[Record] = []
        problem = ""
        stamp = tuple(_stamp(path) for path in (run.events, run.launch, run.recipe))
        row = known.row
        try:
            if row is None or row.going or stamp != known.stamp or not known.totals.whole:
                told = known.totals.read(_CHUNKS)
                if not known.caught_up:
                    # Of a directory that was put here with its past, only what happened just now is news.
                    told = [record for record in told if known.appeared and abs(time.time() - record["time"]) < _NEWS_S]
                known.caught_up |= known.totals.whole
                row = self._described(run, known, stamp)
                known.stamp = stamp if known.recipe is not None else ()
        except OSError as error:
            problem = f"{run.path} cannot be read: {error.strerror or error}."
            row = row or RunRow(run, RunStatus("crashed"))
        if row is None:
            return told
        known.row = replace(row, said=said, problem=problem or known.recipe_problem)
        reading.more |= not known.totals.whole and not problem
        reading.rows.append(known.row)
        return told

    def _described(self, run: RunDirectory, known: _Known, stamp: tuple[object, ...]) -> RunRow:
        if stamp[2] != known.recipe_stamp:
            try:
                known.recipe, known.recipe_problem, known.recipe_stamp = load(run.recipe), "", stamp[2]
            except RecipeError as error:  # also one that cannot be read only now: it is tried again
                known.recipe, known.recipe_problem, known.recipe_stamp = None, str(error), ()
        status = read_status(run)
        now = time.monotonic()
        if not known.measured_at or now - known.measured_at > _MEASURE_AGAIN_S:
            known.measured_at, known.size_bytes = now, run_size(run)
        totals = known.totals
        return RunRow(
            run,
            status,
            known.recipe,
            totals.best,
            totals.begun_at,
            totals.worked_s,
            known.size_bytes,
            read_at=now,
        )


def run_size(run: RunDirectory) -> int:
    """Bytes that its directory takes on the disk, as `du` counts them."""
    occupied = Occupied()
    for entry in walk(str(run.path)):
        occupied.add(entry)
    return occupied.size


def _stamp(path: Path) -> tuple[int, int, int] | None:
    """Differs when the file was written to or replaced."""
    try:
        status = os.stat(path)  # noqa: PTH116 (three a run and turn)
    except OSError:
        return None
    return status.st_ino, status.st_size, status.st_mtime_ns
