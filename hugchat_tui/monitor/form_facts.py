"""What a recipe would do here: found out beside the form, in threads and in a process that can be killed."""

from __future__ import annotations

import asyncio
import json
import tempfile
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import msgspec

from engine.checkpoints.children import ChildFailedError, run_module
from engine.checkpoints.model import Checkpoint
from engine.checkpoints.paths import data_dir, full_path
from engine.checkpoints.resolve import NotDownloadedError, StarterNotInstalledError, resolve
from engine.errors import EngineError
from hugchat_tui.common.tasks import start
from hugchat_tui.monitor.form_data_process import Counted
from hugchat_tui.run_starting import Plan, named_by_path, plan, planned_run, start_problems
from sft import config
from sft.config import Recipe
from sft.data.preview import Shown
from sft.data.sources import Source, files_of
from sft.estimate import Estimate, estimate
from sft.events import last_records
from sft.recipe_fields import Problem
from sft.recipe_paths import anchored
from sft.runs import RunDirectory, list_runs

COUNTED_AT_ONCE = 32 << 20  # bytes of sources; larger ones when the person asks for it
_EVERYTHING = 1 << 62
_READ = ("model.base", "data.sources", "data.held_out_source")  # keys that reading the data rests on
_RUNS = 30  # the newest, in which a speed is looked for
_LOOK_S = 20.0  # that a start waits for the first rows at most


@dataclass(frozen=True, slots=True)
class Speed:
    """Tokens a second of an earlier run with the same base and method."""

    tokens_per_s: float
    run: str


@dataclass(frozen=True, slots=True)
class Facts:
    """base: None where it cannot be used. recipe: as it would be started, with paths from the root. place: where the
    run would lie. starter: it is meant, and installed by starting."""

    recipe: Recipe
    problems: list[Problem]
    base: Checkpoint | None = None
    place: RunDirectory | None = None
    estimate: Estimate | None = None
    plan: Plan | None = None
    speed: Speed | None = None
    starter: bool = False

    @property
    def can_be_read(self) -> bool:
        """Whether its data can be looked at."""
        return self.base is not None and bool(self.recipe.data.sources) and not self.unread

    @property
    def unread(self) -> list[str]:
        """Keys that are to be put right before its data can be looked at."""
        return [key for key in _READ if any(each.place.startswith(key) for each in self.problems)]


def find_facts(recipe: Recipe, name: str, output: str, folders: Sequence[Path], *, typing: str = "") -> Facts:
    """For a thread. folders: of the settings. typing: the place that is being filled in."""
    problems = _source_problems(recipe, typing)
    place = planned_run(recipe, data_dir(), name, output)
    try:
        base = resolve(recipe.model.base, data_dir=data_dir(), folders=folders)
    except StarterNotInstalledError:
        return Facts(recipe, problems, place=place, starter=True)
    except NotDownloadedError as error:
        message = f"{error.message} Get it in the library: f5, then 2 for the Hub."
        return Facts(recipe, [*problems, Problem("model.base", message)], place=place)
    except (EngineError, OSError) as error:
        return Facts(recipe, [*problems, Problem("model.base", str(error))], place=place)
    recipe = anchored(named_by_path(recipe, base))
    problems += start_problems(recipe, base)
    place = planned_run(recipe, data_dir(), name, output)
    found = None
    if base.problem is None and base.kind != "adapter":
        try:
            found = estimate(recipe, base)
        except (EngineError, OSError) as error:
            problems.append(Problem("model.base", str(error)))
    return Facts(recipe, problems, base, place, found, plan(recipe, place), _known_speed(recipe))


def _source_problems(recipe: Recipe, typing: str) -> list[Problem]:
    places = [(f"data.sources[{index}].path", each.path) for index, each in enumerate(recipe.data.sources)]
    if recipe.data.held_out_source:
        places.append(("data.held_out_source", recipe.data.held_out_source))
    problems = []
    for place, path in places:
        try:
            if place == typing and (full_path(Path(path)).is_dir() or any(sign in path for sign in "*?[")):
                # The beginning of a path: to walk all of / takes longer than to type the rest.
                problems.append(Problem(place, "is looked at when the cursor leaves it"))
                continue
            files_of(Source(path))
        except (EngineError, OSError) as error:
            problems.append(Problem(place, str(error)))
    return problems


def _known_speed(recipe: Recipe) -> Speed | None:
    newest = sorted(list_runs(data_dir()), key=_changed_at, reverse=True)
    for run in newest[:_RUNS]:
        try:
            before = config.load(run.recipe)
            alike = (before.model.base, before.method.kind, before.world_size) == (
                recipe.model.base,
                recipe.method.kind,
                recipe.world_size,
            )
            steps = [record for record in last_records(run.events) if record["type"] == "step"] if alike else []
        except (EngineError, OSError):
            continue
        for record in reversed(steps):
            speed = record.get("tokens_per_s")
            if isinstance(speed, int | float) and speed > 0:
                return Speed(float(speed), run.name)
    return None


def _changed_at(run: RunDirectory) -> float:
    try:
        return run.events.stat().st_mtime
    except OSError:
        return 0.0


