"""Run directories: making, finding and describing them. docs/ARCHITECTURE.md has the layout.

A run is a folder below runs/ of the data folder. One that was asked for elsewhere lies there, and a link of its name
in runs/ leads to it, so that everything finds it.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, datetime
from difflib import get_close_matches
from pathlib import Path
from typing import Literal

from engine.checkpoints.library.running import run_is_going
from engine.checkpoints.making import flush, flush_tree, put_in_place
from engine.checkpoints.paths import full_path, runs_dir
from engine.checkpoints.reading import UnreadableError, is_folder, read_json_object
from engine.checkpoints.runs import RUN_PREFIX
from sft import config
from sft.control import CONTROL
from sft.errors import SftError
from sft.events import EVENTS, last_records, tail
from sft.json_lines import Record
from sft.manifest import manifest_problem

State = Literal["created", "preparing", "running", "paused", "done", "stopped", "failed", "killed", "crashed"]
"""created: never started. crashed: it ended without a word, as after a power cut. The others end as `end` says."""

GOING = frozenset(("preparing", "running", "paused"))

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,98}[A-Za-z0-9_-]|[A-Za-z0-9]")
_UNSAFE = re.compile(r"[^A-Za-z0-9._]+")
_STEP = re.compile(r"step-(\d+)")
_OF_RANKS = frozenset(("eval", "sample", "checkpoint"))
_PART = 40  # characters that a made name takes of the base's and the data's


class RunNotFoundError(SftError):
    """No run answers to a name."""

    code = "no-run"


class RunExistsError(SftError):
    """There is something already where a run was to be made."""

    code = "run-exists"


@dataclass(frozen=True, slots=True)
class RunDirectory:
    """A run and where its files lie."""

    path: Path
    name: str

    @classmethod
    def at(cls, path: Path) -> RunDirectory:
        """The run in a directory, called as that is. A run's files name no other place."""
        return cls(path.absolute(), path.absolute().name)

    @property
    def recipe(self) -> Path:
        return self.path / "recipe.toml"

    @property
    def launch(self) -> Path:
        return self.path / "launch.json"

    @property
    def events(self) -> Path:
        return self.path / EVENTS

    @property
    def control(self) -> Path:
        return self.path / CONTROL

    @property
    def log(self) -> Path:
        return self.path / "train.log"

    @property
    def prepared(self) -> Path:
        return self.path / "prepared.json"

    @property
    def checkpoints(self) -> Path:
        return self.path / "checkpoints"

    @property
    def final(self) -> Path:
        return self.path / "final"

    @property
    def lock(self) -> Path:
        """Held by the process that supervises the run."""
        return self.path / ".lock"


def create_run(recipe: config.Recipe, data_dir: Path, *, name: str = "", output: Path | None = None) -> RunDirectory:
    """A new run directory with the recipe in it, whole or not at all.

    name: made of base, data and date without one. output: where it is to lie instead of runs/NAME; its last part is
    the name then unless one is given. Raises RunExistsError, SftError for a name that is none, OSError.
    """
    runs = runs_dir(data_dir)
    runs.mkdir(parents=True, exist_ok=True)
    if name and not _NAME.fullmatch(name):
        raise SftError(
            f"{name[:100]!r} cannot be the name of a run.",
            "Use letters, digits and . _ - for it, 100 at most, beginning with a letter or a digit.",
        )
    if name and os.path.lexists(runs / name):
        raise RunExistsError(
            f"There is a run {name} already.", f"Choose another name, or go on with it: hugchat sft resume {name}"
        )
    if output is not None:
        return _create_elsewhere(recipe, runs, name, full_path(output))
    wanted = name or made_name(recipe, datetime.now().astimezone().date())
    while True:
        free = wanted if name else free_name(runs, wanted)
        try:
            return RunDirectory(_make(recipe, runs / free), free)
        except FileExistsError:
            if name:
                raise RunExistsError(f"There is a run {name} already.", "Choose another name.") from None


def _create_elsewhere(recipe: config.Recipe, runs: Path, name: str, output: Path) -> RunDirectory:
    if (output / "recipe.toml").exists():
        raise RunExistsError(f"There is a run in {output} already.", f"Go on with it: hugchat sft resume {output}")
    if is_folder(output) and any(output.iterdir()):
        raise RunExistsError(f"{output} is not empty.", "Name a new folder for the run.")
    if os.path.lexists(output) and not is_folder(output):
        raise RunExistsError(f"There is a file at {output}.", "Name a new folder for the run.")
    output.parent.mkdir(parents=True, exist_ok=True)
    if is_folder(output):
        output.rmdir()
    _make(recipe, output)
    wanted = name or _UNSAFE.sub("-", output.name).strip("-._") or "run"
    while True:
        free = name or free_name(runs, wanted)
        try:
            (runs / free).symlink_to(output, target_is_directory=True)
            flush(runs)
            return RunDirectory(output, free)
        except FileExistsError:
            if name:  # taken in this moment: the run itself is there and whole
                raise RunExistsError(f"There is a run {name} already.", f"The new one lies in {output}.") from None


