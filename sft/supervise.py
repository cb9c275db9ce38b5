"""The process that stands over a run from its start to its end: python -m sft.supervise RUN

It holds the run's lock, lays the data ready (sft.preparation), starts the ranks (sft.launch) and waits. Told to end by
SIGTERM or SIGINT it passes that on once: the ranks save and stop. Told again, or after a minute without a checkpoint
being written, it kills them. When they end without an `end` event it writes one. Everything prints to train.log.

Exit status: 0 the run is done or stopped as asked, 1 it failed, 2 there is no run or its recipe is wrong, 3 another
process supervises it. On machines other than the first it waits for the first one's data, and has a log of its own.
"""

from __future__ import annotations

import math
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType

import msgspec
import psutil
from filelock import FileLock, Timeout

from engine.errors import EngineError
from engine.priority import stand_back
from sft import config
from sft.control import ControlReader, send
from sft.events import SAVING_PHASES, EventWriter, last_records, tail
from sft.json_lines import Record
from sft.launch import (
    EXIT_BUSY,
    SAVE_GRACE_S,
    STOP_GRACE_S,
    LaunchCommand,
    command,
    node_rank,
    write_hostfile_environment,
)
from sft.recipe_text import write_whole
from sft.runs import RunDirectory, events_size, step_checkpoints

LAUNCH_VERSION = 1
EXIT_FAILED = 1
EXIT_ASKED_WRONGLY = 2

_TURN_S = 1.0
_HEARTBEAT_S = 10.0
_TOLD_LINES = 6  # of the log's end, in an `end` event
_LOG_END = 8192
_STOPPING = (signal.SIGTERM, signal.SIGINT)


def supervise(
    run: RunDirectory,
    *,
    preparing: LaunchCommand | None = None,
    training: LaunchCommand | None = None,
    grace_s: float = STOP_GRACE_S,
) -> int:
    """Run it to its end; the exit status. preparing, training: commands instead of the usual ones.

    grace_s: what ranks that were told to stop get. Takes the signals and the standard streams of this process.
    """
    try:
        recipe = config.load(run.recipe)
        node = node_rank(recipe)
        training = training or command(recipe, run)
    except EngineError as error:
        _say(str(error))
        with suppress(OSError), EventWriter(run.events) as events:
            events.write("end", how="failed", step=0, words=error.message, hint=error.hint)
        return EXIT_ASKED_WRONGLY
    lock = FileLock(run.lock if node == 0 else run.path / f".lock-{node}")
    try:
        lock.acquire(blocking=False)
    except Timeout:
        _say(f"another process supervises {run.path} already.")
        return EXIT_BUSY
    try:
        # Whoever chats and watches meanwhile needs little, and needs it at once. The ranks do so too.
        stand_back(recipe.launch.nice)
        _log_to(run.log if node == 0 else run.path / f"train-{node}.log")
        supervisor = _Supervisor(run, recipe, training, grace_s)
        if node:
            return supervisor.follow()
        return supervisor.lead(
            preparing or LaunchCommand((sys.executable, "-P", "-m", "sft.preparation", str(run.path)))
        )
    finally:
        lock.release()


