"""What a person or the system asks of a running training, told to every rank at the same step.

Signals reach ranks at different moments, and a rank that stops alone leaves the others waiting in a collective for
ever: so rank 0 reads what is asked and all ranks learn it before each step, and a signal counts once every rank knows.
"""

from __future__ import annotations

import signal
import time
from collections.abc import Callable
from pathlib import Path
from types import FrameType

from sft.control import CONTROL, Command, ControlReader
from sft.events import EventWriter
from sft.training.world import World

_PAUSED_LOOK_S = 0.2
_HEARTBEAT_S = 10.0


class Signals:
    """Lets SIGTERM and SIGINT mean: save and stop. To be made in the main thread, before anything that takes long."""

    def __init__(self) -> None:
        self.came = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._on_signal)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self.came = True


class Steering:
    """The commands of one run. stop: end after this step; keep: with a checkpoint and a result."""

    def __init__(
        self, run: Path, world: World, events: EventWriter | None, since: float, signals: Signals | None = None
    ) -> None:
        """events: of rank 0. since: seconds since the epoch; what was asked before was asked of an earlier start."""
        self.stop = False
        self.keep = True
        self.save = False
        self.learning_rate: float | None = None
        self.eval_every: int | None = None
        self.checkpoint_every: int | None = None
        self._paused = False
        self._signals = signals
        self._world = world
        self._events = events
        self._since = since
        self._reader = ControlReader(run / CONTROL)

    def poll(self, step: int) -> None:
        """Learn what is asked now, and do it; returns once the run is not paused. All ranks together."""
        self._obey(step)
        beaten = time.monotonic()
        while self._paused and not self.stop:
            time.sleep(_PAUSED_LOOK_S)
            if self._events is not None and time.monotonic() - beaten >= _HEARTBEAT_S:
                beaten = time.monotonic()
                self._events.write("heartbeat", step=step, paused=True)
            self._obey(step)

    def _obey(self, step: int) -> None:
        asked: list[Command] = []
        if self._world.leads:
            asked = [each for each in self._reader.read() if each.time >= self._since]
        terminated = any(self._world.everyone(self._signals is not None and self._signals.came))
        for command in self._world.told(asked):
            words = command.problem or self._do(command)
            if self._events is not None:
                self._events.write("ack", command=command.command, id=command.id, step=step, words=words)
        if terminated and not self.stop:
            self.stop = True
            if self._events is not None:
                self._events.write(
                    "alert", kind="signal", words="The run was told to end: it saves and stops.", step=step
                )

    def _do(self, command: Command) -> str:
        doing: dict[str, Callable[[Command], str]] = {
            "save": self._do_save,
            "stop": self._do_stop,
            "pause": self._do_pause,
            "continue": self._do_continue,
            "set": self._do_set,
        }
        return doing[command.command](command)

    def _do_save(self, command: Command) -> str:
        self.save = True
        return "a checkpoint is written after this step"

    def _do_stop(self, command: Command) -> str:
        self.stop, self.keep = True, bool(command.values.get("save", True))
        return "the run saves and ends" if self.keep else "the run ends without saving"

    def _do_pause(self, command: Command) -> str:
        self._paused = True
        return "paused"

    def _do_continue(self, command: Command) -> str:
        was, self._paused = self._paused, False
        return "it goes on" if was else "it was not paused"

    def _do_set(self, command: Command) -> str:
        values = command.values
        if "learning_rate" in values:
            self.learning_rate = float(values["learning_rate"])
        if "eval_every" in values:
            self.eval_every = int(values["eval_every"])
        if "checkpoint_every" in values:
            self.checkpoint_every = int(values["checkpoint_every"])
        names = {"learning_rate": "the peak of the learning rate", "eval_every": "steps between evaluations"}
        names["checkpoint_every"] = "steps between checkpoints"
        return ", ".join(f"{names[name]}: {value:g}" for name, value in values.items())