def _make(recipe: config.Recipe, target: Path) -> Path:
    """Raises FileExistsError when the place is taken."""
    temporary = Path(tempfile.mkdtemp(prefix=".new-", dir=target.parent))
    try:
        config.save(recipe, temporary / "recipe.toml")
        flush_tree(temporary)
        put_in_place(temporary, target)
    except BaseException:
        shutil.rmtree(temporary, ignore_errors=True)
        raise
    return target


def made_name(recipe: config.Recipe, day: date) -> str:
    """The name of a run that was given none: "starter-rows-2026-01-31"."""
    data = Path(recipe.data.sources[0].path).name.partition(".")[0] if recipe.data.sources else ""
    parts = [_UNSAFE.sub("-", part)[:_PART].strip("-._") for part in (Path(recipe.model.base).name, data)]
    return "-".join([*filter(None, parts), day.isoformat()])


def free_name(runs: Path, wanted: str) -> str:
    """The name, or one with a number behind it that no run has yet."""
    name, number = wanted, 1
    while os.path.lexists(runs / name):
        number += 1
        name = f"{wanted}-{number}"
    return name


def list_runs(data_dir: Path) -> list[RunDirectory]:
    """Every run that the data folder knows, by name. A link to a folder that is gone or not mounted is left out."""
    try:
        entries = sorted(runs_dir(data_dir).iterdir())
    except OSError:
        return []
    return [
        RunDirectory(Path(os.path.realpath(path)), path.name)
        for path in entries
        if not path.name.startswith(".") and is_folder(path) and _holds_run(path)
    ]


def find_run(data_dir: Path, reference: str) -> RunDirectory:
    """The run of a name, of `runs/NAME`, or in a directory. Raises RunNotFoundError with the nearest names."""
    runs = list_runs(data_dir)
    name = reference.removeprefix(RUN_PREFIX).rstrip("/")
    found = next((run for run in runs if run.name == name), None)
    if found is not None:
        return found
    with suppress(OSError, ValueError, RuntimeError):  # no path at all
        path = Path(reference).expanduser()
        if path.is_dir() and _holds_run(path):
            real = Path(os.path.realpath(path))
            return next((run for run in runs if run.path == real), RunDirectory.at(real))
    near = get_close_matches(name, [run.name for run in runs], n=3, cutoff=0.5)
    hint = f"Nearest: {', '.join(near)}." if near else "See what there is: hugchat sft ls"
    raise RunNotFoundError(f"No run is called {name[:200]!r}.", hint)


def _holds_run(path: Path) -> bool:
    try:
        return (path / "recipe.toml").is_file()
    except OSError:  # a folder that we may not look into, or a mount that is gone
        return False


def step_checkpoints(run: RunDirectory) -> list[tuple[int, Path]]:
    """(step, directory) of the checkpoints under their names, newest first; whether they are whole is not known."""
    try:
        entries = list(run.checkpoints.iterdir())
    except OSError:
        return []
    found = [(int(match[1]), path) for path in entries if (match := _STEP.fullmatch(path.name)) and is_folder(path)]
    return sorted(found, reverse=True)


def newest_whole_checkpoint(
    run: RunDirectory, *, hashes: bool = False, say: Callable[[str], None] = lambda words: None
) -> tuple[int, Path] | None:
    """The first of `whole_checkpoints`, if there is one."""
    return next(whole_checkpoints(run, hashes=hashes, say=say), None)


def whole_checkpoints(run: RunDirectory, *, hashes: bool, say: Callable[[str], None]) -> Iterator[tuple[int, Path]]:
    """(step, directory) of those that are as their manifests say, newest first; `say` hears why others are not.

    hashes: compare contents too, not sizes alone; that reads all of it.
    """
    for step, path in step_checkpoints(run):
        problem = manifest_problem(path, hashes=hashes)
        if problem is None:
            yield step, path
        else:
            say(f"{path.name} was passed over: {problem}.")


def events_size(run: RunDirectory) -> int:
    """Where the events end now, in bytes; 0 before there are any."""
    try:
        return run.events.stat().st_size
    except FileNotFoundError:
        return 0