class _Supervisor:
    def __init__(self, run: RunDirectory, recipe: config.Recipe, training: LaunchCommand, grace_s: float) -> None:
        self._run = run
        self._recipe = recipe
        self._training = training
        self._grace_s = grace_s
        self._asked = 0  # how often we were told to end
        self._stepped = False  # the ranks came as far as a step
        self._killed = False
        self._beaten = time.monotonic()
        self._seen = events_size(run)
        self._found_end: Record | None = None
        self._latest: Record = {}
        self._control = ControlReader(run.control, run.control.stat().st_size if run.control.exists() else 0)
        self._events = EventWriter(run.events)
        self._wake_read, self._wake_write = os.pipe()

    def lead(self, preparing: LaunchCommand) -> int:
        """On the first machine: data, then ranks."""
        with self._signals():
            self._run.prepared.unlink(missing_ok=True)  # the other machines wait for the one of this start
            _write_launch(self._run, self._training)
            self._events.write("phase", name="starting", done=0, total=0, words="")
            if self._recipe.launch.hostfile:
                write_hostfile_environment(self._run, self._training)
            status = self._stage(preparing, self._while_preparing, pass_on=False)
            prepared = status == 0 and not self._asked
            if prepared:
                status = self._stage(self._training, lambda: None, pass_on=True)
            return self._ended(status, prepared=prepared)

    def follow(self) -> int:
        """On another machine: the ranks, once the first one has laid the data ready."""
        with self._signals():
            _say(f"waiting for the first machine to prepare the data: {self._run.prepared}")
            while not (self._run.prepared.exists() or self._asked or self._end()):
                self._sleep(_TURN_S)
            if not self._asked and not self._end():
                self._stage(self._training, lambda: None, pass_on=True)
            end = self._end()
            return 0 if end is not None and end.get("how") in ("done", "stopped") else EXIT_FAILED

    @contextmanager
    def _signals(self) -> Iterator[None]:
        """Count the signals that tell us to end, and be woken by them and by the end of a child."""
        os.set_blocking(self._wake_write, False)
        before = signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        handlers = {number: signal.signal(number, self._on_signal) for number in (*_STOPPING, signal.SIGCHLD)}
        try:
            yield
        finally:
            for number, handler in handlers.items():
                signal.signal(number, handler)
            signal.set_wakeup_fd(before)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        self._asked += number in _STOPPING

    def _sleep(self, seconds: float) -> None:
        if select.select([self._wake_read], [], [], seconds)[0]:
            os.read(self._wake_read, 4096)

    def _stage(self, launch: LaunchCommand, each_turn: Callable[[], None], *, pass_on: bool) -> int:
        """Start a child, wait for its end, and end it when told to; its exit status, negative: the signal.

        pass_on: tell it to end and give it time; else it is killed at once.
        """
        environment = {**os.environ, **launch.environment}
        try:
            # The pipe on its standard input ends when we do, and the child with it.
            child = subprocess.Popen(launch.argv, env=environment, stdin=subprocess.PIPE, start_new_session=True)
        except OSError as error:
            _say(f"{launch.argv[0]} cannot be started: {error}")
            return 127
        told = killed = False
        deadline = math.inf
        while child.poll() is None:
            each_turn()
            if self._asked and not told and pass_on:
                told, deadline = True, time.monotonic() + self._grace_s
                self._tell_to_end(child)
            if deadline == math.inf and self._end() is not None:
                deadline = time.monotonic() + self._grace_s  # it told its end and has only to leave
            late = self._asked > 1 or (self._asked and not pass_on)
            late = late or (time.monotonic() > deadline and not self._saving())
            if late and not killed:
                killed = True
                _kill_tree(child.pid)
            self._sleep(_TURN_S)
        # Ranks may outlive the launcher that started them.
        _kill_group(child.pid)
        self._killed |= killed
        return child.returncode

    def _tell_to_end(self, child: subprocess.Popen[bytes]) -> None:
        if self._recipe.launch.hostfile:
            send(self._run.path, "stop")  # its launcher kills the ranks at once when it is signalled
        else:
            with suppress(ProcessLookupError):
                child.send_signal(signal.SIGTERM)

    def _while_preparing(self) -> None:
        """Show that we live, and look whether we are asked to stop; all else waits for the ranks."""
        now = time.monotonic()
        if now - self._beaten >= _HEARTBEAT_S:
            self._beaten = now
            self._events.write("heartbeat", step=0)
        for asked in self._control.read():
            if asked.command == "stop" and not asked.problem:
                self._events.write(
                    "ack", command="stop", id=asked.id, step=0, words="the run ends; nothing was trained yet"
                )
                self._asked += 1

    def _end(self) -> Record | None:
        """The `end` that was written since we began."""
        while True:
            read = tail(self._run.events, self._seen)
            self._seen = read.offset
            ends = [record for record in read.records if record["type"] == "end"]
            self._stepped |= any(record["type"] == "step" for record in read.records)
            self._found_end = ends[-1] if ends else self._found_end
            self._latest = read.records[-1] if read.records else self._latest
            if not read.more:
                return self._found_end

    def _saving(self) -> bool:
        """Whether the ranks are writing what nobody should interrupt, and not for longer than that can take."""
        self._end()
        latest = self._latest
        return (
            latest.get("type") == "phase"
            and latest.get("name") in SAVING_PHASES
            and time.time() - latest["time"] < SAVE_GRACE_S
        )

    def _ended(self, status: int, *, prepared: bool) -> int:
        """Whether it ended well; writes the `end` that the ranks did not live to write."""
        end = self._end()
        if end is None:
            how, words, hint = self._why(status, prepared=prepared)
            self._events.write("end", how=how, step=_last_step(self._run), words=words, hint=hint)
        else:
            how = str(end.get("how"))
        return 0 if how in ("done", "stopped") else EXIT_FAILED

    def _why(self, status: int, *, prepared: bool) -> tuple[str, str, str]:
        """(how, words, hint) of an end that nobody told."""
        kept = bool(step_checkpoints(self._run))
        again = "Go on from the last checkpoint" if kept else "There is no checkpoint yet; start from the beginning"
        again += f": hugchat sft resume {self._run.path}"
        if self._asked and not prepared:
            return "stopped", "It was stopped while its data was prepared; nothing was trained yet.", ""
        if self._asked and not self._stepped:
            return "stopped", "It was stopped before its first step.", again
        if self._killed:
            return "killed", "Its processes were killed: they did not end when they were told to.", again
        log = _log_end(self._run.log)
        told = f" The log ends:\n{log}" if log else ""
        if status == -signal.SIGKILL or "SIGKILL" in log:
            memory = (
                "If memory ran out: lower training.batch_size or data.max_length, or see hugchat sft run --dry-run."
            )
            return "killed", f"The system or somebody killed its processes.{told}", f"{memory} {again}"
        by = f"by {signal.Signals(-status).name}" if status < 0 else f"with status {status}"
        return "failed", f"Its processes ended {by} and did not say why.{told}", f"All of the log: {self._run.log}"


