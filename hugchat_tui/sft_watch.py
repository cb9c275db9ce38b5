"""`hugchat sft tail`, `stop` and --wait: a run watched from the shell, by its events alone."""

from __future__ import annotations

import os
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from typing import TYPE_CHECKING, Any

from hugchat_tui.chat_command import EXIT_FAILED, write
from hugchat_tui.common.clean import clean, clean_line
from hugchat_tui.sft_text import event_line

if TYPE_CHECKING:
    from hugchat_tui.chat_command import Progress
    from hugchat_tui.sft_command import Command
    from sft.runs import RunDirectory

_POLL_S = 0.3
_LOG_BACK = 1 << 20  # bytes of a log that are looked through for its last lines

_Record = Mapping[str, Any]


def wait(command: Command, run: RunDirectory, offset: int) -> int:
    """Tell of its events on stderr, from an offset on, until it has ended; 0 when it is done or was stopped."""
    name = clean_line(run.name)
    teller = _Teller(command.progress)
    end: dict[str, Any] = {}
    try:
        for record in follow(run, offset, command.progress.say):
            teller.tell(record)
            if record["type"] == "end":
                end = dict(record)
    except KeyboardInterrupt:
        command.progress.say(f"{name} goes on by itself. Stop it with: hugchat sft stop {name}")
        raise
    how = str(end.get("how", "crashed"))
    result = run.final if run.final.is_dir() else None
    document = {"name": run.name, "path": run.path, "how": how, "final": result, "end": end}
    chat = f" Chat with it: hugchat chat --model runs/{name}" if result else ""
    untrained = "; nothing was trained" if how == "stopped" and end.get("step") == 0 else ""
    command.answer(document, f"{name}: {clean_line(how)}{untrained}.{chat}")
    return 0 if how in ("done", "stopped") else EXIT_FAILED


class _Teller:
    """What moves on rewrites one line on a terminal; elsewhere a phase is told once, when it begins."""

    def __init__(self, progress: Progress) -> None:
        self._progress = progress
        self._phase = ""

    def tell(self, record: _Record) -> None:
        kind = record["type"]
        if kind == "heartbeat":
            return
        if kind in ("step", "phase") and sys.stderr.isatty():
            self._progress.show(event_line(record), 0, 0)
            return
        begun = str(record.get("name", "")) if kind == "phase" else ""
        finished = record.get("total") and record.get("done") == record.get("total")
        if kind != "phase" or begun != self._phase or finished:
            self._progress.say(event_line(record))
        self._phase = begun


def follow(run: RunDirectory, offset: int, say: Callable[[str], None]) -> Iterator[_Record]:
    """Events from an offset on, until an `end` came or the run's processes are gone."""
    from engine.checkpoints.library.running import run_is_going
    from sft.events import tail

    ended = False
    while True:
        going = run_is_going(run.path)  # asked before reading: what was written until then is read
        read = tail(run.events, offset)
        offset = read.offset
        if read.torn:
            say(f"{read.torn} lines of the events make no sense and were skipped.")
        if read.restarted:
            say("The events were cut off: they are read from their beginning.")
        if read.newer:
            say(f"The run is of a newer hugchat (format {read.newer}): some of what it tells is not understood.")
        for record in read.records:
            ended = record["type"] == "end"
            yield record
        if not read.more:
            if ended or not going:
                return
            time.sleep(_POLL_S)


def show_tail(command: Command) -> int:
    from hugchat_tui.sft_command import AskedWronglyError
    from sft.events import recent

    args = command.args
    run = command.found()
    if args.json and args.follow:
        raise AskedWronglyError("--json prints one document, and -f never ends one: use one of them.")
    if args.log:
        return _show_log(command, run)
    shown, offset = recent(run.events, args.lines)
    if args.json:
        command.answer({"name": run.name, "events": shown}, "")
        return 0
    for record in shown:
        write(event_line(record) + "\n")
    if args.follow and not (shown and shown[-1]["type"] == "end"):
        for event in follow(run, offset, command.progress.say):
            write(event_line(event) + "\n")
    return 0


def _show_log(command: Command, run: RunDirectory) -> int:
    from engine.checkpoints.library.running import run_is_going

    try:
        with run.log.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_BACK))
            lines = deque(log.read(_LOG_BACK).decode("utf-8", "replace").splitlines(), command.args.lines)
            if command.args.json:
                command.answer({"name": run.name, "log": list(lines)}, "")
                return 0
            write("".join(f"{clean(line)}\n" for line in lines))
            while command.args.follow:
                going = run_is_going(run.path)
                if text := log.read(_LOG_BACK).decode("utf-8", "replace"):
                    write(clean(text))
                elif not going:
                    break
                else:
                    time.sleep(_POLL_S)
    except FileNotFoundError:
        command.progress.say("Its processes have printed nothing yet.")
    return 0


def stop(command: Command) -> int:
    from sft.control import send
    from sft.launch import kill
    from sft.runs import events_size, read_status

    run = command.found()
    name = clean_line(run.name)
    status = read_status(run)
    if not status.going:
        return command.failed(f"{name} is not going: it is {status.state}.", EXIT_FAILED)
    offset = events_size(run)
    identity = ""
    if not (command.args.now and kill(run)):
        identity = send(run.path, "stop", save=not command.args.now)
    if command.args.wait:
        return wait(command, run, offset)
    command.progress.show(f"{name} was told to stop; it does so after its step", 0, 0)
    words = "it ended before it answered"
    for record in follow(run, offset, command.progress.say):
        if record["type"] == "ack" and record.get("id") == identity:
            words = str(record.get("words", ""))
            break
        if record["type"] == "end":
            words = f"it has ended: {record.get('how')}"
    command.answer({"name": run.name, "id": identity, "words": words}, f"{name}: {clean(words)}.")
    return 0
