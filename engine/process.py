"""A worker's process: how it starts, what it prints, how it ends. Nothing here knows the protocol."""

from __future__ import annotations

import asyncio
import logging
import os
import signal
import socket
import subprocess
import sys
import threading
from collections import deque
from contextlib import suppress

from engine.cpu import cpu_has_bf16

LOG_LINES = 200
LOG_LINE_BYTES = 2000

# The worker loads from disk only, prints no progress bars and needs no secret.
_ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "HF_HUB_DISABLE_TELEMETRY": "1",
    "TOKENIZERS_PARALLELISM": "false",
}
_NOT_PASSED_ON = ("HF_TOKEN", "HUGGING_FACE_HUB_TOKEN", "PYTHONSTARTUP", "PYTHONINSPECT")

_log = logging.getLogger("engine.worker")


class WorkerLog(asyncio.Protocol):
    """Keeps the last LOG_LINES lines of what a worker printed and passes all of it on to the program's log.

    Lines longer than LOG_LINE_BYTES are cut, with a mark that says by how much; bytes that are not UTF-8
    become U+FFFD; blank lines are dropped. `ended` is done when nothing more can come. `pid` names the worker
    in the log.
    """

    def __init__(self) -> None:
        self.pid = 0
        self.ended: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._transport: asyncio.BaseTransport | None = None
        self._lines: deque[str] = deque(maxlen=LOG_LINES)
        self._partial = bytearray()
        self._cut = 0

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(self._lines)

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        # A progress bar redraws its line with \r; without this it would be one line without end.
        *complete, rest = data.replace(b"\r", b"\n").split(b"\n")
        if len(complete) > LOG_LINES:  # a flood: one call must not hold the event loop for long
            left_out = len(complete) - LOG_LINES
            complete = [complete[0], b"[%d lines left out]" % left_out, *complete[1 - LOG_LINES :]]
        finished = []
        for line in complete:
            self._extend(line)
            finished.append(self._take_line())
        self._extend(rest)
        self._keep(finished)

    def connection_lost(self, exc: Exception | None) -> None:
        self._keep([self._take_line()])
        self.ended.set_result(None)

    def _extend(self, data: bytes) -> None:
        room = LOG_LINE_BYTES - len(self._partial)
        self._partial += data[:room]
        self._cut += max(0, len(data) - room)

    def _take_line(self) -> str:
        line = self._partial.decode(errors="replace")
        if self._cut:
            line += f" [cut, {self._cut} bytes more]"
        self._partial.clear()
        self._cut = 0
        return line

    def _keep(self, lines: list[str]) -> None:
        lines = [line for line in lines if line.strip()]
        if lines:
            self._lines.extend(lines)
            _log.info("worker %d: %s", self.pid, "\n".join(lines))


class WorkerProcess:
    """One `python -m engine.worker`, in a session of its own, started and awaited by a thread of its own.

    The thread lives as long as the process because the worker asks the kernel to die with the thread that
    started it. `started` gives the process id, or the OSError that prevented it. `exited` gives the exit
    code, negative for a signal, once the process is reaped and whatever it left in its process group is
    killed.
    """

    def __init__(self, arguments: list[str], channel: socket.socket, log_fd: int) -> None:
        """Takes over `channel` (the worker's end, its descriptor appended to the arguments) and `log_fd`."""
        loop = asyncio.get_running_loop()
        self.started: asyncio.Future[int] = loop.create_future()
        self.exited: asyncio.Future[int] = loop.create_future()
        self._lock = threading.Lock()
        self._running: int | None = None
        self._unwanted = False
        threading.Thread(
            target=self._live, args=(loop, arguments, channel, log_fd), name="engine-worker", daemon=True
        ).start()

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the worker and everything it started. A process that has ended is left alone."""
        with self._lock:
            if self._running is not None:
                os.killpg(self._running, number)
            elif number == signal.SIGKILL:
                self._unwanted = True  # not there yet: killed as soon as it is

    def _live(self, loop: asyncio.AbstractEventLoop, arguments: list[str], channel: socket.socket, log_fd: int) -> None:
        def tell(future: asyncio.Future[int], outcome: int | OSError) -> None:
            with suppress(RuntimeError):  # the loop is closed: nobody is left to be told
                loop.call_soon_threadsafe(_settle, future, outcome)

        try:
            popen = _popen(arguments, channel, log_fd)
        except OSError as error:
            tell(self.started, error)
            return
        with self._lock:
            self._running = popen.pid
            if self._unwanted:
                os.killpg(popen.pid, signal.SIGKILL)
        tell(self.started, popen.pid)
        if hasattr(os, "waitid"):
            # Not reaped yet: until it is, nothing else can be given its process group's number.
            os.waitid(os.P_PID, popen.pid, os.WEXITED | os.WNOWAIT)
        else:
            popen.wait()
        with self._lock:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(popen.pid, signal.SIGKILL)
            code = popen.wait()
            self._running = None
        tell(self.exited, code)


def _popen(arguments: list[str], channel: socket.socket, log_fd: int) -> subprocess.Popen[bytes]:
    """-P keeps the current directory out of sys.path: a file that happens to lie there is never imported."""
    environment = {name: value for name, value in os.environ.items() if name not in _NOT_PASSED_ON}
    environment |= _ENVIRONMENT
    # Where the weights are float32 the worker cannot give up threads to other programs (engine.worker.threads), and
    # the threads of GNU OpenMP spin at each barrier for milliseconds: beside one busy program on two cores 0.4 tokens a
    # second came, and 4.7 with so few rounds, which cost 4 to 7 % of the speed on a machine of its own (in bfloat16).
    if not cpu_has_bf16() and "OMP_WAIT_POLICY" not in environment:
        environment.setdefault("GOMP_SPINCOUNT", "10000")
    if search_path := environment.get("PYTHONPATH"):
        # An empty entry, as in "PYTHONPATH=$PYTHONPATH:/x", means the current directory too.
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, search_path.split(os.pathsep)))
    try:
        return subprocess.Popen(
            [
                sys.executable,
                "-P",
                "-u",
                "-X",
                "utf8",
                "-m",
                "engine.worker",
                *arguments,
                str(channel.fileno()),
            ],
            stdin=subprocess.DEVNULL,
            stdout=log_fd,
            stderr=subprocess.STDOUT,
            pass_fds=(channel.fileno(),),
            start_new_session=True,
            env=environment,
        )
    finally:
        channel.close()
        os.close(log_fd)


def _settle(future: asyncio.Future[int], outcome: int | OSError) -> None:
    if future.done():
        return  # its waiter was cancelled
    if isinstance(outcome, OSError):
        future.set_exception(outcome)
    else:
        future.set_result(outcome)