def _write_launch(run: RunDirectory, launch: LaunchCommand) -> None:
    document = {
        "version": LAUNCH_VERSION,
        "argv": launch.argv,
        "environment": launch.environment,
        "host": socket.gethostname(),
        "boot_id": _boot_id(),
        "pid": os.getpid(),
        "pid_started": psutil.Process().create_time(),
        "started_at": time.time(),
    }
    write_whole(run.launch, msgspec.json.format(msgspec.json.encode(document)) + b"\n")


def _boot_id() -> str:
    """Differs after each start of the machine; "" where the kernel does not tell."""
    with suppress(OSError):
        return Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return ""


def _say(words: str) -> None:
    """To whoever started us, and to the log once that is what we print to."""
    sys.stderr.write(f"sft.supervise: {words}\n")
    sys.stderr.flush()


def _log_to(path: Path) -> None:
    """Let this process and its children print to the end of a file."""
    log = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    sys.stdout.flush()
    sys.stderr.flush()
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)


def _log_end(path: Path) -> str:
    """The last lines of the log that say something, as they are."""
    try:
        with path.open("rb") as log:
            log.seek(max(0, log.seek(0, os.SEEK_END) - _LOG_END))
            text = log.read(_LOG_END).decode("utf-8", "replace")
    except OSError:
        return ""
    return "\n".join([line for line in text.splitlines() if line.strip()][-_TOLD_LINES:])


def _last_step(run: RunDirectory) -> int:
    steps = [record["step"] for record in last_records(run.events) if isinstance(record.get("step"), int)]
    return max(steps, default=0)


def _kill_tree(pid: int) -> None:
    """Kill a process with all that it started, in whatever session they are."""
    with suppress(psutil.NoSuchProcess):
        process = psutil.Process(pid)
        for each in (*process.children(recursive=True), process):
            with suppress(psutil.NoSuchProcess):
                each.kill()
    _kill_group(pid)


def _kill_group(pid: int) -> None:
    with suppress(ProcessLookupError, PermissionError):
        os.killpg(pid, signal.SIGKILL)


def main() -> int:
    if len(sys.argv) != 2:
        _say("it takes one run: python -m sft.supervise RUN")
        return EXIT_ASKED_WRONGLY
    run = RunDirectory.at(Path(sys.argv[1]))
    if not run.path.is_dir():
        _say(f"there is no run in {run.path}")
        return EXIT_ASKED_WRONGLY
    return supervise(run)


if __name__ == "__main__":
    sys.exit(main())