@dataclass(slots=True)
class DataView:
    """What is known of the data so far. stage: what is being done, "" when nothing is. large: bytes that were not
    counted. problem: why no run can be made of it, uncleaned. died: why it could not be looked at, uncleaned. looked:
    set once the first rows are known, or why they are not. ended: set once nothing more comes."""

    stage: str = ""
    done: int = 0
    total: int = 0
    rows: list[Shown] = field(default_factory=list)
    counted: Counted | None = None
    large: int = 0
    problem: Problem | None = None
    died: str = ""
    looked: asyncio.Event = field(default_factory=asyncio.Event)
    ended: asyncio.Event = field(default_factory=asyncio.Event)


class FactFinder:
    """Finds out about one recipe after the other: who asks again is told of the newest only.

    facts: of the newest that was asked for, None until they are found. on_change: called on the event loop.
    """

    def __init__(self, folders: Sequence[Path], on_change: Callable[[], None]) -> None:
        self._folders = folders
        self._on_change = on_change
        self._facts_task: asyncio.Task[None] | None = None
        self._asked: Callable[[], Facts] | None = None  # what is to be found next
        self._data_task: asyncio.Task[None] | None = None
        self._data_key: object = None
        self.facts: Facts | None = None
        self.data = DataView()

    def ask(self, recipe: Recipe, name: str, output: str, *, typing: str = "") -> None:
        """Find out about this recipe; its data is looked at anew only when what decides about it is another.

        typing: the place that is being filled in.
        """
        self._asked = partial(find_facts, recipe, name, output, self._folders, typing=typing)
        if self._facts_task is None or self._facts_task.done():
            self._facts_task = start(self._find())

    @property
    def problems(self) -> list[Problem]:
        """All that is known to be wrong."""
        found = list(self.facts.problems) if self.facts is not None else []
        return [*found, self.data.problem] if self.data.problem is not None else found

    def count(self) -> None:
        """Count the rows of large sources too."""
        if self.facts is not None and self.facts.can_be_read:
            self._look_at_data(self.facts, _EVERYTHING)

    async def data_problem(self, facts: Facts) -> Problem | None:
        """Why no run can be made of the data of these facts, as far as the first rows tell or is known already."""
        if not facts.can_be_read:
            return None
        was_wrong = self.data.problem is not None
        if was_wrong:
            self._data_key = None  # the files may have been mended since
        self._found(facts)
        view = self.data
        with suppress(TimeoutError):
            async with asyncio.timeout(_LOOK_S):
                await (view.ended if was_wrong else view.looked).wait()
        return view.problem

    async def close(self) -> None:
        """End what is under way; who asks again begins anew."""
        self._data_key = self._asked = None
        tasks = [task for task in (self._facts_task, self._data_task) if task is not None]
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks)

    async def _find(self) -> None:
        """One thread at a time: threads cannot be ended."""
        while self._asked is not None:
            find, self._asked = self._asked, None
            facts = await asyncio.to_thread(find)
            if self._asked is None:
                self._found(facts)

    def _found(self, facts: Facts) -> None:
        self.facts = facts
        if facts.can_be_read:
            decisive = facts.recipe.model.base, facts.recipe.model.template, facts.recipe.data
            if decisive != self._data_key:
                self._data_key = decisive
                self._look_at_data(facts, COUNTED_AT_ONCE)
        elif self._data_task is not None:
            self._data_task.cancel()
            self._data_key, self.data = None, DataView()
        self._on_change()

    def _look_at_data(self, facts: Facts, most: int) -> None:
        before, self._data_task = self._data_task, None
        if before is not None:
            before.cancel()
        self.data = DataView(stage="starting")
        self._data_task = start(self._follow(facts.recipe, most, self.data, before))

    async def _follow(self, recipe: Recipe, most: int, view: DataView, before: asyncio.Task[None] | None) -> None:
        if before is not None:
            await asyncio.wait([before])  # it holds what this one needs

        def take(line: str) -> None:
            _take(view, line)
            self._on_change()

        try:
            with tempfile.TemporaryDirectory(prefix="hugchat-") as folder:
                path = Path(folder) / "recipe.toml"
                await asyncio.to_thread(config.save, recipe, path)
                await run_module(("hugchat_tui.monitor.form_data_process", str(path), str(most)), take)
        except (ChildFailedError, OSError) as error:
            tail = error.tail[-1] if isinstance(error, ChildFailedError) and error.tail else str(error)
            view.died = f"The process that looks at the data died: {tail}"
        finally:
            view.looked.set()
            view.ended.set()
        view.stage = ""
        self._on_change()


def _take(view: DataView, line: str) -> None:
    message = json.loads(line)
    if "stage" in message:
        view.stage, view.done, view.total = message["stage"], message["done"], message["total"]
    elif "rows" in message:
        view.rows = msgspec.json.decode(message["rows"], type=list[Shown])
        view.looked.set()
    elif "large" in message:
        view.large = message["large"]
    elif "counted" in message:
        view.counted = msgspec.json.decode(message["counted"], type=Counted)
    else:
        view.problem = Problem(message["place"], message["error"])