@dataclass(frozen=True, slots=True)
class RunStatus:
    """What a run is doing, from its files alone.

    state: see State. going: its processes live; where they are another machine's, it wrote something lately. step: the
    last one it told of; of one that was started again and has not done any since, the one it goes on from.
    total_steps: 0 when unknown. loss, eval_loss: the last ones, of what goes only since its start; None without or when
    not finite. words, hint: of the phase it is in, or how it ended. quiet_s: since it last wrote anything; 0 when
    it never did. host: where it was started, "" when never. problem: why part of this could not be read, "" when all
    could.
    """

    state: State
    step: int = 0
    total_steps: int = 0
    loss: float | None = None
    eval_loss: float | None = None
    words: str = ""
    hint: str = ""
    quiet_s: float = 0.0
    host: str = ""
    problem: str = ""

    @property
    def going(self) -> bool:
        return self.state in GOING

    @property
    def resumable(self) -> bool:
        """Whether `hugchat sft resume` goes on with it."""
        return not self.going and self.state != "done"


def read_status(run: RunDirectory) -> RunStatus:
    """How the run stands. Reads a bounded part of its files. Raises OSError where its directory cannot be read."""
    records = last_records(run.events)
    problem = ""
    try:
        launch = read_json_object(run.launch) or {}
    except UnreadableError as error:
        launch, problem = {}, str(error)
    host = launch.get("host")
    state, told = _state(records, started=bool(launch or problem), going=run_is_going(run.path))
    last = _last_of_each(_of_this_start(records) if state in GOING else records)
    phase, end, step = last.get("phase", {}), last.get("end", {}), last.get("step", {})
    about = end if state in ("done", "stopped", "failed", "killed") else phase if state == "preparing" else {}
    newest = [
        record["step"] for record in (step, end, last.get("checkpoint", {})) if isinstance(record.get("step"), int)
    ]
    total = _last_of_each(records).get("run", {}).get("total_steps") or _first_total(run)
    return RunStatus(
        state,
        step=max(newest, default=0) or (_goes_on_from(run, last.get("run", {})) if state in GOING else 0),
        total_steps=total if isinstance(total, int) else 0,
        loss=_number(step.get("loss")),
        eval_loss=_number(last.get("eval", {}).get("loss")),
        words=str(about.get("words") or about.get("name") or told),
        hint=str(about.get("hint") or ""),
        quiet_s=max(0.0, time.time() - (_number(records[-1]["time"]) or 0.0)) if records else 0.0,
        host=host if isinstance(host, str) else "",
        problem=problem,
    )


def _state(records: list[Record], *, started: bool, going: bool) -> tuple[State, str]:
    """(the state, words for it where no event has any)."""
    telling = [record for record in records if record["type"] in ("run", "phase", "step", "end")]
    if telling and telling[-1]["type"] == "end":
        how = telling[-1].get("how")
        return (how if how in ("done", "stopped", "failed", "killed") else "failed"), ""
    if not going:
        if not records and not started:
            return "created", ""
        return "crashed", "It ended without a word: its processes are gone."
    if _is_paused(records):
        return "paused", ""
    if telling:
        preparing = telling[-1]["type"] == "phase" and not _is_under_way(telling)
    else:  # all of that lies further back than was read
        preparing = not any(record["type"] in _OF_RANKS or record.get("paused") for record in records)
    return ("preparing" if preparing else "running"), ""


def _is_paused(records: list[Record]) -> bool:
    """Whether it waits: it does nothing then but tell that it lives, and answer."""
    for record in reversed(records):
        if record["type"] == "heartbeat" and record.get("paused") is True:
            return True
        if record["type"] == "ack" and record.get("command") in ("pause", "continue"):
            return bool(record["command"] == "pause")
        if record["type"] in ("run", "phase", "step", "end"):
            return False
    return False


def _is_under_way(telling: list[Record]) -> bool:
    """Whether the ranks of this start have told of themselves: a `run`, or a step."""
    return any(record["type"] in ("run", "step") for record in _of_this_start(telling))


def is_start(record: Record) -> bool:
    """Whether it is the first that a start of the run tells."""
    return record["type"] == "phase" and record.get("name") == "starting"


def _of_this_start(records: list[Record]) -> list[Record]:
    """Those since it was started last: a start that was killed told no end. All where that lies further back."""
    for place in range(len(records) - 1, -1, -1):
        if is_start(records[place]):
            return records[place:]
    return records


def _goes_on_from(run: RunDirectory, begun: Record) -> int:
    """The step of the checkpoint that this start resumes, as its `run` record says or, before that, by its name."""
    resumed = begun.get("resumed_from")
    if isinstance(resumed, int):
        return resumed
    return next((step for step, _ in step_checkpoints(run)), 0)


def _last_of_each(records: list[Record]) -> dict[str, Record]:
    return {record["type"]: record for record in records}


def _first_total(run: RunDirectory) -> object:
    """total_steps of the first run record, which stands near the beginning."""
    head = tail(run.events, 0).records
    return next((record.get("total_steps") for record in head if record["type"] == "run"), 0)


def _number(value: object) -> float | None:
    try:
        return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
    except OverflowError:  # JSON's whole numbers have no end
        return None
