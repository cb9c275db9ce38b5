"""control.jsonl: what a person asks of a run; the run answers each command with an `ack` event of the same id.

One JSON object a line: {"id", "time", "command", "values"}. Commands: save (a checkpoint now), stop (save and end;
with {"save": false} end without), pause, continue, set (learning_rate, eval_every, checkpoint_every; some of them).
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sft.errors import SftError
from sft.json_lines import Appender, Record, read_lines, read_record
from sft.recipe_fields import nearest, quoted

CONTROL = "control.jsonl"
COMMANDS = ("save", "stop", "pause", "continue", "set")
_SETTABLE = ("learning_rate", "eval_every", "checkpoint_every")
_MOST_STEPS = 10**9


class ControlError(SftError):
    """A command cannot be given."""

    code = "control"


@dataclass(frozen=True, slots=True)
class Command:
    """What was asked. problem: why it cannot be done, to be acknowledged with these words; "" when it can."""

    id: str
    time: float
    command: str
    values: Mapping[str, Any] = field(default_factory=dict)
    problem: str = ""


def send(run: Path, command: str, **values: object) -> str:
    """Ask it of the run in this directory; the id that its `ack` event will have.

    Raises ControlError for what is no command, OSError when it cannot be written.
    """
    problem = command_problem(command, values)
    if problem:
        raise ControlError(f"{problem[0].upper()}{problem[1:]}.")
    identity = uuid.uuid4().hex[:12]
    appender = Appender(run / CONTROL)
    try:
        record = {"id": identity, "time": time.time(), "command": command, "values": values}
        appender.append(record, durable=True)
    finally:
        appender.close()
    return identity


def command_problem(command: str, values: Mapping[str, object]) -> str:
    """Why a command means nothing, in words without a full stop; "" when it does."""
    if command not in COMMANDS:
        return f"{quoted(command)} is no command{nearest(command, COMMANDS)}; there are {', '.join(COMMANDS)}"
    known = {"set": _SETTABLE, "stop": ("save",)}.get(command, ())
    for name, value in values.items():
        if name not in known:
            return f"{command} takes no {quoted(name)}{nearest(name, known)}"
        if name == "save":
            allowed, words = isinstance(value, bool), "true or false"
        elif name == "learning_rate":
            allowed = isinstance(value, int | float) and not isinstance(value, bool) and 0 < value <= 1
            words = "a number above 0 and at most 1"
        else:
            allowed = isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _MOST_STEPS
            words = f"a whole number from 0 to {_MOST_STEPS:,}"
        if not allowed:
            return f"{name} has to be {words}, not {quoted(value)}"
    if command == "set" and not values:
        return f"set needs one of {', '.join(_SETTABLE)}"
    return ""


class ControlReader:
    """Reads along what is asked. offset: bytes that were read; ignored: lines that were no commands, so far."""

    def __init__(self, path: Path, offset: int = 0) -> None:
        """path: the control.jsonl, which need not be there yet."""
        self.offset = offset
        self.ignored = 0
        self._path = path

    def read(self) -> list[Command]:
        """The commands that came since the last call. Costs a system call where none did. Raises OSError."""
        read = read_lines(self._path, self.offset)
        self.offset = read.offset
        self.ignored += read.skipped
        commands = []
        for line in read.lines:
            record = read_record(line)
            command = _command(record) if record is not None else None
            if command is not None:
                commands.append(command)
            elif line.strip():
                self.ignored += 1
        return commands


def _command(record: Record) -> Command | None:
    """What a record asks; None when nobody could be answered."""
    identity, command, values = record.get("id"), record.get("command"), record.get("values", {})
    if not isinstance(identity, str) or not isinstance(command, str):
        return None
    if not isinstance(values, dict):
        return Command(identity, float(record["time"]), command, {}, f"its values are {quoted(values)}, no table")
    return Command(identity, float(record["time"]), command, values, command_problem(command, values))
